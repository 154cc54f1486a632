"""Calibration and gate images: disjoint, repeatable, decoded as in serving."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from vitrine_export import images
from vitrine_export.errors import ExportError
from vitrine_server import images as decoder

if TYPE_CHECKING:
    from pathlib import Path

    from vitrine_server.manifest import Preprocessing

COUNT = 240


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for number in range(COUNT):
        place = root / f"class {number % 3}"
        place.mkdir(exist_ok=True)
        values = random.integers(0, 256, (4, 6, 3), dtype=np.uint8)
        Image.fromarray(values).resize((60, 40)).save(place / f"{number}.png")
    (root / "broken.jpg").write_bytes(b"not an image")
    (root / "notes.txt").write_text("not read")
    (root / "copy.png").write_bytes((root / "class 0" / "0.png").read_bytes())
    return root


def test_sets_are_disjoint_and_skip_copies_and_broken_files(
    folder: Path, preprocessing: Preprocessing
) -> None:
    done: list[None] = []
    sets = images.load(folder, preprocessing, advance=lambda: done.append(None))
    assert len(sets.gate) == 200
    assert len(sets.gate) + len(sets.calibration) == COUNT == len(done)
    assert sets.skipped == 1
    seen = {image.tobytes() for image in (*sets.gate, *sets.calibration)}
    assert len(seen) == COUNT


def test_pixels_are_those_of_the_servers_decoder(
    folder: Path, preprocessing: Preprocessing
) -> None:
    sets = images.load(folder, preprocessing, advance=lambda: None)
    found = {image.tobytes() for image in (*sets.gate, *sets.calibration)}
    for path in sorted(folder.rglob("*.png"))[:20]:
        assert decoder.decode(path.read_bytes(), preprocessing).tobytes() in found


def test_the_choice_is_repeatable(folder: Path, preprocessing: Preprocessing) -> None:
    one, two = (images.load(folder, preprocessing, advance=lambda: None) for _ in range(2))
    np.testing.assert_array_equal(one.gate, two.gate)


def test_too_few_images_are_refused(
    folder: Path, tmp_path: Path, preprocessing: Preprocessing
) -> None:
    for path in sorted(folder.rglob("*.png"))[:50]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ExportError, match="50 different usable images"):
        images.load(tmp_path, preprocessing, advance=lambda: None)


def test_a_missing_folder_is_refused(tmp_path: Path, preprocessing: Preprocessing) -> None:
    with pytest.raises(ExportError, match="does not exist"):
        images.load(tmp_path / "none", preprocessing, advance=lambda: None)


def test_batches_cover_all() -> None:
    pixels = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)
    parts = list(images.batches(pixels, 4))
    assert [len(part) for part in parts] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate(parts), pixels)
