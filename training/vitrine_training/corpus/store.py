"""A corpus on disk: shards of views, a table beside each, and a manifest with their hashes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Gray = NDArray[np.uint8]

MANIFEST = "manifest.json"


class CorpusError(ValueError):
    """A corpus folder that is missing, unfinished or damaged."""


@dataclass(frozen=True)
class Corpus:
    """Views and their columns; row i of every column describes view i.

    design, subclass (an index into `subclass_names`) and near_copy_of (a design, or -1) are (n,)
    int64; split ("train", "val", "unseen"), role ("gallery", "query"), kind (of the first view),
    style, caption_en and caption_zh are (n,) str.
    """

    shards: tuple[Gray, ...]
    starts: NDArray[np.int64]
    design: NDArray[np.int64]
    subclass: NDArray[np.int64]
    near_copy_of: NDArray[np.int64]
    split: NDArray[np.str_]
    role: NDArray[np.str_]
    kind: NDArray[np.str_]
    style: NDArray[np.str_]
    caption_en: NDArray[np.str_]
    caption_zh: NDArray[np.str_]
    subclass_names: tuple[str, ...]
    manifest: dict[str, Any]

    @classmethod
    def open(cls, folder: Path | str, *, verify: bool = False) -> Corpus:
        """Open a finished corpus; its shards stay on disk as memory maps.

        verify: compare every shard with its hash first. Raises CorpusError.
        """
        folder = Path(folder)
        try:
            manifest = json.loads((folder / MANIFEST).read_text())
        except OSError as error:
            raise CorpusError(f"no corpus in {folder}: generation did not finish") from error
        shards: list[Gray] = []
        rows: list[dict[str, Any]] = []
        for shard in manifest["shards"]:
            path, table = folder / shard["views"], folder / shard["table"]
            if verify and (sha256(path), sha256(table)) != (shard["sha256"], shard["table_sha256"]):
                raise CorpusError(
                    f"{path} or its table does not match the manifest: generate it again"
                )
            shards.append(np.load(path, mmap_mode="r"))
            rows.extend(json.loads(line) for line in table.read_text().splitlines())
        lengths = [len(s) for s in shards]
        if sum(lengths) != len(rows):
            raise CorpusError(f"{folder} has {sum(lengths)} views but {len(rows)} table rows")

        def numbers(name: str) -> NDArray[np.int64]:
            return np.array([row[name] for row in rows], dtype=np.int64)

        def texts(name: str) -> NDArray[np.str_]:
            return np.array([row[name] for row in rows])

        return cls(
            tuple(shards), np.cumsum([0, *lengths]), numbers("design"), numbers("subclass"),
            numbers("near_copy_of"), texts("split"), texts("role"), texts("view"), texts("style"),
            texts("caption_en"), texts("caption_zh"), tuple(manifest["subclass_names"]), manifest,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.design)

    def image(self, index: int) -> Gray:
        """Return view `index`, (size, size) uint8."""
        shard = int(np.searchsorted(self.starts, index, side="right")) - 1
        return np.asarray(self.shards[shard][index - self.starts[shard]])

    def images(self, indices: NDArray[np.int64]) -> Gray:
        """Return views, (len(indices), size, size) uint8."""
        return np.stack([self.image(int(i)) for i in indices])


def sha256(path: Path) -> str:
    """Hash a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
