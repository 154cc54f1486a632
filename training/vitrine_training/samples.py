"""`python -m vitrine_training.samples OUT`: drawings of 8 designs, 3 each, to try a search with.

They come from the drawing corpus, so they are free to ship, and are the same on every machine.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from PIL import Image

from .corpus import draw

# (folder, subclass, seed, title): seeds chosen for drawings that are easy to recognise
DESIGNS = (
    ("chair-01", "chair", 0, "Chair"),
    ("chair-02", "chair", 4, "Office chair"),
    ("kettle-01", "kettle", 1, "Teapot"),
    ("lamp-01", "lamp", 6, "Table lamp"),
    ("shoe-01", "shoe", 2, "Boot"),
    ("glasses-01", "glasses", 2, "Sunglasses"),
    ("camera-01", "camera", 5, "Camera"),
    ("hook-01", "hook", 0, "Coat rack"),
)
VIEWS = 3
SIZE = 512


def write(out: Path) -> int:
    """Write the drawings and `metadata.csv` (path, group, class, title); returns the number of
    drawings.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for folder, subclass, seed, title in DESIGNS:
        (out / folder).mkdir(exist_ok=True)
        for view in range(VIEWS):
            path = f"{folder}/view-{view + 1}.png"
            pixels = draw(
                seed,
                view=view,
                style=("contoured", "plain", "plain")[view],
                size=SIZE,
                subclass=subclass,
            )
            Image.fromarray(pixels).save(out / path)
            rows.append((path, folder, subclass, title))
    with (out / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "group", "class", "title"))
        writer.writerows(rows)
    return len(rows)


def main() -> None:
    """Parse the command line and write the samples."""
    parser = argparse.ArgumentParser(prog="python -m vitrine_training.samples", description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write the drawings to")
    out = parser.parse_args().out
    print(f"{write(out)} drawings in {out}")


if __name__ == "__main__":
    main()
