"""The short ways of a search give what the long ones give."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fastapi.routing import APIRoute
from starlette.routing import Match

from vitrine_server import bodies, schemas
from vitrine_server.errors import VitrineError
from vitrine_server.pipeline import vector_of
from vitrine_server.routes import ROUTERS
from vitrine_server.routes.declare import Direct
from vitrine_server.routes.search import _vector_query, query_parts

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from starlette.types import Receive, Scope, Send

SEARCH = "/v1/collections/default/search"
BODIES = [
    '{"vector": [1, 2.5, -3e-7], "k": 3}',
    '{"k": 3, "offset": 2, "vector": [0.1], "with_vector": true, "min_score": -1}',
    '{"vector": []}',
    '{"vector": [true, 1]}',
    '{"vector": [1.0], "k": "7", "with_metadata": "no", "min_score": "0.5"}',
    '{"vector": [1.0], "k": 7.0, "filter": {"a": {"lt": 3}}, "group_by": "group"}',
    '{"vector": [1.0], "k": true}',
    '{"vector": [1.0, 2.0], "vector": [3.0]}',
    '{"vector": [18446744073709551616, -9223372036854775809, 1e300]}',
    '{"vector": [1.0], "filter": null, "group_by": null}',
    ' {"vector"\n: [\t1.0 ] } ',
    # what the short way leaves to the model
    '{"vector": ["1.5", 2]}',
    '{"vector": [1.0], "text": null}',
    '{"vector": [NaN, Infinity]}',
    '{"vector": [1e400]}',
    '{"item_id": "a"}',
    '{"text": "a chair", "k": 2}',
    '{"queries": [{"vector": [1.0], "weight": 2}, {"item_id": "x"}]}',
]
WRONG = [
    '{"vector": [1.0], "k": 0}',
    '{"vector": [1.0], "k": 1.5}',
    '{"vector": [1.0], "k": null}',
    '{"vector": [1.0], "colour": 1}',
    '{"vector": [1.0], "text": "a"}',
    '{"vector": [1.0], "filter": [1]}',
    '{"vector": [1.0], "group_by": ""}',
    '{"vector": [1.0], "min_score": NaN}',
    '{"vector": [null]}',
    '{"vector": [[1.0]]}',
    '{"vector": ["a"]}',
    '{"vector": "1.0"}',
    '{"vector": {"0": 1.0}}',
    '{"vector": null}',
    "{}",
    "[]",
    "[1.0]",
    "null",
    "1",
    '"vector"',
    "",
    '{"vector": [1.0]',
    '{"vector": [1.0]} x',
    '{"vector": [1.0,]}',
    '{"vector": [01]}',
    '{"vector": [1.0], "k": 1\\u0000}',
    '\ufeff{"vector": [1.0]}',
]


@pytest.mark.parametrize("text", BODIES)
def test_a_body_means_the_same(text: str) -> None:
    asked = bodies.parse_json(schemas.SearchBody, text.encode())
    expected = query_parts(asked)
    short = _vector_query(text.encode())
    assert (short is not None) == (text in BODIES[:11])
    if short is not None:
        parts, options = short
        for name in schemas.SearchOptions.model_fields:
            assert getattr(options, name) == getattr(asked, name)
        for part, other in zip(parts, expected, strict=True):
            np.testing.assert_array_equal(part.vector, other.vector)


def test_numbers_of_a_vector() -> None:
    values = [0.1, -3, True, 1e300, -1e-300, 2**70]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(vector_of(values), np.array(values, np.float32))
    assert vector_of([]).shape == (0,)
    wrong: Any
    for wrong, error in (([1, "2"], TypeError), ([[1]], TypeError), ([10**400], OverflowError)):
        with pytest.raises(error):
            vector_of(wrong)


@pytest.mark.parametrize("text", [*WRONG, '{"vector": [' + ",".join("1" * 300_002) + "]}"])
async def test_a_wrong_body_is_refused_by_the_model(http: httpx.AsyncClient, text: str) -> None:
    answer = await http.post(
        SEARCH, content=text.encode(), headers={"content-type": "application/json"}
    )
    assert answer.status_code in (400, 413, 422)
    problem = answer.json()
    with pytest.raises(VitrineError) as said:
        query_parts(bodies.parse_json(schemas.SearchBody, text.encode()))
    assert problem["code"] == said.value.code
    assert problem["detail"] == said.value.detail
    assert problem.get("field") == said.value.field


def test_a_path_leads_where_the_framework_would_lead_it() -> None:
    async def elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("nothing is sent here")

    direct = Direct(elsewhere, routers=ROUTERS)
    routes = [one for router in ROUTERS for one in router.routes if isinstance(one, APIRoute)]
    values = ["a", "a%2Fb", "a:batch", "search", "image", "a b%0A", "日"]
    paths = {"/", "/v1", "/v1/collections/", "/v1/collections//items/x", "/docs", "/nothing"}
    for route in routes:
        for value in values:
            path = route.path.replace(":path}", "}")
            for name in route.param_convertors:
                path = path.replace("{" + name + "}", value)
            paths |= {path, path + "/", path + "x", path.replace("items/", "items/a/b/", 1)}
    for path in sorted(paths):
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW"):
            scope: dict[str, Any] = {"type": "http", "path": path, "method": method}
            expected = None
            for route in routes:
                match, child = route.matches(scope)
                if match is Match.FULL:
                    expected = route, child["path_params"]
                    break
            table = direct._tables.get(method)
            assert (None if table is None else table.find(path)) == expected, (method, path)


async def test_an_answer_that_is_known_is_counted(
    http: httpx.AsyncClient, picture: Callable[..., bytes]
) -> None:
    async def outcomes() -> dict[str, float]:
        text = (await http.get("/metrics")).text
        name = 'vitrine_cache_lookups_total{kind="result",outcome="%s"} '
        return {each: float(text.split(name % each)[1].split("\n")[0]) for each in ("hit", "miss")}

    async def search() -> dict[str, Any]:
        answer = await http.post(
            f"{SEARCH}?k=5", content=picture(1), headers={"content-type": "image/png"}
        )
        assert answer.status_code == 200
        return dict(answer.json())

    for seed in range(3):
        sent = await http.put(
            f"/v1/collections/default/items/p{seed}",
            content=picture(seed),
            params={"metadata": json.dumps({"seed": seed})},
            headers={"content-type": "image/png"},
        )
        assert sent.status_code == 200
    first = await search()
    assert await outcomes() == {"hit": 0, "miss": 1}
    again = await search()
    assert await outcomes() == {"hit": 1, "miss": 1}
    assert again["hits"] == first["hits"]
    assert again["hits"][0]["id"] == "p1"
    assert again["snapshot"] == first["snapshot"]
    assert again["timings_ms"].keys() == {"search", "hydrate"}
    await http.delete("/v1/collections/default/items/p1")
    assert "p1" not in {hit["id"] for hit in (await search())["hits"]}
    assert await outcomes() == {"hit": 1, "miss": 2}
