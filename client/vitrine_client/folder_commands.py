"""`vitrine ingest` and `vitrine sync`."""

# no postponed annotations: typer reads them
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from vitrine_client import display, errors
from vitrine_client import sync as syncing
from vitrine_client.client import Client
from vitrine_client.display import console
from vitrine_client.exits import NOTHING_DONE, fail
from vitrine_client.folder import Folder, FolderError, GroupFrom, IdFrom, scan
from vitrine_client.ingest import Ingest
from vitrine_client.ledger import Ledger, ledger_path
from vitrine_client.models import Collection
from vitrine_client.options import PROMPT, CollectionName, Url
from vitrine_client.retry import Retry
from vitrine_client.table import Table, read_table
from vitrine_client.transport import DEFAULT_URL

# an ingest of hours outlives a restart of the server
PATIENT = Retry(patience_s=120.0, max_backoff_s=2.0, burst=10_000.0)
UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

FolderPath = Annotated[Path, typer.Argument(help="Searched for images, subfolders too.")]
MetadataFile = Annotated[
    Path | None,
    typer.Option(help="CSV with a column `path` (inside FOLDER) or `id`, and one a field."),
]
IdsFrom = Annotated[
    IdFrom, typer.Option(help="Ids: the path inside FOLDER, or the file name without suffix.")
]
GroupsFrom = Annotated[
    GroupFrom, typer.Option(help="Group images by their folder (one design, one folder).")
]
Workers = Annotated[int, typer.Option(min=1, max=64, help="Requests at a time.")]
Batch = Annotated[int, typer.Option(min=1, max=256, help="Images in a request.")]
Restart = Annotated[bool, typer.Option("--restart", help="Send everything again.")]

commands = typer.Typer()


@dataclass(frozen=True, kw_only=True)
class Job:
    """A folder, where it goes and how."""

    folder: Path
    collection: str
    metadata: Path | None
    id_from: IdFrom
    group_from: GroupFrom
    workers: int
    batch: int
    url: str

    def look(self) -> tuple[Folder, Table | None, Collection]:
        """What the folder and its table hold, and the collection, which is made if need be."""
        if not self.folder.is_dir():
            raise FolderError(f"{self.folder} is not a folder.")
        found = scan(self.folder, id_from=self.id_from)
        with Client(self.url, retry=PROMPT) as client:
            target = _collection(client, self.collection)
        table = read_table(self.metadata, declared=target.fields) if self.metadata else None
        if table is not None:
            _tell_columns(found, table, self.metadata)
        return found, table, target

    def send(self, run: Ingest, found: Folder) -> None:
        """Send what is new or changed, with a progress bar and a summary."""
        run.outcome.refused.extend(found.unusable)
        bar = display.IngestBar(console(stderr=True), total=len(found.sources))
        try:
            with bar:
                run.run(found.sources, bar, workers=self.workers, batch=self.batch)
        finally:
            _summarise(run, found, self.collection)


