"""The one thread that changes a collection: group commit, and calls between transactions."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

import structlog

from vitrine_server.errors import CollectionNotFound, Overloaded, StorageFailed, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vitrine_server.writes import Write, Written

MAX_WAITING_WRITES = 8192
MAX_COMMIT_WRITES = 1024

_log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")


@dataclass
class _Job(Generic[Answer]):
    """Writes that one caller waits for (all in one transaction), or a call in the writer thread."""

    answer: Callable[[list[Written]], Answer]
    writes: Sequence[Write] = ()
    future: Future[Answer] = field(default_factory=Future)

    def resolve(self, written: list[Written]) -> None:
        try:
            value = self.answer(written)
        except Exception as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(value)


class Writer:
    """Runs `commit` with everything that waits as one transaction, then answers all of it."""

    def __init__(
        self,
        name: str,
        commit: Callable[[list[Write]], list[Written]],
        *,
        finish: Callable[[], None],
    ) -> None:
        """name: of the collection. commit: makes writes durable and visible, or raises
        StorageFailed. finish: runs last, in the thread.
        """
        self.failure: str | None = None
        self.closing = False
        self._name = name
        self._commit = commit
        self._finish = finish
        self._moving = False
        self._jobs: deque[_Job[object]] = deque()
        self._waiting_writes = 0
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._loop, name=f"writer-{name}", daemon=True)
        self._thread.start()

    def submit(
        self, writes: Sequence[Write], answer: Callable[[list[Written]], Answer]
    ) -> Future[Answer]:
        """The future gives `answer` of what the writes did. Raises CollectionNotFound when closed,
        StorageFailed when read-only, Overloaded when too many wait.
        """
        return self._submit(_Job(answer, writes))

    def call(self, work: Callable[[], Answer]) -> Future[Answer]:
        """Run something in the writer thread, between transactions."""
        return self._submit(_Job(lambda _: work()))

    def refuse_writes(self, refuse: bool) -> None:
        """Answer writes with Unavailable (`collection_moving`), or no longer: other content is
        about to take their place.
        """
        self._moving = refuse

    def stop(self) -> None:
        """Finish what waits, then end."""
        with self._wake:
            self.closing = True
            self._wake.notify()
        self._thread.join()

    def fail(self, reason: str) -> None:
        """Refuse every later write, for good."""
        if self.failure is None:
            _log.error("collection is read-only", collection=self._name, reason=reason)
            self.failure = reason

    def _submit(self, job: _Job[Answer]) -> Future[Answer]:
        with self._wake:
            if self.closing:
                raise CollectionNotFound(self._name)
            if job.writes:
                self._check_open()
            if self._waiting_writes + len(job.writes) > MAX_WAITING_WRITES and self._jobs:
                raise Overloaded(
                    f"{self._waiting_writes} writes are waiting for the disk.", retry_after_s=1
                )
            self._waiting_writes += len(job.writes)
            self._jobs.append(job)  # type: ignore[arg-type]  # resolved with its own answer
            self._wake.notify()
        return job.future

    def _check_open(self) -> None:
        if self.failure is not None:
            raise StorageFailed(self.failure)
        if self._moving:
            raise Unavailable(
                f"Collection {self._name!r} is being replaced.",
                code="collection_moving",
                retry_after_s=5,
            )

    def _loop(self) -> None:
        while True:
            with self._wake:
                while not self._jobs and not self.closing:
                    self._wake.wait()
                if not self._jobs:
                    break
                jobs = self._take()
            try:
                self._run(jobs)
            except BaseException:
                _log.exception("write failed unexpectedly", collection=self._name)
                self._refuse(StorageFailed("An internal error stopped a write."), jobs)
        self._finish()

    def _take(self) -> list[_Job[object]]:
        """The jobs of the next transaction: a call runs alone, writes run together."""
        jobs = [self._jobs.popleft()]
        size = len(jobs[0].writes)
        while (
            size
            and self._jobs
            and self._jobs[0].writes
            and size + len(self._jobs[0].writes) <= MAX_COMMIT_WRITES
        ):
            jobs.append(self._jobs.popleft())
            size += len(jobs[-1].writes)
        self._waiting_writes -= size
        return [job for job in jobs if job.future.set_running_or_notify_cancel()]

    def _run(self, jobs: list[_Job[object]]) -> None:
        writes = [write for job in jobs for write in job.writes]
        written: list[Written] = []
        if writes:
            try:
                self._check_open()
                written = self._commit(writes)
            except (StorageFailed, Unavailable) as failure:
                self._refuse(failure, jobs)
                return
        for job in jobs:
            job.resolve(written[: len(job.writes)])
            written = written[len(job.writes) :]

    def _refuse(self, failure: StorageFailed | Unavailable, jobs: list[_Job[object]]) -> None:
        """Refuse the jobs; unless the disk was only full, refuse every later write as well.

        After a failed fsync the kernel may have dropped the pages: trying again would report a
        success that never reached the disk (https://wiki.postgresql.org/wiki/Fsync_Errors).
        """
        refusal = failure
        if isinstance(failure, StorageFailed) and failure.code != "storage_full":
            self.fail(
                f"{failure.detail} Collection {self._name!r} is read-only until the server "
                "restarts."
            )
            refusal = StorageFailed(self.failure or failure.detail, code=failure.code)
        for job in jobs:
            if not job.future.done():
                job.future.set_exception(refusal)
