"""What a GPU gives: one command, ends by itself, writes one JSON file.

    python benchmarks/gpu/run.py --output gpu.json

Needs PyTorch with CUDA; TensorRT, FAISS, torchvision and the servers' environments are used where
they are, and named as the reason where they are not. No section begins after --minutes, and what is
measured so far is written after each. --device cpu --tiny runs the same code on any machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import decode  # noqa: E402 (the path is set above)
import encode  # noqa: E402
import neighbours  # noqa: E402
import serve  # noqa: E402
from sizes import FULL, TINY, Missing, Sizes  # noqa: E402

from harness import machine  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

SECTIONS: dict[str, Callable[[torch.device, Sizes], Any]] = {
    "peak": encode.peak,
    "encode": encode.encode,
    "tensorrt": encode.tensorrt,
    "neighbours": neighbours.neighbours,
    "decode": decode.decode,
    "serve": serve.serve,
}


def main() -> None:
    options = _options()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("PyTorch sees no CUDA device: use --device cpu --tiny to try the script.")
    sizes = TINY if options.tiny else FULL
    begun = time.monotonic()
    report: dict[str, Any] = {
        "machine": machine.describe(),
        "device": _describe(device),
        "sizes": vars(sizes),
        "sections": {},
    }
    for name in options.only:
        if time.monotonic() - begun > options.minutes * 60:
            report["sections"][name] = {"missing": f"not begun within {options.minutes:g} minutes"}
        else:
            report["sections"][name] = _measured(name, device, sizes)
        report["seconds"] = round(time.monotonic() - begun, 1)
        options.output.write_text(json.dumps(report, indent=1) + "\n")
    print(options.output)


def _measured(name: str, device: torch.device, sizes: Sizes) -> Any:
    """The figures of a section, or why there are none: the other sections still run."""
    print(f"{name} ...", flush=True)
    started = time.monotonic()
    try:
        found = SECTIONS[name](device, sizes)
    except Missing as reason:
        print(f"{name}: {reason}", flush=True)
        return {"missing": str(reason)}
    except Exception as error:
        traceback.print_exc()
        return {"failed": f"{type(error).__name__}: {error}"[:500]}
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return {"figures": found, "seconds": round(time.monotonic() - started, 1)}


def _describe(device: torch.device) -> dict[str, Any]:
    if device.type != "cuda":
        return {"name": "cpu", "torch": torch.__version__}
    about = torch.cuda.get_device_properties(device)
    return {
        "name": about.name,
        "memory_gb": round(about.total_memory / 1e9, 1),
        "multiprocessors": about.multi_processor_count,
        "compute_capability": f"{about.major}.{about.minor}",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes that only show that it runs")
    parser.add_argument("--minutes", type=float, default=25.0, help="no section begins later")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--output", type=Path, default=Path("gpu.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
