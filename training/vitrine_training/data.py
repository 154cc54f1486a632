"""What training reads: images with a design, a class and texts, from a corpus or a user's folder.

A batch depends on the seed and the step alone, never on what ran before: that makes a resumed
training equal to an uninterrupted one.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from vitrine_server import images
from vitrine_server.errors import VitrineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from vitrine_server.manifest import Preprocessing
    from vitrine_training.corpus import Corpus


READ = 8  # images that an encoder reads at a time fit into the caches: 64 take half as long again


class Pixels(Protocol):
    """One image by its position: (S, S) grey or (S, S, 3) RGB uint8."""

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]: ...


@dataclass(frozen=True)
class Catalogue:
    """Images to train on.

    design, family, subclass: (N,) int64, each counted from 0; designs of one family are near-copies
    of one another. class_names: of each subclass, "" where designs share a group but no name.
    texts: a tuple of texts per image (languages), possibly empty. names: an id per image, "" where
    it has none.
    """

    pixels: Pixels
    design: NDArray[np.int64]
    family: NDArray[np.int64]
    subclass: NDArray[np.int64]
    class_names: list[str]
    texts: list[tuple[str, ...]]
    names: list[str]

    def __len__(self) -> int:
        return len(self.design)

    @property
    def designs(self) -> int:
        return int(self.design.max()) + 1

    def image(self, index: int) -> NDArray[np.uint8]:
        """(S, S) or (S, S, 3) uint8."""
        return np.asarray(self.pixels[index])


def from_corpus(corpus: Corpus, split: str) -> Catalogue:
    """The drawings of one split of a corpus."""
    rows = np.flatnonzero(corpus.split == split)
    origin = np.where(corpus.near_copy_of >= 0, corpus.near_copy_of, corpus.design)[rows]
    return Catalogue(
        pixels=_Rows(corpus, rows),
        design=np.unique(corpus.design[rows], return_inverse=True)[1].astype(np.int64),
        family=np.unique(origin, return_inverse=True)[1].astype(np.int64),
        subclass=corpus.subclass[rows],
        class_names=list(corpus.subclass_names),
        texts=[
            tuple(str(c[row]) for c in (corpus.caption_en, corpus.caption_zh) if c[row])
            for row in rows
        ],
        names=[""] * len(rows),
    )


def together(catalogues: Sequence[Catalogue]) -> Catalogue:
    """One catalogue of several; designs of different ones stay different, classes go by name."""
    columns: dict[str, list[NDArray[np.int64]]] = {"design": [], "family": []}
    subclass: list[NDArray[np.int64]] = []
    class_names: list[str] = []
    for catalogue in catalogues:
        for column, parts in columns.items():
            offset = int(parts[-1].max()) + 1 if parts else 0
            parts.append(getattr(catalogue, column) + offset)
        number = []
        for name in catalogue.class_names:
            if not name or name not in class_names:
                class_names.append(name)
                number.append(len(class_names) - 1)
            else:
                number.append(class_names.index(name))
        subclass.append(np.array(number, np.int64)[catalogue.subclass])
    return Catalogue(
        pixels=_Several([(len(c), c.pixels) for c in catalogues]),
        design=np.concatenate(columns["design"]),
        family=np.concatenate(columns["family"]),
        subclass=np.concatenate(subclass),
        class_names=class_names,
        texts=[texts for c in catalogues for texts in c.texts],
        names=[name for c in catalogues for name in c.names],
    )


class _Several:
    """Images of catalogues, one after the other."""

    def __init__(self, parts: list[tuple[int, Pixels]]) -> None:
        self._parts = [pixels for _, pixels in parts]
        self._starts = np.cumsum([0, *(length for length, _ in parts)])

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]:
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._parts[part][index - int(self._starts[part])]


class _Rows:
    """Rows of a corpus's sheets, read when asked for."""

    def __init__(self, corpus: Corpus, rows: NDArray[np.int64]) -> None:
        self._corpus, self._rows = corpus, rows

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]:
        return self._corpus.image(int(self._rows[index]))


def from_folder(folder: Path, table: Path, preprocessing: Preprocessing) -> Catalogue:
    """A user's images with a CSV of the columns id, design, class, text.

    id is the path below `folder`; class and text may be empty or absent. Raises ValueError that
    names the line or column that is wrong.
    """
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if missing := {"id", "design"} - set(reader.fieldnames or ()):
            raise ValueError(
                f"{table} lacks the column {min(missing)!r}; accepted: id, design, class, text"
            )
        rows = list(reader)
    pixels = []
    for line, row in enumerate(rows, start=2):
        path = folder / row["id"]
        try:
            pixels.append(images.decode(path.read_bytes(), preprocessing))
        except FileNotFoundError:
            raise ValueError(f"{table}, line {line}: there is no image {path}") from None
        except VitrineError as error:
            raise ValueError(f"{table}, line {line}: {path}: {error.detail}") from None
    if not pixels:
        raise ValueError(f"{table} has no rows")
    design = np.unique([row["design"] for row in rows], return_inverse=True)[1].astype(np.int64)
    classes, subclass = np.unique([row.get("class") or "" for row in rows], return_inverse=True)
    return Catalogue(
        pixels=np.stack(pixels),
        design=design,
        family=design,
        subclass=subclass.astype(np.int64),
        class_names=classes.tolist(),
        texts=[(row["text"],) if row.get("text") else () for row in rows],
        names=[row["id"] for row in rows],
    )


