"""`vitrine feedback add | list | quality | export`."""

# no postponed annotations: typer reads them
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from vitrine_client import desk, display
from vitrine_client.client import Client
from vitrine_client.options import PROMPT, AsJson, CollectionName, Url
from vitrine_client.transport import DEFAULT_URL

commands = typer.Typer(no_args_is_help=True, help="Say which hits were right and which wrong.")


class Verdict(str, Enum):
    right = "right"
    wrong = "wrong"


class Step(str, Enum):
    hour = "hour"
    day = "day"
    week = "week"
    month = "month"


@commands.command()
def add(
    query: Annotated[str, typer.Argument(help="Id of the item, or file of the image, searched.")],
    item: Annotated[str, typer.Argument(help="Id of the hit.")],
    verdict: Annotated[Verdict, typer.Argument()],
    *,
    rank: Annotated[int | None, typer.Option(min=1, help="Place of the hit.")] = None,
    score: Annotated[float | None, typer.Option(help="Score of the hit.")] = None,
    note: Annotated[str | None, typer.Option(help="Why.")] = None,
    collection: CollectionName = "default",
    url: Url = DEFAULT_URL,
) -> None:
    """Keep a judgement."""
    asked: str | Path = Path(query) if Path(query).is_file() else query
    with Client(url, retry=PROMPT) as client:
        call = desk.add_feedback(
            asked,
            item,
            right=verdict is Verdict.right,
            rank=rank,
            score=score,
            note=note,
            collection=collection,
        )
        number = client.send(call)["number"]
    display.console().print(f"kept as number {number}")


@commands.command("list")
def list_feedback(
    *,
    after: Annotated[int, typer.Option(help="Those numbered above.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100,
    collection: CollectionName = "default",
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List the judgements."""
    with Client(url, retry=PROMPT) as client:
        call = desk.feedback(after=after, limit=limit, collection=collection)
        found = client.send(call)["feedback"]
    if as_json:
        print(display.as_json(found))
    else:
        display.console().print(display.feedback(found))


@commands.command()
def quality(
    *,
    step: Annotated[Step, typer.Option(help="One row a …")] = Step.day,
    collection: CollectionName = "default",
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Show the share of right hits over time."""
    with Client(url, retry=PROMPT) as client:
        found = client.send(desk.quality(step=step.value, collection=collection))["quality"]
    if as_json:
        print(display.as_json(found))
    else:
        display.console().print(display.quality(found))


@commands.command()
def export(*, collection: CollectionName = "default", url: Url = DEFAULT_URL) -> None:
    """Write the CSV that training reads to standard output."""
    with Client(url, retry=PROMPT) as client:
        sys.stdout.write(client.send(desk.feedback_csv(collection=collection)))
