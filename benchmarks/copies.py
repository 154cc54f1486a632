"""Recall of copies at a rate of false positives, for hash, embedding and all evidence together.

    python benchmarks/copies.py --images photos    # the table of docs/copies.md

It stores 500 photos and looks up each of them changed in nine ways (the copies), and every
photo that is not stored, as it is and changed (the strangers). At each threshold the false
positives are the strangers for whom anything at all is reported. Weights are fitted on one half of
the photos and measured on the other, then the other way round.
"""

from __future__ import annotations

import argparse
import json
import pickle
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from harness.engine import LocalEngine
from harness.pictures import load_folder
from vitrine_server import calibration, copies, images, transformations
from vitrine_server.catalogue import Catalogue
from vitrine_server.evidence import Evidence, Model, Weights, fit, threshold_at
from vitrine_server.hashes import of_thumbnail
from vitrine_server.records import EncoderIdentity, NewItem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.pictures import Picture
    from vitrine_server.calibration import Example
    from vitrine_server.collection import Collection

ROOT = Path(__file__).parents[1]
RATE = 0.01


def main() -> None:
    options = _options()
    report = recall(options)
    if options.output:
        options.output.write_text(json.dumps(report, indent=1))


def recall(options: argparse.Namespace) -> dict[str, object]:
    pictures = load_folder(options.images)
    order = np.random.default_rng(0).permutation(len(pictures)).tolist()
    stored = [pictures[at] for at in order[: options.photos]]
    others = [pictures[at] for at in order[options.photos :]][: options.strangers]
    engine = LocalEngine(options.engine, decode_threads=1)
    with tempfile.TemporaryDirectory() as folder:
        collection, close = _collection(Path(folder), engine)
        _store(collection, engine, stored)
        started = time.perf_counter()
        known = [
            _looked_up(collection, engine, change, picture, number)
            for number, picture in enumerate(stored[: options.changed])
            for change in transformations.ALL
        ]
        strange = [
            _looked_up(collection, engine, change, picture, number)
            for number, picture in enumerate(others)
            for change in ("", list(transformations.ALL)[number % len(transformations.ALL)])
        ]
        each_ms = (time.perf_counter() - started) / (len(known) + len(strange)) * 1e3
        close()
    if options.raw:
        options.raw.write_bytes(pickle.dumps((known, strange)))
    return _judge(known, strange, each_ms, engine)


def _collection(folder: Path, engine: LocalEngine) -> tuple[Collection, Callable[[], None]]:
    info = engine.manifest.encoder
    identity = EncoderIdentity(info.name, info.fingerprint, info.dimension)
    catalogue = Catalogue(folder, encoder=identity)
    return catalogue.get("default"), catalogue.close


def _store(collection: Collection, engine: LocalEngine, pictures: Sequence[Picture]) -> None:
    preprocessing = engine.manifest.encoder.preprocessing
    for picture in pictures:
        seen = images.decode_with_thumbnail(picture.data, preprocessing)
        (vector,) = engine.encode(seen.pixels[None])
        item = NewItem(
            picture.name,
            vector,
            {},
            thumbnail=seen.thumbnail,
            hashes=(of_thumbnail(seen.thumbnail),),
        )
        collection.upsert([item]).result()


def _looked_up(
    collection: Collection, engine: LocalEngine, change: str, picture: Picture, number: int
) -> Example:
    data = picture.data
    if change:
        pixels = images.decode_upright(data, 4096, (255, 255, 255))
        rng = np.random.default_rng([1, number])
        data = transformations.encode(transformations.ALL[change](pixels, rng))
    view = copies.prepare(data)
    vectors = list(engine.encode(engine.decode([data, *view.jpegs[1:]])))
    ids, _ = copies.candidates(collection, view, vectors)
    found = copies.judge(collection, view, vectors, ids, copies.DEFAULT)
    return calibration.examples_of(change or "none", picture.name, None, found)


