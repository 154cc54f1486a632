"""The `vitrine` command.

Exit codes: 0 done; 1 ingest stored nothing, sync would have removed too much, or status found the
server not ready; 2 wrong usage; 3 no answer from the server; 4 the server refused; 130 Ctrl-C, 143
SIGTERM.
"""

# no postponed annotations: typer reads them
from pathlib import Path
from typing import Annotated

import typer

from vitrine_client import (
    backup_commands,
    copy_commands,
    display,
    errors,
    feedback_commands,
    folder_commands,
    report_command,
    watch_commands,
)
from vitrine_client.client import Client
from vitrine_client.exits import NO_ANSWER, NOTHING_DONE, REFUSED, USAGE, fail
from vitrine_client.folder import FolderError
from vitrine_client.options import PROMPT, AsJson, CollectionName, Url, json_object
from vitrine_client.retry import Retry
from vitrine_client.transport import DEFAULT_URL

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Search images by image. Commands talk to the server at --url.",
    epilog=f"Exit codes: {__doc__.split('Exit codes: ')[1].strip()}" if __doc__ else None,
)
screen = display.console


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
    rerank: Annotated[
        bool,
        typer.Option("--rerank", help="Order the first hits by neighbours shared with the query."),
    ] = False,
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
            rerank="k_reciprocal" if rerank else "none",
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


app.add_typer(folder_commands.commands)
app.add_typer(backup_commands.commands)
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
        fail(NO_ANSWER, f"{error}{hint if isinstance(error, errors.ServerUnreachable) else ''}")
    except errors.VitrineError as error:
        fail(REFUSED, str(error))
    except (FolderError, ValueError) as error:
        fail(USAGE, str(error))
    except OSError as error:
        fail(USAGE, f"{error.filename}: {error.strerror}." if error.filename else str(error))