def read_feedback(table: Path, catalogue: Catalogue) -> list[tuple[int, int, bool]]:
    """Judged pairs from a CSV of query, item (ids of the catalogue) and verdict (right or wrong).

    Returns (query, item, right) as positions in the catalogue; raises ValueError on unknown ids.
    """
    position = {name: index for index, name in enumerate(catalogue.names)}
    pairs = []
    with table.open(encoding="utf-8-sig", newline="") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            for column in ("query", "item"):
                if row.get(column) not in position:
                    raise ValueError(
                        f"{table}, line {line}: {column} {row.get(column)!r} is not an id of the "
                        "catalogue"
                    )
            if row.get("verdict") not in ("right", "wrong"):
                raise ValueError(f'{table}, line {line}: verdict must be "right" or "wrong"')
            right = row["verdict"] == "right"
            pairs.append((position[row["query"]], position[row["item"]], right))
    return pairs


class Sampler:
    """Picks batches of `designs` designs with `views` images each, from few classes a batch.

    Designs of one class are each other's hard negatives, so a batch holds about
    `designs / per_class` classes. Only designs with two images or more take part.
    feedback: pairs that were judged; every batch holds one of them, chosen in turn.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        designs: int,
        views: int,
        per_class: int,
        seed: int,
        feedback: Sequence[tuple[int, int, bool]] = (),
    ) -> None:
        self.designs, self.views, self.per_class = designs, views, per_class
        self.seed = seed
        self.feedback = list(feedback)
        order = np.argsort(catalogue.design, kind="stable")
        counts = np.bincount(catalogue.design, minlength=catalogue.designs)
        self._images = np.split(order, np.cumsum(counts)[:-1])
        usable = np.flatnonzero(counts >= 2)
        if len(usable) < 2:
            raise ValueError("training needs two designs or more with two images or more each")
        first = catalogue.subclass[[int(self._images[design][0]) for design in usable]]
        self._by_class = [usable[first == value] for value in np.unique(first)]
        # square-root frequency: rare classes are seen more often than their share
        share = np.sqrt([len(members) for members in self._by_class])
        self._share = share / share.sum()

    def batch(self, step: int) -> NDArray[np.int64]:
        """(≤ designs · views,) positions in the catalogue; the images of a design are adjacent."""
        rng = np.random.default_rng([self.seed, step])
        chosen: dict[int, None] = {}
        attempts = 0
        while len(chosen) < self.designs and attempts < 4 * self.designs:
            attempts += 1
            members = self._by_class[int(rng.choice(len(self._by_class), p=self._share))]
            for design in rng.permutation(members)[: self.per_class].tolist():
                if len(chosen) < self.designs:
                    chosen[design] = None
        picked: list[int] = []
        for design in chosen:
            pool = self._images[design]
            picked.extend(rng.permutation(pool)[: self.views].tolist())
        if self.feedback:
            query, item, _ = self.feedback[step % len(self.feedback)]
            picked.extend((query, item))
        return np.array(picked, np.int64)


def augment(image: NDArray[np.uint8], size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A mildly changed copy, (size, size, 3): drawings differ by viewpoint, not by our distortion.

    Rotation ±4°, scale 0.86-1.08, shift 5 %, mirrored one time in four, sometimes coarse or noisy.
    """
    side = image.shape[0]
    if rng.random() < 0.25:
        image = np.ascontiguousarray(image[:, ::-1])
    angle, scale = rng.uniform(-4, 4), rng.uniform(0.86, 1.08)
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), angle, scale)
    matrix[:, 2] += rng.uniform(-0.05, 0.05, 2) * side
    white = (255, 255, 255)
    image = cv2.warpAffine(image, matrix, (side, side), borderValue=white).astype(np.uint8)
    if rng.random() < 0.2:
        coarse = int(side * rng.uniform(0.4, 0.8))
        image = cv2.resize(image, (coarse, coarse), interpolation=cv2.INTER_AREA).astype(np.uint8)
    image = fit(image, size)
    if rng.random() < 0.3:
        # ink from faint to heavy
        ink = (255.0 - image) * rng.uniform(0.6, 1.6)
        image = (255.0 - np.minimum(ink, 255.0)).astype(np.uint8)
    if rng.random() < 0.2:
        noise = rng.normal(0, rng.uniform(2, 10), image.shape[:2])[..., None]
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return image


def batches(
    catalogue: Catalogue, rows: NDArray[np.int64], size: int
) -> Iterator[NDArray[np.uint8]]:
    """The images of these rows, in order: (≤ READ, size, size, 3) uint8 each."""
    for start in range(0, len(rows), READ):
        yield np.stack([fit(catalogue.image(int(i)), size) for i in rows[start : start + READ]])


def fit(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(S, S) or (S, S, 3) → (size, size, 3), with area averages when shrinking."""
    side = image.shape[0]
    if side != size:
        method = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
        image = cv2.resize(image, (size, size), interpolation=method).astype(np.uint8)
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
