"""`vitrine watch add | list | delete | alerts`."""

# no postponed annotations: typer reads them
import json
import time
from pathlib import Path
from typing import Annotated

import typer

from vitrine_client import desk, display
from vitrine_client.client import Client
from vitrine_client.options import PROMPT, AsJson, CollectionName, Url, json_object
from vitrine_client.transport import DEFAULT_URL

POLL_S = 1.0

commands = typer.Typer(
    no_args_is_help=True, help="Saved searches that fire when a matching item is stored."
)


@commands.command()
def add(
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="IMAGE...", help="Several: views of one thing.")
    ] = None,
    *,
    text: Annotated[str | None, typer.Option(help="Words instead of images.")] = None,
    item_id: Annotated[str | None, typer.Option(help="A stored item instead of images.")] = None,
    min_score: Annotated[float, typer.Option(help="Fire from this score.")],
    name: Annotated[str | None, typer.Option(help="Id of the watch; made up by default.")] = None,
    filter_text: Annotated[
        str | None, typer.Option("--filter", help="JSON over metadata, as of `vitrine search`.")
    ] = None,
    webhook: Annotated[str | None, typer.Option(help="URL that alerts are posted to.")] = None,
    collection: CollectionName = "default",
    url: Url = DEFAULT_URL,
) -> None:
    """Watch for what looks like IMAGE among the items that are stored from now on."""
    with Client(url, retry=PROMPT) as client:
        made = client.send(
            desk.add_watch(
                images=images or (),
                text=text,
                item_id=item_id,
                min_score=min_score,
                watch_id=name,
                filter=json_object(filter_text, "--filter"),
                webhook=webhook,
                collection=collection,
            )
        )
    out = display.console()
    out.print("watching as", display.plain(made["id"]))
    if webhook is not None:
        out.print("secret of its signatures, shown once:", display.plain(made["secret"]))


@commands.command("list")
def list_watches(
    *, collection: CollectionName = "default", as_json: AsJson = False, url: Url = DEFAULT_URL
) -> None:
    """List the watches."""
    with Client(url, retry=PROMPT) as client:
        found = client.send(desk.watches(collection=collection))["watches"]
    if as_json:
        print(display.as_json(found))
    else:
        display.console().print(display.watches(found))


@commands.command()
def delete(
    watch: Annotated[str, typer.Argument(metavar="ID")],
    *,
    collection: CollectionName = "default",
    url: Url = DEFAULT_URL,
) -> None:
    """Delete a watch; its alerts stay."""
    with Client(url, retry=PROMPT) as client:
        client.send(desk.delete_watch(watch, collection=collection))
    display.console().print("deleted", display.plain(watch))


@commands.command()
def alerts(
    *,
    watch: Annotated[str | None, typer.Option(help="Of one watch.")] = None,
    after: Annotated[int, typer.Option(help="Those numbered above.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", help="Wait for more, until Ctrl-C.")] = False,
    collection: CollectionName = "default",
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List the alerts in the order in which they were made. With --json a line an alert."""
    with Client(url, retry=PROMPT) as client:
        while True:
            answer = client.send(desk.alerts(after=after, watch=watch, collection=collection))
            if as_json:
                for alert in answer["alerts"]:
                    print(json.dumps(alert, ensure_ascii=False), flush=True)
            elif answer["alerts"]:
                display.console().print(display.alerts(answer["alerts"]))
            if not answer["alerts"] and not follow:
                return
            if not answer["alerts"]:
                time.sleep(POLL_S)
            after = answer["next"]
