"""Options that commands share."""

import json
from typing import Annotated, Any

import typer

from vitrine_client.retry import Retry

# a person waits: say soon that nobody answers
PROMPT = Retry(patience_s=1.0)

Url = Annotated[str, typer.Option(envvar="VITRINE_URL", help="Address of the server.")]
CollectionName = Annotated[str, typer.Option(help="Collection.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def json_object(text: str | None, option: str) -> dict[str, Any] | None:
    """Raises BadParameter naming the option."""
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"not JSON ({error})", param_hint=option) from None
    if not isinstance(value, dict):
        raise typer.BadParameter("not a JSON object", param_hint=option)
    return value
