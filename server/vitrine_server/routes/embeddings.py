"""Embeddings in the shape of OpenAI's API."""

from __future__ import annotations

import base64

from fastapi import APIRouter, Request, Response

from vitrine_server import bodies, schemas
from vitrine_server.errors import Invalid
from vitrine_server.metrics import StageTimes
from vitrine_server.pipeline import Part
from vitrine_server.rendering import timed_response
from vitrine_server.routes.declare import body_of, route
from vitrine_server.services import core

router = APIRouter()


@route(router, "POST", "/v1/embeddings", scope="read", body=body_of(bodies.JSON, "EmbeddingsBody"))
async def embeddings(request: Request) -> Response:
    """Input is text, a data: URI of an image, or a list of them."""
    parts = core(request)
    body = await bodies.read(request, parts.max_body_bytes)
    asked = bodies.parse_json(schemas.EmbeddingsBody, body)
    info = parts.encoder.info
    if asked.model not in (None, info.name):
        raise Invalid(
            f"This server has no model {asked.model!r}.", field="model", accepted=info.name
        )
    if asked.dimensions not in (None, info.dimension):
        raise Invalid(
            f"The encoder's vectors have {info.dimension} dimensions.",
            field="dimensions",
            accepted=str(info.dimension),
        )
    inputs = [asked.input] if isinstance(asked.input, str) else asked.input
    limit = parts.settings.max_batch_items
    if not 1 <= len(inputs) <= limit:
        raise Invalid(
            f"input has {len(inputs)} entries.", field="input", accepted=f"1 to {limit} entries"
        )
    wanted = [
        Part(image=bodies.decode_base64(text, field="input"))
        if text.startswith("data:")
        else Part(text=text, where="input")
        for text in inputs
    ]
    times = StageTimes()
    vectors = await parts.pipeline.embed(wanted, times)
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(vector.tobytes()).decode()
            if asked.encoding_format == "base64"
            else vector,
        }
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": 0, "total_tokens": 0}
    return timed_response(
        parts, {"object": "list", "data": data, "model": info.name, "usage": usage}, times
    )
