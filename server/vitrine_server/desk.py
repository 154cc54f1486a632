"""What people do around the search: copies, duplicates, watches, feedback, reports.

Made when the application starts. Nothing here is on the path of a search.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from vitrine_server import calibration
from vitrine_server.copies import CopyFinder
from vitrine_server.journal import Journals
from vitrine_server.watches import Follower

if TYPE_CHECKING:
    from vitrine_server.calibration import Job
    from vitrine_server.catalogue import Catalogue
    from vitrine_server.config import Settings
    from vitrine_server.pipeline import Pipeline


class Desk:
    """The parts behind the routes, and their background work. Lives on one event loop."""

    def __init__(self, *, settings: Settings, catalogue: Catalogue, pipeline: Pipeline) -> None:
        self.journals = Journals(settings.data, catalogue)
        self.copies = CopyFinder(
            settings=settings, catalogue=catalogue, pipeline=pipeline, journals=self.journals
        )
        self.follower = Follower(settings=settings, catalogue=catalogue, journals=self.journals)
        self.one_scan = threading.Lock()  # of a whole catalogue at a time
        self.calibrations: dict[str, Job] = {}
        self._pipeline = pipeline
        self._tasks: set[asyncio.Task[None]] = set()

    async def calibrate(
        self, name: str, *, fingerprint: str, count: int, false_positive_rate: float, seed: int
    ) -> Job:
        """Start measuring a collection's own calibration; it is in use when the job is done.

        Raises Conflict while one runs, Invalid when there are too few pictures.
        """
        calibration.refuse_second(self.calibrations.get(name))
        job = calibration.Job(total=0)
        self.calibrations[name] = job
        try:
            items = await self._pipeline.run(
                lambda: calibration.sample(self.copies, name, count, seed)
            )
        except BaseException:
            del self.calibrations[name]
            raise
        job.total = len(items) * calibration.CHANGES

        async def measure() -> None:
            made = await calibration.run(
                self.copies,
                name,
                job,
                items,
                fingerprint=fingerprint,
                false_positive_rate=false_positive_rate,
                seed=seed,
            )
            if made is not None:
                self.copies.calibrate(name, made)

        task = asyncio.create_task(measure())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.follower.close()
        self.copies.close()
        self.journals.close()
