"""The `vitrine` command.

Exit codes: 0 done; 1 ingest stored nothing, or status found the server not ready; 2 wrong usage;
3 no answer from the server; 4 the server refused; 130 Ctrl-C, 143 SIGTERM.
"""

# no postponed annotations: typer reads them
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from vitrine_client import (
    copy_commands,
    display,
    errors,
    feedback_commands,
    report_command,
    watch_commands,
)
from vitrine_client.client import Client
from vitrine_client.folder import Folder, FolderError, GroupFrom, IdFrom, scan
from vitrine_client.ingest import Ingest
from vitrine_client.ledger import Ledger, ledger_path
from vitrine_client.models import Collection
from vitrine_client.options import PROMPT, AsJson, CollectionName, Url, json_object
from vitrine_client.retry import Retry
from vitrine_client.table import Table, read_table
from vitrine_client.transport import DEFAULT_URL

NOTHING_DONE, USAGE, NO_ANSWER, REFUSED = 1, 2, 3, 4

# an ingest of hours outlives a restart of the server
PATIENT = Retry(patience_s=120.0, max_backoff_s=2.0, burst=10_000.0)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Search images by image. Commands talk to the server at --url.",
    epilog=f"Exit codes: {__doc__.split('Exit codes: ')[1].strip()}" if __doc__ else None,
)
screen = display.console


