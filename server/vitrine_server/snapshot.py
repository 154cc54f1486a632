"""Snapshots of a generation: an immutable folder that saves the time of a rebuild, never the truth.

    <collection>/snapshots/<sequence>-<random>/
        manifest.json      what it is, and length and checksums of every other file
        labels.i64 vectors.f32 index.faiss
        column-0.bin column-0.json …

A folder is written under a name that is ignored, put on disk, then renamed. Before anything is read
from it every byte is verified: FAISS loads damaged files without complaint.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from typing import TYPE_CHECKING, Literal

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from vitrine_server import durable
from vitrine_server.durable import Damaged, FileInfo
from vitrine_server.index.ann import Ann, AnnFamily, Tuning, opened
from vitrine_server.index.columns import load_column
from vitrine_server.index.generation import Generation
from vitrine_server.records import FieldType, JsonValue

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from vitrine_server.index.columns import Column

FOLDER = "snapshots"
KEPT = 2

_MANIFEST = "manifest.json"
_LABELS, _VECTORS, _INDEX = "labels.i64", "vectors.f32", "index.faiss"
_UNFINISHED = ".building-"


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ColumnInfo(Part):
    name: str
    kind: FieldType | None
    dtype: Literal["int32", "float64"]


class IndexInfo(Part):
    family: AnnFamily
    effort: int
    candidates: int
    recall: float
    query_s: float


class Manifest(Part):
    """store: identity of the store it was made from. sequence: last write that it holds."""

    format: Literal[1] = 1
    store: str
    sequence: int
    count: int
    dimension: int
    fingerprint: str
    metric: str
    index: IndexInfo | None
    columns: tuple[ColumnInfo, ...]
    known_fields: tuple[str, ...]
    created: str
    tools: dict[str, str]
    files: dict[str, FileInfo]


def clean(snapshots: Path) -> None:
    """Remove what an interrupted `write` left."""
    for folder in snapshots.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(folder)


def newest_first(snapshots: Path) -> list[Path]:
    """The finished snapshots of a collection."""
    found = [path for path in snapshots.glob("*") if not path.name.startswith(".")]
    return sorted(found, key=lambda path: path.name, reverse=True)


def prune(snapshots: Path) -> int | None:
    """Remove all but the newest `KEPT`; the sequence of the oldest that is left."""
    folders = newest_first(snapshots)
    for folder in folders[KEPT:]:
        # out of sight first: a half-deleted folder must not be offered at the next start
        gone = folder.with_name(f"{_UNFINISHED}{secrets.token_hex(4)}")
        folder.rename(gone)
        shutil.rmtree(gone)
    return int(folders[:KEPT][-1].name.split("-")[0]) if folders else None


class Writer:
    """Writes one snapshot: vectors first (an index is built from them), the rest, then the name."""

    def __init__(self, snapshots: Path, sequence: int) -> None:
        snapshots.mkdir(exist_ok=True)
        self._name = f"{sequence:020d}-{secrets.token_hex(4)}"
        self._snapshots = snapshots
        self.folder = snapshots / f"{_UNFINISHED}{self._name}"
        self.folder.mkdir()
        self._files: dict[str, FileInfo] = {}

    def vectors(self, chunks: Iterator[NDArray[np.float32]], dimension: int) -> NDArray[np.float32]:
        """Write vectors (any, D) chunk by chunk; all of them as a mapped array (N, D)."""
        self._write(_VECTORS, (np.ascontiguousarray(chunk).data for chunk in chunks))
        return _mapped(self.folder / _VECTORS, dimension)

    def arrays(
        self,
        labels: NDArray[np.int64],
        columns: Mapping[str, Column],
        kinds: Mapping[str, FieldType],
    ) -> tuple[ColumnInfo, ...]:
        """Write labels (N,) and the first N rows of each column."""
        self._write(_LABELS, [np.ascontiguousarray(labels).data])
        infos = []
        for number, (name, column) in enumerate(columns.items()):
            array, values = column.dump(len(labels))
            self._write(f"column-{number}.bin", [np.ascontiguousarray(array).data])
            self._write(f"column-{number}.json", [orjson.dumps(values)])
            dtype: Literal["int32", "float64"] = "int32" if array.dtype == np.int32 else "float64"
            infos.append(ColumnInfo(name=name, kind=kinds.get(name), dtype=dtype))
        return tuple(infos)

    def index(self, ann: Ann) -> IndexInfo:
        """Write an index that is whole on disk before its checksum is believed."""
        raw = self.folder / "index.raw"
        ann.index.write(raw)
        self._write(_INDEX, _blocks(raw))
        raw.unlink()
        tuning = ann.tuning
        return IndexInfo(
            family=ann.family,
            effort=tuning.effort,
            candidates=tuning.candidates,
            recall=tuning.recall,
            query_s=tuning.query_s,
        )

    def finish(self, manifest: Manifest) -> Path:
        """Write the manifest (with this writer's files) and give the folder its name."""
        complete = manifest.model_copy(update={"files": self._files})
        content = complete.model_dump(mode="json")
        document = {"manifest": content, "sha256": _digest(content)}
        durable.write_file(
            self.folder / _MANIFEST, [orjson.dumps(document, option=orjson.OPT_INDENT_2)]
        )
        final = self._snapshots / self._name
        durable.publish(self.folder, final)
        return final

    def abandon(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, name: str, chunks: Iterable[bytes | memoryview]) -> None:
        self._files[name] = durable.write_file(self.folder / name, chunks)


def load(folder: Path) -> tuple[Manifest, Generation]:
    """Verify every byte of a snapshot, then open it. Raises Damaged."""
    manifest = read_manifest(folder)
    present = {path.name for path in folder.iterdir()} - {_MANIFEST}
    if present != set(manifest.files):
        raise Damaged(f"{folder} does not hold the files that its manifest names.")
    for name, info in manifest.files.items():
        durable.verify_file(folder / name, info)
    try:
        return manifest, _open(folder, manifest)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise Damaged(f"{folder} contradicts itself: {error}.") from error


def read_manifest(folder: Path) -> Manifest:
    """Raises Damaged."""
    path = folder / _MANIFEST
    try:
        document = orjson.loads(path.read_bytes())
        if document["sha256"] != _digest(document["manifest"]):
            raise Damaged(f"{path} is damaged.")
        return Manifest.model_validate(document["manifest"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise Damaged(f"{path} cannot be read: {error}.") from error


def _open(folder: Path, manifest: Manifest) -> Generation:
    labels = np.fromfile(folder / _LABELS, "<i8")
    vectors = _mapped(folder / _VECTORS, manifest.dimension)
    columns: dict[str, Column] = {}
    for number, info in enumerate(manifest.columns):
        array = np.fromfile(folder / f"column-{number}.bin", info.dtype)
        values: list[JsonValue] = orjson.loads((folder / f"column-{number}.json").read_bytes())
        columns[info.name] = load_column(info.kind, array, values)
        if len(array) != manifest.count:
            raise ValueError(f"column {info.name} has {len(array)} rows")
    if not len(labels) == len(vectors) == manifest.count:
        raise ValueError(f"{len(labels)} labels, {len(vectors)} vectors")
    if len(np.unique(labels)) != len(labels):
        raise ValueError("a label occurs twice")
    segments: tuple[Ann, ...] = ()
    if manifest.index is not None:
        made = manifest.index
        index = opened(folder / _INDEX, made.family)
        if index.count != manifest.count:
            raise ValueError(f"the index holds {index.count} vectors")
        tuning = Tuning(made.effort, made.candidates, made.recall, made.query_s)
        segments = (Ann(made.family, index, tuning),)
    family = "exact" if manifest.index is None else manifest.index.family
    return Generation(f"{family}-{manifest.sequence}", labels, vectors, columns, segments)


def _mapped(path: Path, dimension: int) -> NDArray[np.float32]:
    """(N, D) float32, read from the page cache; the kernel may drop what nobody reads."""
    if path.stat().st_size == 0:
        return np.empty((0, dimension), np.float32)
    return np.asarray(np.memmap(path, "<f4", "r")).reshape(-1, dimension)


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(durable.BLOCK_BYTES):
            yield block


def _digest(content: JsonValue) -> str:
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
