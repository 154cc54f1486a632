"""`make verify-gpu`: everything that needs a GPU, in one command, and what of it passed.

1. the bindings    TensorRT code against the installed bindings, configs against profiles
2. export          all precisions are built, judged and timed; the fastest that passed is published
3. timing          the published plan alone, GPU time by batch, as trtexec reports it
4. serve           Triton and the sidecar with that engine
5. query           sample drawings are stored, and each is found again at rank 1

Every step runs even when one before it failed, unless it needs its result. The exit code is 1 when
any step failed. `--target cpu` does the same without TensorRT, to try this script.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from serving import Server  # noqa: E402 (a module of the tests)

from vitrine_server import manifest as manifests  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

console = Console()
BIN = Path(sys.executable).parent
RUNS = 200
REPOSITORIES = {"gpu": "gpu_python", "cpu": "cpu"}
PRECISIONS = {"gpu": ("fp32", "fp16", "int8"), "cpu": ("fp32", "int8")}


class Failed(Exception):
    """A step did not pass; the message says why."""


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="vitrine-verify-") as folder:
        work = Path(folder)
        repository = work / "models"
        source = ROOT / "model_repository" / REPOSITORIES[options.target]
        for name in ("config.pbtxt", "1/model.py", "1/tensorrt_runner.py"):
            if (file := source / "image_encoder" / name).is_file():
                (repository / "image_encoder" / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, repository / "image_encoder" / name)
        engine = repository / "image_encoder" / "1"
        steps: dict[str, Callable[[], str]] = {
            "bindings": _bindings,
            "export": lambda: _export(options, repository, engine),
            "timing": lambda: _timing(engine),
            "serve and query": lambda: _serve(repository, work),
        }
        if options.target == "cpu":
            del steps["timing"]
        results = {name: _attempt(name, step) for name, step in steps.items()}
    table = Table(title=f"verify-gpu, {options.target}, {options.encoder}", title_justify="left")
    for heading in ("step", "verdict", "what it found"):
        table.add_column(heading)
    for name, (passed, text) in results.items():
        table.add_row(name, "passed" if passed else "FAILED", text)
    console.print(table)
    return 0 if all(passed for passed, _ in results.values()) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Everything that needs a GPU, in one command.")
    parser.add_argument("--encoder", default="design-vit")
    parser.add_argument("--images", type=Path, help="folder for calibration and gate")
    parser.add_argument("--target", choices=REPOSITORIES, default="gpu")
    return parser.parse_args()


def _attempt(name: str, step: Callable[[], str]) -> tuple[bool, str]:
    console.rule(name)
    try:
        return True, step()
    except Exception as error:  # the next steps run all the same
        console.print(f"{name} failed: {error}", style="red", highlight=False)
        return False, " ".join(str(error).split())[:300]


def _run(command: list[str | Path]) -> None:
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode:
        raise Failed(f"{Path(command[0]).name} ended with exit code {done.returncode}")


def _bindings() -> str:
    _run([BIN / "pytest", "-q", "tests/gpu"])
    return "attributes, calls and configs fit"


def _export(options: argparse.Namespace, repository: Path, engine: Path) -> str:
    command: list[str | Path] = [BIN / "vitrine-export", "--target", options.target]
    command += ["--encoder", options.encoder, "--output", repository]
    if options.images is not None:
        command += ["--images", options.images]
    _run(command)
    found = manifests.load(engine)
    verdicts = {row.precision: row.passed for row in found.gate.rows}
    missing = set(PRECISIONS[options.target]) - set(verdicts)
    refused = [name for name, passed in verdicts.items() if not passed]
    if missing or refused:
        raise Failed(f"not built: {sorted(missing)}; refused by the gate: {refused}")
    row = next(row for row in found.gate.rows if row.precision == found.precision)
    return (
        f"{', '.join(verdicts)} passed; {found.precision} published, "
        f"{row.images_per_s:.0f} images/s at batch {row.best_batch}, "
        f"{row.latency_ms_batch_1:.2f} ms at batch 1"
    )


def _timing(engine: Path) -> str:
    from vitrine_export.tensorrt_runner import TensorRtRunner

    found = manifests.load(engine)
    runner = TensorRtRunner((engine / found.engine.file).read_bytes())
    rates = []
    for batch in (1, 8, 32, 128):
        median = statistics.median(runner.time_ms(batch, runs=RUNS))
        rates.append(f"batch {batch}: {median:.3f} ms, {1000 * batch / median:.0f} images/s")
    return "; ".join(rates)


def _serve(repository: Path, work: Path) -> str:
    samples = work / "samples"
    _run([sys.executable, "-m", "vitrine_training.samples", samples])
    pictures = sorted(path for path in samples.rglob("*") if path.suffix == ".png")
    server = Server(repository, work / "data", work / "log")
    server.start()
    try:
        with httpx.Client(base_url=server.base_url, timeout=60) as client:
            for number, picture in enumerate(pictures):
                url = f"/v1/collections/default/items/{number}"
                headers = {"content-type": "image/png"}
                client.put(url, content=picture.read_bytes(), headers=headers).raise_for_status()
            found, milliseconds = 0, []
            for number, picture in enumerate(pictures):
                start = time.perf_counter()
                answer = client.post(
                    "/v1/collections/default/search?k=3",
                    content=picture.read_bytes(),
                    headers={"content-type": "image/png"},
                ).raise_for_status()
                milliseconds.append(1000 * (time.perf_counter() - start))
                found += answer.json()["hits"][0]["id"] == str(number)
    finally:
        server.stop()
    if not pictures or found < len(pictures):
        raise Failed(f"{found} of {len(pictures)} drawings were found again at rank 1")
    median = statistics.median(milliseconds)
    return f"{found} of {len(pictures)} drawings found again at rank 1; median {median:.1f} ms"


if __name__ == "__main__":
    sys.exit(main())
