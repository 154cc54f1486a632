"""`vitrine copies`, `duplicates` and `calibrate`."""

# no postponed annotations: typer reads them
import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from vitrine_client import desk, display
from vitrine_client.client import Client
from vitrine_client.options import PROMPT, AsJson, CollectionName, Url
from vitrine_client.transport import DEFAULT_URL

POLL_S = 1.0

commands = typer.Typer()


@commands.command()
def copies(
    image: Annotated[Path, typer.Argument(help="Image file.")],
    *,
    collection: CollectionName = "default",
    k: Annotated[int, typer.Option("--k", "-k", min=1, max=64, help="At most so many.")] = 10,
    min_score: Annotated[
        float | None, typer.Option(help="Show less likely ones too, from this score.")
    ] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Say whether IMAGE is a copy of a stored one, with the evidence."""
    with Client(url, retry=PROMPT) as client:
        found = client.send(
            desk.copies(image=image, collection=collection, k=k, min_score=min_score)
        )
    if as_json:
        print(display.as_json(found))
    elif not found["copies"]:
        display.console().print("No copies.")
    else:
        display.console().print(display.copies(found["copies"]))


@commands.command()
def duplicates(
    *, collection: CollectionName = "default", as_json: AsJson = False, url: Url = DEFAULT_URL
) -> None:
    """List the groups of items that are copies of one another.

    With --json a line a group, as they come. It takes minutes for 100,000 items.
    """
    out, progress = display.console(), display.console(stderr=True)
    with Client(url, retry=PROMPT) as client, progress.status("Comparing") as shown:
        for event in client.lines(desk.duplicates(collection=collection)):
            if event["event"] == "progress":
                shown.update(f"{event['stage']}: {event['done']:,} of {event['total']:,}")
            elif as_json:
                print(json.dumps(event, ensure_ascii=False))
            elif event["event"] == "group":
                out.print(display.group(event["items"]))
            else:
                out.print(
                    f"{event['groups']:,} groups of {event['items']:,} items among "
                    f"{event['catalogue']:,}, in {event['seconds']:.1f} s."
                )


@commands.command()
def calibrate(
    *,
    collection: CollectionName = "default",
    sample: Annotated[int, typer.Option(min=8, max=2000, help="Items that are changed.")] = 100,
    false_positives: Annotated[
        float, typer.Option(help="Accepted share of pictures that are wrongly called copies.")
    ] = 0.01,
    forget: Annotated[bool, typer.Option("--forget", help="Go back to what ships.")] = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Measure the copy score on the collection's own pictures, and use that from then on.

    Each item of a sample is changed in nine ways and looked up; this takes minutes.
    """
    with Client(url, retry=PROMPT) as client:
        if forget:
            client.send(desk.forget_calibration(collection=collection))
            display.console().print("The calibration that ships is in use.")
            return
        answer = client.send(
            desk.calibrate(
                collection=collection, sample=sample, false_positive_rate=false_positives
            )
        )
        with display.console(stderr=True).status("Measuring") as shown:
            while answer["job"]["state"] == "running":
                shown.update(f"{answer['job']['done']:,} of {answer['job']['total']:,} look-ups")
                time.sleep(POLL_S)
                answer = client.send(desk.calibration(collection=collection))
    _tell(answer, as_json=as_json)


def _tell(answer: dict[str, Any], *, as_json: bool) -> None:
    job = answer["job"]
    if as_json:
        print(display.as_json(answer))
    elif job["state"] == "done":
        out = display.console()
        out.print(display.trade_off(job["table"]))
        out.print(display.recall(job["recall"]))
        out.print(f"Threshold in use: {answer['calibration']['full']['threshold']:.3f}.")
    if job["state"] == "failed":
        display.console(stderr=True).print(display.plain(f"It failed: {job['error']}"))
        raise typer.Exit(1)
