"""INT8 against FP32 for every family of the catalogue, on real photos and real drawings.

Where no weights can be had, each family is a random model of its shape: 224 pixels, patches of
16, a few narrow layers. To such a model most drawings look alike: its neighbours there are ties,
which any rounding reorders, so that its cosine and its recall on photos tell more. Give checkpoints
to judge real ones.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from vitrine_export import (
    calibrate,
    checkpoint,
    engines,
    families,
    gate,
    images,
    onnx_graph,
    quantise,
)
from vitrine_export.catalogue import Entry
from vitrine_server.manifest import Preprocessing

if TYPE_CHECKING:
    from torch import nn

console = Console()
BATCH = 16
CALIBRATION_IMAGES = 96
SIZE = 224
WIDTH: dict[str, Any] = {
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "intermediate_size": 768,
}
PATCHES: dict[str, Any] = {"patch_size": 16}
PAIR: dict[str, Any] = {
    "vision_config": WIDTH | PATCHES | {"image_size": SIZE},
    "text_config": WIDTH | {"vocab_size": 100, "max_position_embeddings": 16},
}
SHAPES: dict[str, dict[str, Any]] = {
    "vit": WIDTH | PATCHES,
    "dinov2": WIDTH | PATCHES,
    "dinov2_with_registers": WIDTH | PATCHES,
    "dinov3_vit": WIDTH | PATCHES | {"num_register_tokens": 4},
    "siglip": PAIR,
    "clip": PAIR | {"projection_dim": 256},
    "chinese_clip": PAIR | {"projection_dim": 256},
}


@dataclass(frozen=True)
class Encoder:
    """A name, an image tower, and how its images are prepared."""

    name: str
    tower: nn.Module
    preprocessing: Preprocessing


def main() -> None:
    options = _options()
    encoders = [_given(folder) for folder in options.encoder] or [_random(f) for f in SHAPES]
    table = Table(title="INT8 against FP32", title_justify="left")
    for heading in ("encoder", "images", "cosine", "least", "recall@10 lost", "verdict"):
        table.add_column(heading, justify="left" if heading in ("encoder", "images") else "right")
    sets: dict[tuple[Path, str], images.ImageSets] = {}
    for encoder in encoders:
        for folder in options.images:
            key = (folder, encoder.preprocessing.model_dump_json())
            if key not in sets:
                sets[key] = images.load(folder, encoder.preprocessing, advance=lambda: None)
            found = _judge(encoder, sets[key])
            least_cosine, least_recall = gate.limits("int8")
            passed = found.cosine_mean >= least_cosine and found.recall >= least_recall
            table.add_row(
                encoder.name,
                folder.name,
                f"{found.cosine_mean:.5f}",
                f"{found.cosine_min:.5f}",
                f"{100 * (1 - found.recall):.1f} points",
                "passed" if passed else "refused",
            )
            console.print(f"{encoder.name}, {folder.name}: {found}", highlight=False)
    console.print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="INT8 against FP32 for every family.")
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="one a row")
    parser.add_argument("--encoder", nargs="*", default=[], help="checkpoints instead of families")
    return parser.parse_args()


def _given(folder: str) -> Encoder:
    found = checkpoint.load(folder)
    return Encoder(found.info.name, found.image, found.info.preprocessing)


def _random(family: str) -> Encoder:
    entry = Entry(
        name=family,
        family=family,
        source="random:0",
        licence="none",
        resize="crop",
        pooling=families.POOLING[family],
        size=SIZE,
        config=SHAPES[family],
    )
    half = (0.5, 0.5, 0.5)
    preprocessing = Preprocessing(size=SIZE, resize="crop", mean=half, std=half)
    return Encoder(f"{family} (random)", families.random(entry, seed=0), preprocessing)


def _judge(encoder: Encoder, sets: images.ImageSets) -> gate.Accuracy:
    graph = onnx_graph.build(encoder.tower, encoder.preprocessing)
    ranges = calibrate.ranges(graph, sets.calibration[:CALIBRATION_IMAGES], batch=BATCH)
    quantised = quantise.quantise(graph, ranges, quantise.INT8_CPU)
    exact, rounded = (
        np.concatenate(
            [
                one.run([onnx_graph.OUTPUT], {onnx_graph.INPUT: part})[0]
                for part in images.batches(sets.gate, BATCH)
            ]
        )
        for one in (engines.session(m.SerializeToString()) for m in (graph, quantised))
    )
    return gate.accuracy(exact, rounded)


if __name__ == "__main__":
    main()
