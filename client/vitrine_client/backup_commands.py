"""`vitrine backup` and `vitrine restore`."""

# no postponed annotations: typer reads them
from typing import Annotated

import typer

from vitrine_client import desk, display
from vitrine_client.client import Client
from vitrine_client.options import PROMPT, CollectionName, Url
from vitrine_client.transport import DEFAULT_URL

# a collection of millions is copied and checked
_TIMEOUT_S = 3600.0

commands = typer.Typer()

File = Annotated[str, typer.Argument(help="Name in the folder `backups` of the server's data.")]


@commands.command()
def backup(
    file: File,
    *,
    collection: CollectionName = "default",
    url: Url = DEFAULT_URL,
) -> None:
    """Write a collection to a new file on the server, while it is used."""
    with Client(url, retry=PROMPT, timeout_s=_TIMEOUT_S) as client:
        made = client.send(desk.backup(file, collection=collection))
    display.console().print(
        f"{made['count']} items and {made['originals']} images, up to write {made['sequence']}"
    )


@commands.command()
def restore(
    file: File,
    *,
    collection: CollectionName = "default",
    replace: Annotated[bool, typer.Option("--replace", help="Replace one of that name.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Make a collection of a backup on the server. What it replaces answers until it is ready."""
    with Client(url, retry=PROMPT, timeout_s=_TIMEOUT_S) as client:
        made = client.send(desk.restore(file, collection=collection, replace_it=replace))
    display.console().print(
        f"{made['count']} items of encoder", display.plain(made["encoder"]["name"])
    )