def _judge(
    known: Sequence[Example], strange: Sequence[Example], each_ms: float, engine: LocalEngine
) -> dict[str, object]:
    """Two-fold: halves by position, so that a photo's changes stay together."""
    table = Table("evidence", *transformations.ALL, "mean", "false positives")
    report: dict[str, object] = {"lookup_ms": each_ms, "queries": len(known), "rate": RATE}
    half, other = len(known) // 2, len(strange) // 2
    halves = [
        (known[:half], strange[:other], known[half:], strange[other:]),
        (known[half:], strange[other:], known[:half], strange[:other]),
    ]
    kinds: dict[str, Callable[[Sequence[Example], Sequence[Example]], Weights]] = {
        "hash": lambda copied, _: Weights(bias=0, hash=1, deep=0, alignment=0),
        "deep": lambda copied, _: Weights(bias=0, hash=0, deep=1, alignment=0),
        "hash + deep": lambda copied, strangers: _fit(copied, strangers, with_alignment=False),
        "fused": lambda copied, strangers: _fit(copied, strangers, with_alignment=True),
    }
    for kind, weigh in kinds.items():
        found: dict[str, list[float]] = {change: [] for change in transformations.ALL}
        false: list[float] = []
        for copied, strangers, tested, test_strangers in halves:
            weights = weigh(copied, strangers)
            best = calibration.best_strangers(strangers, weights)
            model = Model(weights=weights, threshold=threshold_at(best, RATE))
            for change, share in calibration.recall_by_change(tested, model).items():
                found[change].append(share)
            reported = calibration.best_strangers(test_strangers, weights)
            false.append(float(np.mean([score >= model.threshold for score in reported])))
        report[kind] = _add_row(
            table,
            kind,
            {change: float(np.mean(parts)) for change, parts in found.items()},
            float(np.mean(false)),
        )
    shipped = copies.DEFAULT.full
    reported = calibration.best_strangers([*known, *strange], shipped.weights)
    report["shipped"] = _add_row(
        table,
        "fused, shipped",
        calibration.recall_by_change(known, shipped),
        float(np.mean([score >= shipped.threshold for score in reported])),
    )
    made = calibration.calibrate(
        [*known, *strange],
        fingerprint=engine.manifest.encoder.fingerprint,
        false_positive_rate=RATE,
    )
    report["calibration"] = made.model_dump()
    missed = sum(example.copy is None for example in known)
    console = Console(width=160)
    console.print(table)
    console.print(
        f"{len(known)} copies, {len(strange)} strangers; {each_ms:.0f} ms a look-up with encoding; "
        f"{missed} originals were not among the candidates"
    )
    console.print(made.model_dump_json())
    return report


def _add_row(
    table: Table, kind: str, shares: dict[str, float], false_positives: float
) -> dict[str, float]:
    mean = float(np.mean(list(shares.values())))
    row = (*shares.values(), mean, false_positives)
    table.add_row(kind, *(f"{value:.3f}" for value in row))
    return {**shares, "mean": mean, "false_positives": false_positives}


def _fit(
    copied: Sequence[Example], strangers: Sequence[Example], *, with_alignment: bool
) -> Weights:
    own = [example.copy for example in copied if example.copy is not None]
    strange: list[Evidence] = [
        each
        for example in strangers
        for each in example.strangers
        if each.alignment is not None or not with_alignment
    ]
    return fit(own, strange, with_alignment=with_alignment)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of photos")
    default = ROOT / "model_repository/cpu/image_encoder/1"
    parser.add_argument("--engine", type=Path, default=default, help="folder of its manifest")
    parser.add_argument("--photos", type=int, default=500, help="stored")
    parser.add_argument("--changed", type=int, default=500, help="of them, looked up")
    parser.add_argument("--strangers", type=int, default=400, help="photos that are not stored")
    parser.add_argument("--raw", type=Path, help="pickle of all evidence")
    parser.add_argument("--output", type=Path, help="JSON of all figures")
    return parser.parse_args()


if __name__ == "__main__":
    main()
