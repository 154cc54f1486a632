"""A tiny catalogue of line drawings that needs no renderer: polygons seen from a few angles."""

from __future__ import annotations

import cv2
import numpy as np

from vitrine_training.data import Catalogue

WORDS = ("round", "tall", "flat", "wide", "bent", "thin")


def catalogue(*, designs: int = 24, views: int = 4, size: int = 64, seed: int = 0) -> Catalogue:
    """`views` images of each design: one polygon, slightly turned, stretched and drawn anew."""
    rng = np.random.default_rng(seed)
    pixels = np.full((designs * views, size, size), 255, np.uint8)
    for design in range(designs):
        corners = int(rng.integers(4, 9))
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
        radii = rng.uniform(0.3, 1.0, corners)
        shape = np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
        for view in range(views):
            turn = rng.uniform(-0.5, 0.5)
            matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
            stretched = shape @ matrix.T * rng.uniform(0.65, 1.0, 2) * 0.45 * size + size / 2
            cv2.polylines(
                pixels[design * views + view],
                [np.round(stretched).astype(np.int32)],
                True,
                0,
                int(rng.integers(1, 4)),
                cv2.LINE_AA,
            )
    design_of = np.repeat(np.arange(designs), views)
    texts = [(f"a {WORDS[d % 6]} thing number {d}", f"第{d}号物品") for d in design_of]
    classes = list(WORDS)
    return Catalogue(
        pixels, design_of, design_of, design_of % 6, classes, texts, [""] * len(design_of)
    )
