"""Measure an encoder's retrieval: `python -m vitrine_training.evaluate`, also `make evaluate`.

Real drawings (leave-one-out over folders, or DeepPatent's query and gallery lists) and the
synthetic corpus (labelled as such), beside floors that need no learning.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from vitrine_server import images
from vitrine_training import synthetic
from vitrine_training.corpus import Corpus
from vitrine_training.floors import FLOORS
from vitrine_training.metrics import (
    ENCODER,
    Summary,
    answerable,
    rank_metrics,
    scored,
    summarise,
)
from vitrine_training.model import DesignViT
from vitrine_training.report import write_page
from vitrine_training.text import TextTower

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vitrine_server.manifest import Preprocessing

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")


class Embedder(Protocol):
    """pixels (N, S, S, 3) uint8 → (N, D) float32 of unit length."""

    def __call__(self, pixels: NDArray[np.uint8], /) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Gallery:
    """Decoded images and who belongs together. groups: (N,) int64. files: where they came from."""

    pixels: NDArray[np.uint8]
    groups: NDArray[np.int64]
    group_names: list[str]
    files: list[str]


@dataclass
class Row:
    """One line of the table: a method on a set."""

    set: str
    method: str
    queries: int
    metrics: dict[str, Summary] = field(default_factory=dict)


def torch_embedder(model: DesignViT, *, batch: int = 64, device: str = "cpu") -> Embedder:
    """The FP32 PyTorch model as an Embedder."""
    model = model.to(device).eval()

    def embed(pixels: NDArray[np.uint8], /) -> NDArray[np.float32]:
        parts = []
        with torch.inference_mode():
            for start in range(0, len(pixels), batch):
                part = torch.from_numpy(np.ascontiguousarray(pixels[start : start + batch]))
                parts.append(model(model.normalise(part.to(device))).cpu().numpy())
        return np.concatenate(parts)

    return embed


def read_folder(folder: Path, preprocessing: Preprocessing) -> Gallery:
    """All images below `folder`; those in one directory are of one design."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)
    if not files:
        raise ValueError(f"{folder} has no images ({', '.join(_SUFFIXES)})")
    pixels = np.stack([images.decode(path.read_bytes(), preprocessing) for path in files])
    names, groups = np.unique(
        [str(path.parent.relative_to(folder)) for path in files], return_inverse=True
    )
    relative = [str(path.relative_to(folder)) for path in files]
    return Gallery(pixels, groups.astype(np.int64), names.tolist(), relative)


