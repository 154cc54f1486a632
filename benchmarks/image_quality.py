"""How often good pictures are flagged, and bad ones are not: the table of docs/quality.md.

    python benchmarks/image_quality.py --images photos us_designs uspto_drawings

Every picture is taken as it is, and made bad in four ways. `--values` prints the quantiles of the
measures as well, which the thresholds were read from.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from harness.pictures import load_folder
from vitrine_server import hashes, images, quality, transformations
from vitrine_server.manifest import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

_PREPROCESSING = Preprocessing(
    size=224, resize="letterbox", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
)


def _blank(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Paper with the noise of a scanner."""
    noise = rng.normal(245, 3, pixels.shape)
    return noise.clip(0, 255).astype(np.uint8)


def _veiled(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A twelfth of the contrast."""
    return (200 + (pixels.astype(np.float32) - 128) / 12).clip(0, 255).astype(np.uint8)


def _tiny(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    scale = 40 / max(pixels.shape[:2])
    width, height = (max(1, round(side * scale)) for side in (pixels.shape[1], pixels.shape[0]))
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _blurred(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A Gaussian of 1.5 % of the longer side."""
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), 0.015 * max(pixels.shape[:2])), np.uint8)


BAD: dict[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    "blank": _blank,
    "veiled": _veiled,
    "tiny": _tiny,
    "blurred": _blurred,
}


def main() -> None:
    options = _options()
    console = Console(width=120)
    table = Table("pictures", "number", "flagged as they are", *BAD)
    for folder in options.images:
        pictures = load_folder(folder)
        good: list[str] = []
        caught = dict.fromkeys(BAD, 0)
        values: dict[str, list[float]] = {"as it is": [], "blurred": []}
        for number, picture in enumerate(pictures):
            seen = _thumbnail(picture.data)
            good += quality.flags(seen)
            values["as it is"].append(quality.blur(seen))
            pixels = images.decode_upright(picture.data, 1024, (255, 255, 255))
            for name, spoil in BAD.items():
                spoilt = spoil(pixels, np.random.default_rng(number))
                seen = _thumbnail(transformations.encode(spoilt))
                caught[name] += bool(quality.flags(seen))
                if name == "blurred":
                    values[name].append(quality.blur(seen))
        shares = [f"{caught[name] / len(pictures):.3f}" for name in BAD]
        kinds = ", ".join(f"{good.count(flag)} {flag}" for flag in sorted(set(good)))
        wrong = f"{len(good) / len(pictures):.4f} ({kinds or 'none'})"
        table.add_row(folder.name, str(len(pictures)), wrong, *shares)
        if options.values:
            for name, found in values.items():
                spread = np.quantile(found, [0, 0.01, 0.1, 0.5, 0.9, 0.99, 1]).round(3).tolist()
                console.print(f"{folder.name}, {name}: blur {spread}")
    console.print(table)


def _thumbnail(data: bytes) -> Pixels:
    seen = images.decode_with_thumbnail(data, _PREPROCESSING)
    return hashes.open_thumbnail(seen.thumbnail)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="folders of pictures")
    parser.add_argument("--values", action="store_true", help="quantiles of the measures too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