@commands.command()
def ingest(
    folder: FolderPath,
    *,
    collection: CollectionName = "default",
    metadata: MetadataFile = None,
    id_from: IdsFrom = IdFrom.path,
    group_from: GroupsFrom = GroupFrom.none,
    workers: Workers = 4,
    batch: Batch = 16,
    restart: Restart = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Store every image of FOLDER. Run it again to go on where it stopped.

    What the server has acknowledged is not sent again; files that have changed are. Images that the
    server refuses are listed at the end with the reason. A collection that does not exist is made.
    """
    job = Job(
        folder=folder,
        collection=collection,
        metadata=metadata,
        id_from=id_from,
        group_from=group_from,
        workers=workers,
        batch=batch,
        url=url,
    )
    found, table, _ = job.look()
    path = ledger_path(url=url, collection=collection, folder=folder)
    stop = threading.Event()
    with Client(url, retry=PATIENT, timeout_s=60) as client, Ledger(path) as ledger:
        run = Ingest(
            client, ledger, collection=collection, table=table, group_from=group_from, stop=stop
        )
        if not restart and run.ledger_is_stale():
            console().print("The server has none of what it acknowledged: sending everything.")
            restart = True
        if restart:
            ledger.forget()
        with _stopping(stop) as interrupted:
            job.send(run, found)
    if interrupted:
        console().print("Stopped. Run the same command again to go on.")
        raise typer.Exit(128 + interrupted[0])
    if run.outcome.stored + run.outcome.unchanged == 0:
        fail(NOTHING_DONE, f"Nothing was stored from {folder}.")


@commands.command()
def sync(
    folder: FolderPath,
    *,
    collection: CollectionName = "default",
    every: Annotated[
        str | None, typer.Option(help="Again and again: 30s, 5m, 1h, 1d. Otherwise once.")
    ] = None,
    max_removed: Annotated[
        float,
        typer.Option(min=0, max=1, help="Refuse to remove more than this share of the items."),
    ] = 0.5,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Remove everything when FOLDER has no image.")
    ] = False,
    metadata: MetadataFile = None,
    id_from: IdsFrom = IdFrom.path,
    group_from: GroupsFrom = GroupFrom.none,
    workers: Workers = 4,
    batch: Batch = 16,
    restart: Restart = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Keep a collection equal to FOLDER: new, changed and removed images.

    A file has changed when its content has; it is read when its size or time has. Items that others
    have stored, or written since, are left alone. With --every, what goes wrong is told and tried
    again the next time.
    """
    job = Job(
        folder=folder,
        collection=collection,
        metadata=metadata,
        id_from=id_from,
        group_from=group_from,
        workers=workers,
        batch=batch,
        url=url,
    )
    pause_s = None if every is None else _seconds(every)
    path = ledger_path(url=url, collection=collection, folder=folder, kind="sync")
    stop = threading.Event()
    with _stopping(stop) as interrupted, Ledger(path) as ledger:
        while True:
            started = time.monotonic()
            try:
                _synchronise(
                    job,
                    ledger,
                    stop,
                    max_removed=max_removed,
                    allow_empty=allow_empty,
                    restart=restart,
                )
                restart = False
            except (errors.VitrineError, FolderError, syncing.TooMuchGone) as error:
                if pause_s is None:
                    if isinstance(error, syncing.TooMuchGone):
                        fail(NOTHING_DONE, str(error))
                    raise
                console(stderr=True).print(display.plain(error), soft_wrap=True)
            if pause_s is None or stop.wait(max(0.0, started + pause_s - time.monotonic())):
                break
    if interrupted:
        console().print("Stopped. Run the same command again to go on.")
        raise typer.Exit(128 + interrupted[0])


def _synchronise(
    job: Job,
    ledger: Ledger,
    stop: threading.Event,
    *,
    max_removed: float,
    allow_empty: bool,
    restart: bool,
) -> None:
    """Once. Nothing is removed before everything that is new has been stored."""
    found, table, target = job.look()
    with Client(job.url, retry=PATIENT, timeout_s=60) as client:
        run = Ingest(
            client,
            ledger,
            collection=job.collection,
            table=table,
            group_from=job.group_from,
            announce_after=target.sequence,
            stop=stop,
        )
        if restart or run.ledger_is_stale():
            for source in found.sources:
                ledger.announce(source.id, after=target.sequence)
        job.send(run, found)
        if stop.is_set():
            return
        ids = syncing.gone(ledger, found)
        syncing.check(ledger, found, ids, max_removed=max_removed, allow_empty=allow_empty)
        removed = syncing.remove(
            client, ledger, ids, collection=job.collection, workers=job.workers, stop=stop
        )
    if ids:
        console().print(display.plain(f"{removed.removed:,} items removed."))
    for item_id in removed.kept:
        console().print(display.plain(f"{item_id}: left as it is; somebody else has written it."))


def _seconds(text: str) -> float:
    match = re.fullmatch(r"([0-9]+)([smhd])", text)
    if match is None or int(match[1]) == 0:
        raise typer.BadParameter("a number with s, m, h or d, such as 1h", param_hint="--every")
    return int(match[1]) * UNITS_S[match[2]]


def _collection(client: Client, name: str) -> Collection:
    try:
        return client.get_collection(name)
    except errors.CollectionNotFound:
        made = client.put_collection(name)
        console().print("Made the collection", display.plain(name))
        return made


def _tell_columns(found: Folder, table: Table, file: Path | None) -> None:
    matched = sum(table.metadata(source) is not None for source in found.sources)
    if found.sources and table.rows and not matched:
        row = next(iter(table.rows))
        have = found.sources[0].name if table.key == "path" else found.sources[0].id
        raise FolderError(
            f"{file}: no {table.key} names an image; it has {row!r}, the folder {have!r}."
        )
    columns = ", ".join(f"{name} ({kind})" for name, kind in table.types.items())
    console().print(
        display.plain(f"Metadata for {matched:,} of {len(found.sources):,} images: {columns}")
    )


def _summarise(run: Ingest, found: Folder, collection: str) -> None:
    outcome = run.outcome
    out = console()
    for rows, title in (
        (outcome.flagged, "stored, but flagged"),
        (outcome.skipped, "skipped"),
        (outcome.refused, "not stored"),
    ):
        if rows:
            out.print(display.reasons(rows, title))
    parts = [f"{outcome.stored:,} images stored in {collection}"]
    if outcome.stored:
        parts.append(f"{outcome.seconds:.1f} s, {display.rate(outcome)}")
    if outcome.unchanged:
        parts.append(f"{outcome.unchanged:,} were there already")
    if outcome.skipped:
        parts.append(f"{len(outcome.skipped):,} skipped")
    if outcome.refused:
        parts.append(f"{len(outcome.refused):,} not stored")
    if found.other_files:
        parts.append(f"{found.other_files:,} other files left out")
    out.print(display.plain("; ".join(parts) + "."))


@contextmanager
def _stopping(stop: threading.Event) -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM finish what is on its way; a second one ends at once. Yields the signals
    that came."""
    came: list[int] = []

    def on_signal(number: int, _: FrameType | None) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)
        stop.set()

    before = {
        number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
