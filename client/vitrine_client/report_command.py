"""`vitrine report`."""

# no postponed annotations: typer reads them
from pathlib import Path
from typing import Annotated

import typer

from vitrine_client import desk, display
from vitrine_client.client import Client
from vitrine_client.options import PROMPT, CollectionName, Url, json_object
from vitrine_client.transport import DEFAULT_URL

FORMATS = (".json", ".csv", ".pdf")

commands = typer.Typer()


@commands.command()
def report(
    output: Annotated[Path, typer.Argument(help="File to write: .pdf, .csv or .json.")],
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="IMAGE...", help="Several: views of one thing.")
    ] = None,
    *,
    item_id: Annotated[str | None, typer.Option(help="A stored item instead of images.")] = None,
    compare: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Compare IMAGE with this item instead of searching."),
    ] = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="Number of hits.")] = 10,
    filter_text: Annotated[
        str | None, typer.Option("--filter", help="JSON over metadata, as of `vitrine search`.")
    ] = None,
    group_by: Annotated[str | None, typer.Option(help="One hit for each value.")] = None,
    min_score: Annotated[float | None, typer.Option(help="Leave out hits below.")] = None,
    class_field: Annotated[
        str | None, typer.Option(help="Field within whose values percentiles are counted.")
    ] = None,
    collection: CollectionName = "default",
    url: Url = DEFAULT_URL,
) -> None:
    """Search or compare, and write a document that says everything that the answer rests on."""
    if output.suffix.lower() not in FORMATS:
        raise typer.BadParameter(f"not one of {', '.join(FORMATS)}", param_hint="OUTPUT")
    format = output.suffix.lower()[1:]
    if compare is None:
        call = desk.report(
            images=images or (),
            item_id=item_id,
            format=format,
            k=k,
            filter=json_object(filter_text, "--filter"),
            group_by=group_by,
            min_score=min_score,
            class_field=class_field,
            collection=collection,
        )
    elif len(images or ()) > 1:
        raise typer.BadParameter("compares one IMAGE", param_hint="--compare")
    else:
        call = desk.comparison_report(
            image=images[0] if images else None,
            item_id=item_id,
            with_item=compare,
            format=format,
            class_field=class_field,
            collection=collection,
        )
    with Client(url, retry=PROMPT) as client:
        content = client.send(call)
    output.write_bytes(content)
    display.console().print("written to", display.plain(output))