@app.command()
def ingest(
    folder: Annotated[Path, typer.Argument(help="Searched for images, subfolders too.")],
    *,
    collection: CollectionName = "default",
    metadata: Annotated[
        Path | None,
        typer.Option(help="CSV with a column `path` (inside FOLDER) or `id`, and one a field."),
    ] = None,
    id_from: Annotated[
        IdFrom, typer.Option(help="Ids: the path inside FOLDER, or the file name without suffix.")
    ] = IdFrom.path,
    group_from: Annotated[
        GroupFrom, typer.Option(help="Group images by their folder (one design, one folder).")
    ] = GroupFrom.none,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Requests at a time.")] = 4,
    batch: Annotated[int, typer.Option(min=1, max=256, help="Images in a request.")] = 16,
    restart: Annotated[bool, typer.Option("--restart", help="Send everything again.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Store every image of FOLDER. Run it again to go on where it stopped.

    What the server has acknowledged is not sent again; files that have changed are. Images that the
    server refuses are listed at the end with the reason. A collection that does not exist is made.
    """
    out = screen()
    if not folder.is_dir():
        _fail(USAGE, f"{folder} is not a folder.")
    found = scan(folder, id_from=id_from)
    with Client(url, retry=PROMPT) as client:
        target = _collection(client, collection)
    table = read_table(metadata, declared=target.fields) if metadata else None
    if table is not None:
        _tell_columns(found, table, metadata)
    path = ledger_path(url=url, collection=collection, folder=folder)
    with Client(url, retry=PATIENT, timeout_s=60) as client, Ledger(path) as ledger:
        run = Ingest(client, ledger, collection=collection, table=table, group_from=group_from)
        if not restart and run.ledger_is_stale():
            out.print("The server has none of what it acknowledged before: sending everything.")
            restart = True
        if restart:
            ledger.forget()
        run.outcome.refused.extend(found.unusable)
        bar = display.IngestBar(screen(stderr=True), total=len(found.sources))
        try:
            with bar, _stopping(run) as interrupted:
                run.run(found.sources, bar, workers=workers, batch=batch)
        finally:
            _summarise(run, found, collection)
    if interrupted:
        out.print("Stopped. Run the same command again to go on.")
        raise typer.Exit(128 + interrupted[0])
    if run.outcome.stored + run.outcome.unchanged == 0:
        _fail(NOTHING_DONE, f"Nothing was stored from {folder}.")


@app.command()
def search(
    image: Annotated[Path | None, typer.Argument(help="Image file to search with.")] = None,
    *,
    text: Annotated[str | None, typer.Option(help="Words to search with, instead.")] = None,
    collection: CollectionName = "default",
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="Number of hits.")] = 10,
    group_by: Annotated[
        str | None, typer.Option(help="Field of which each value is shown once, as `group`.")
    ] = None,
    filter_text: Annotated[
        str | None,
        typer.Option("--filter", help='JSON over metadata: \'{"price": {"lt": 5}}\'.'),
    ] = None,
    min_score: Annotated[float | None, typer.Option(help="Leave out hits below.")] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Show the stored images that look most like IMAGE, or that --text describes."""
    if (image is None) == (text is None):
        raise typer.BadParameter("give one of IMAGE and --text")
    with Client(url, retry=PROMPT) as client:
        result = client.search(
            image=image,
            text=text,
            collection=collection,
            k=k,
            filter=json_object(filter_text, "--filter"),
            group_by=group_by,
            min_score=min_score,
        )
    if as_json:
        print(display.as_json(result.model_dump(exclude_none=True)))
    elif not result.hits:
        screen().print("No hits.")
    else:
        screen().print(display.hits(result))


@app.command()
def get(
    item_id: Annotated[str, typer.Argument(metavar="ID")],
    *,
    collection: CollectionName = "default",
    url: Url = DEFAULT_URL,
) -> None:
    """Print what is stored about an item, as JSON."""
    with Client(url, retry=PROMPT) as client:
        print(display.as_json(client.get_item(item_id, collection=collection).model_dump()))


@app.command()
def delete(
    item_ids: Annotated[list[str], typer.Argument(metavar="ID...")],
    *,
    collection: CollectionName = "default",
    url: Url = DEFAULT_URL,
) -> None:
    """Delete items."""
    with Client(url, retry=PROMPT) as client:
        for item_id in item_ids:
            client.delete_item(item_id, collection=collection)
            screen().print("deleted", display.plain(item_id))


@app.command()
def collections(*, as_json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """List the collections."""
    with Client(url, retry=PROMPT) as client:
        found = client.list_collections()
    if as_json:
        print(display.as_json([entry.model_dump(exclude_none=True) for entry in found]))
    else:
        screen().print(display.collections(found))


@app.command()
def status(*, as_json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """Say whether the server is ready, and what it holds. Exit code 1 when it is not ready."""
    with Client(url, retry=Retry(patience_s=0)) as client:
        readiness = client.ready()
        found = client.list_collections()
    if as_json:
        body = {"url": url, **readiness.model_dump()}
        body["collections"] = [entry.model_dump(exclude_none=True) for entry in found]
        print(display.as_json(body))
    else:
        out = screen()
        out.print(f"{url} is {'ready' if readiness.ready else 'not ready'}.", markup=False)
        out.print(display.checks(readiness))
        out.print(display.collections(found))
    if not readiness.ready:
        raise typer.Exit(NOTHING_DONE)


app.add_typer(copy_commands.commands)
app.add_typer(report_command.commands)
app.add_typer(watch_commands.commands, name="watch")
app.add_typer(feedback_commands.commands, name="feedback")


def main() -> None:
    """Entry point: every error is one line on stderr."""
    try:
        app()
    except errors.NoAnswer as error:
        hint = " Start one with `make serve`, or name another with --url or VITRINE_URL."
        _fail(NO_ANSWER, f"{error}{hint if isinstance(error, errors.ServerUnreachable) else ''}")
    except errors.VitrineError as error:
        _fail(REFUSED, str(error))
    except (FolderError, ValueError) as error:
        _fail(USAGE, str(error))
    except OSError as error:
        _fail(USAGE, f"{error.filename}: {error.strerror}." if error.filename else str(error))


def _fail(code: int, message: str) -> NoReturn:
    display.console(stderr=True).print(display.plain(message), soft_wrap=True)
    sys.exit(code)


def _collection(client: Client, name: str) -> Collection:
    try:
        return client.get_collection(name)
    except errors.CollectionNotFound:
        made = client.put_collection(name)
        screen().print("Made the collection", display.plain(name))
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
    screen().print(
        display.plain(f"Metadata for {matched:,} of {len(found.sources):,} images: {columns}")
    )


def _summarise(run: Ingest, found: Folder, collection: str) -> None:
    outcome = run.outcome
    out = screen()
    if outcome.refused:
        out.print(display.refusals(outcome.refused))
    parts = [f"{outcome.stored:,} images stored in {collection}"]
    if outcome.stored:
        parts.append(f"{outcome.seconds:.1f} s, {display.rate(outcome)}")
    if outcome.unchanged:
        parts.append(f"{outcome.unchanged:,} were there already")
    if outcome.refused:
        parts.append(f"{len(outcome.refused):,} not stored")
    if found.other_files:
        parts.append(f"{found.other_files:,} other files left out")
    out.print(display.plain("; ".join(parts) + "."))


@contextmanager
def _stopping(run: Ingest) -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM finish what is on its way; a second one ends at once. Yields the signals
    that came."""
    came: list[int] = []

    def on_signal(number: int, _: FrameType | None) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)
        run.stop()

    before = {
        number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
