"""`vitrine-export`: the command behind `make export`."""

from __future__ import annotations

import contextlib
from enum import Enum
from pathlib import Path  # noqa: TC003 (typer reads the annotations at run time)
from typing import TYPE_CHECKING, Annotated, NamedTuple, cast

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from vitrine_export.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vitrine_server.manifest import GateRow, Precision

console = Console()
complaints = Console(stderr=True)


class Target(str, Enum):
    """Where the engine runs."""

    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"


class Choice(str, Enum):
    """Number type of the linear layers."""

    auto = "auto"
    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"
    int8 = "int8"
    fp8 = "fp8"


class Compatibility(NamedTuple):
    """What a TensorRT plan is asked for beyond this GPU and this TensorRT."""

    versions: bool
    hardware: bool


class Terminal:
    """Progress bars and notes on the terminal."""

    @contextlib.contextmanager
    def step(self, text: str, total: int) -> Iterator[Callable[[int], object]]:
        columns = (
            TextColumn("{task.description:<24}"),
            BarColumn(30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(text, total=total)
            yield lambda units: progress.advance(task, units)
            # a step that needed less than was planned is complete all the same
            done = progress.tasks[0].completed
            progress.update(task, total=done)

    def note(self, text: str) -> None:
        console.print(text, highlight=False)


def main() -> None:
    """Entry point of the console script."""
    typer.run(_export)


def _export(
    encoder: Annotated[
        str, typer.Option(help="A name of the catalogue or a folder with a checkpoint.")
    ] = "design-vit",
    target: Annotated[Target, typer.Option(help="Where the engine runs.")] = Target.auto,
    precision: Annotated[
        Choice, typer.Option(help="Force one precision; it must still pass the gate.")
    ] = Choice.auto,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of images for calibration and gate; drawings without it."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Triton's model repository to publish into.",
            show_default="model_repository/cpu or model_repository/gpu_python",
        ),
    ] = None,
    version_compatible: Annotated[
        bool, typer.Option(help="The TensorRT plan also loads in other versions of TensorRT 11.")
    ] = False,
    hardware_compatible: Annotated[
        bool, typer.Option(help="The plan also runs on other GPUs of this compute capability.")
    ] = False,
) -> None:
    """Build, gate and publish the engine of an encoder for this machine."""
    try:
        _run(
            encoder,
            target,
            precision,
            images,
            output,
            Compatibility(versions=version_compatible, hardware=hardware_compatible),
        )
    except ExportError as error:
        complaints.print(f"[bold red]export:[/] {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    except OSError as error:  # a full or closed disk anywhere on the way
        complaints.print(
            f"[bold red]export:[/] {error.filename or 'A file'} cannot be used "
            f"({error.strerror or error}): what was published before is untouched; make space or "
            "give access there, and export again.",
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        complaints.print("export: interrupted; what was published before is untouched.")
        raise typer.Exit(130) from None


def _run(
    encoder: str,
    target: Target,
    precision: Choice,
    images: Path | None,
    output: Path | None,
    compatibility: Compatibility,
) -> None:
    with console.status("Loading torch, ONNX Runtime and OpenVINO"):
        from vitrine_export import pipeline, targets  # takes seconds; `--help` must not
    device = targets.choose(
        target.value,
        version_compatible=compatibility.versions,
        hardware_compatible=compatibility.hardware,
    )
    forced = None if precision is Choice.auto else cast("Precision", precision.value)
    result = pipeline.export(
        encoder,
        target=device,
        precision=forced,
        image_folder=images,
        repository=output or device.repository,
        report=Terminal(),
        show_gate=lambda rows: show_gate(rows, encoder),
    )
    manifest = result.manifest
    console.print(
        f"Published {manifest.encoder.name} as {manifest.precision} for {manifest.runtime} "
        f"({result.chosen.images_per_s:.0f} images/s) in {result.folder / manifest.engine.file}",
        highlight=False,
        soft_wrap=True,
    )


def show_gate(rows: list[GateRow], encoder: str) -> None:
    """Print the gate's table."""
    table = Table(
        title=f"Gate of {encoder}: answers against FP32, speed on this machine",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("precision")
    for heading in ("cosine", "least", "recall@10", "latency", "images/s", "batch"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict")
    for row in rows:
        verdict = "[green]passed[/]" if row.passed else "[red]refused[/]"
        table.add_row(
            row.precision,
            f"{row.cosine_mean:.5f}",
            f"{row.cosine_min:.5f}",
            f"{row.recall_at_10:.3f}",
            f"{row.latency_ms_batch_1:.1f} ms",
            f"{row.images_per_s:.1f}",
            str(row.best_batch),
            verdict,
        )
    console.print(table)
    for row in rows:
        console.print(f" {row.precision:<5} {row.reason}", highlight=False)