def read_list(root: Path, table: Path, preprocessing: Preprocessing) -> Gallery:
    """Images of one DeepPatent list: a line is a path below `root`, a space, a patent's number."""
    files, labels = [], []
    for number, line in enumerate(table.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        name, _, label = line.strip().rpartition(" ")
        if not name or not label.isdigit():
            raise ValueError(f"{table}, line {number}: expected a path and a number: {line!r}")
        files.append(name)
        labels.append(int(label))
    pixels = np.stack([images.decode((root / f).read_bytes(), preprocessing) for f in files])
    names = [str(label) for label in range(max(labels) + 1)]
    return Gallery(pixels, np.array(labels, np.int64), names, files)


def evaluate_folder(name: str, gallery: Gallery, methods: dict[str, Embedder]) -> list[Row]:
    """Leave-one-out: each image queries all others, those of its directory are relevant."""
    grades = (gallery.groups[:, None] == gallery.groups[None, :]).astype(np.int64)
    valid = ~np.eye(len(grades), dtype=bool)
    rows = []
    for method, embed in methods.items():
        vectors = embed(gallery.pixels)
        for label, scores in scored(method, vectors, vectors, valid):
            metrics = rank_metrics(scores, grades, valid)
            rows.append(_row(name, label, metrics, gallery.groups[answerable(grades, valid)]))
    return rows


def evaluate_lists(
    name: str, queries: Gallery, gallery: Gallery, methods: dict[str, Embedder]
) -> list[Row]:
    """DeepPatent's protocol: a query's own file is left out where the gallery has it too."""
    grades = (queries.groups[:, None] == gallery.groups[None, :]).astype(np.int64)
    valid = np.array(queries.files)[:, None] != np.array(gallery.files)[None, :]
    rows = []
    for method, embed in methods.items():
        vectors = embed(queries.pixels), embed(gallery.pixels)
        for label, scores in scored(method, *vectors, valid):
            metrics = rank_metrics(scores, grades, valid)
            rows.append(_row(name, label, metrics, queries.groups[answerable(grades, valid)]))
    return rows


def evaluate_titles(
    name: str, gallery: Gallery, titles: dict[str, str], embed: Embedder, text: TextTower
) -> Row:
    """Title of a design → its designs by their best image, over all designs of the gallery."""
    vectors = embed(gallery.pixels)
    asked = [(i, titles[g]) for i, g in enumerate(gallery.group_names) if titles.get(g)]
    scores = text.encode([title for _, title in asked]).numpy() @ vectors.T
    best = np.stack(
        [scores[:, gallery.groups == g].max(axis=1) for g in range(len(gallery.group_names))],
        axis=1,
    )
    grades = np.zeros(best.shape, np.int64)
    grades[np.arange(len(asked)), [group for group, _ in asked]] = 1
    metrics = rank_metrics(best, grades, np.ones(best.shape, bool))
    return _row(name, "text", metrics, np.arange(len(asked)))


def read_titles(folder: Path) -> dict[str, str]:
    """Design → title from `patents.csv` (columns patent, title), empty where there is none."""
    table = folder / "patents.csv"
    if not table.exists():
        return {}
    with table.open(encoding="utf-8-sig", newline="") as file:
        return {row["patent"]: row["title"] for row in csv.DictReader(file)}


def _row(
    name: str, method: str, metrics: dict[str, NDArray[np.float64]], owners: NDArray[np.int64]
) -> Row:
    if not len(metrics["mAP"]):
        raise ValueError(f"{name}: no query has anything to find; designs need two images or more")
    summaries = {key: summarise(values, owners) for key, values in metrics.items()}
    return Row(name, method, len(metrics["mAP"]), summaries)


def print_rows(rows: Sequence[Row], console: Console) -> None:
    """A table a person reads; mAP with its 95 % interval."""
    table = Table("set", "method", "queries", "mAP", "95 %", "R@1", "R@5", "R@10", "MRR@10")
    for row in rows:
        mean = row.metrics
        interval = f"{mean['mAP'].low:.3f}-{mean['mAP'].high:.3f}"
        others = [f"{mean[key].mean:.3f}" for key in ("R@1", "R@5", "R@10", "MRR@10")]
        table.add_row(
            row.set, row.method, str(row.queries), f"{mean['mAP'].mean:.3f}", interval, *others
        )
    console.print(table)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="vitrine_training.evaluate", description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="folder of a DesignViT")
    parser.add_argument(
        "--real",
        type=Path,
        action="append",
        default=[],
        help="folder of designs, a directory each; may be repeated",
    )
    parser.add_argument("--corpus", type=Path, help="synthetic corpus")
    parser.add_argument(
        "--deeppatent",
        type=Path,
        nargs=3,
        metavar=("ROOT", "QUERIES", "GALLERY"),
        help="root folder and the two lists as DeepPatent publishes them",
    )
    parser.add_argument("--out", type=Path, help="folder for report.json and report.html")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parsed = parser.parse_args(arguments)
    if not (parsed.real or parsed.corpus or parsed.deeppatent):
        parser.error("nothing to evaluate on: give --real, --corpus or --deeppatent")
    return parsed


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line entry point."""
    options = _parse(arguments)
    model = DesignViT.load(options.weights)
    text = TextTower.load(options.weights) if (options.weights / "text.json").exists() else None
    embed = torch_embedder(model, device=options.device)
    floors: dict[str, Embedder] = dict(FLOORS)
    floors["untrained ViT"] = torch_embedder(DesignViT.from_seed(0), device=options.device)
    methods = floors | {ENCODER: embed}
    preprocessing = model.config.preprocessing
    rows: list[Row] = []
    galleries: list[tuple[str, Gallery]] = []
    for folder in options.real:
        gallery = read_folder(folder, preprocessing)
        galleries.append((folder.name, gallery))
        rows += evaluate_folder(folder.name, gallery, methods)
        titles = read_titles(folder)
        if text is not None and titles:
            rows.append(evaluate_titles(f"{folder.name}, titles", gallery, titles, embed, text))
    if options.deeppatent:
        root, queries, database = options.deeppatent
        asked = read_list(root, queries, preprocessing)
        rows += evaluate_lists(
            "DeepPatent", asked, read_list(root, database, preprocessing), methods
        )
    if options.corpus:
        for name, method, metrics, owners in synthetic.evaluate(
            Corpus.open(options.corpus), methods, text, embed
        ):
            rows.append(_row(f"synthetic, {name}", method, metrics, owners))
    print_rows(rows, Console(width=120))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        document = [asdict(row) for row in rows]
        (options.out / "report.json").write_text(json.dumps(document, indent=1) + "\n")
        write_page(options.out / "report.html", rows, galleries, embed)


if __name__ == "__main__":
    main()
