"""Generate a corpus in shards, each complete or absent, so that a stopped run continues."""

from __future__ import annotations

import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from . import designs, plan
from .store import MANIFEST, CorpusError, sha256

if TYPE_CHECKING:
    from pathlib import Path

SHARD_DESIGNS = 128


@dataclass(frozen=True)
class _Job:
    out: Path
    shard: int
    first: int
    last: int
    views: int
    seed: int
    size: int

    @property
    def stem(self) -> str:
        return f"views-{self.shard:05d}"


def generate(
    out: Path,
    *,
    designs: int,
    views_per_design: int,
    seed: int,
    size: int = 224,
    workers: int = 2,
) -> None:
    """Write a corpus of `designs` × `views_per_design` sheets of (size, size) uint8 into `out`.

    Shards that are there already are kept, so the call can be repeated after it was stopped.
    Raises CorpusError when `out` holds shards of another corpus.
    """
    settings = {
        "designs": designs, "views_per_design": views_per_design, "seed": seed, "size": size,
        **_versions(),
    }  # fmt: skip
    # imported here: drawing single sheets needs no terminal library
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    _claim(out, settings)
    starts = range(0, designs, SHARD_DESIGNS)
    jobs = [
        _Job(out, i, a, min(designs, a + SHARD_DESIGNS), views_per_design, seed, size)
        for i, a in enumerate(starts)
    ]
    missing = [job for job in jobs if not (out / f"{job.stem}.jsonl").exists()]
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("designs", total=designs)
        progress.advance(task, designs - sum(job.last - job.first for job in missing))
        if workers <= 1:
            for job in missing:
                progress.advance(task, _write_shard(job))
        else:
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(workers, mp_context=context) as pool:
                for done in as_completed([pool.submit(_write_shard, job) for job in missing]):
                    progress.advance(task, done.result())
    _finish(out, jobs, settings)


def _versions() -> dict[str, object]:
    return {
        "code_version": version("vitrine-training"),
        "grammar_version": designs.GRAMMAR_VERSION,
        "subclass_names": list(designs.NAMES),
    }


def _claim(out: Path, settings: dict[str, object]) -> None:
    """Mark the folder with the settings of this corpus, or refuse one that has others."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "settings.json"
    if path.exists():
        if json.loads(path.read_text()) != settings:
            raise CorpusError(f"{out} holds another corpus: choose a new folder or delete it")
        return
    path.write_text(json.dumps(settings, indent=1))


def _write_shard(job: _Job) -> int:
    count = job.last - job.first
    views = np.empty((count * job.views, job.size, job.size), np.uint8)
    rows: list[dict[str, object]] = []
    for index in range(job.first, job.last):
        item = plan.plan(job.seed, index)
        design = plan.build(item)
        for sheet, role, view in plan.sheets(item, design, job.views, job.size):
            en, zh = plan.captions(item, design, view)
            views[len(rows)] = sheet.pixels
            rows.append(
                {
                    "design": index, "subclass": designs.NAMES.index(item.subclass),
                    "name": item.subclass, "split": item.split, "role": role, "view": sheet.view,
                    "style": sheet.style, "figures": sheet.figures,
                    "near_copy_of": item.near_copy_of, "caption_en": en, "caption_zh": zh,
                }
            )  # fmt: skip
    part = job.out / f"{job.stem}.part"
    with part.open("wb") as file:
        np.save(file, views)
    os.replace(part, job.out / f"{job.stem}.npy")
    # the table is written last: where it is, the shard is complete
    part.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    os.replace(part, job.out / f"{job.stem}.jsonl")
    return count


def _finish(out: Path, jobs: list[_Job], settings: dict[str, object]) -> None:
    shards = [
        {
            "views": f"{job.stem}.npy", "sha256": sha256(out / f"{job.stem}.npy"),
            "table": f"{job.stem}.jsonl", "table_sha256": sha256(out / f"{job.stem}.jsonl"),
        }
        for job in jobs
    ]  # fmt: skip
    part = out / "manifest.part"
    part.write_text(json.dumps({**settings, "shards": shards}, indent=1))
    os.replace(part, out / MANIFEST)
