"""The gRPC API answers as the HTTP API does, refusals and keys included."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from standing import DIMENSION
from standins import AverageEncoder

from vitrine_client import Item, Query, errors
from vitrine_client.grpc_client import GrpcClient
from vitrine_server import vitrine_search_pb2 as messages
from vitrine_server.api_keys import Keys
from vitrine_server.app import create_app
from vitrine_server.config import Settings
from vitrine_server.grpc_api import PROBLEM_KEY, SERVICE, GrpcServer
from vitrine_server.index.ann import Ann, Tuning
from vitrine_server.index.faiss_api import FaissIndex
from vitrine_server.index.gpu import GpuIndex, Owner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import httpx
    from fastapi import FastAPI

ROOT = Path(__file__).parents[2]
SEARCH = "/v1/collections/default/search"


@pytest.fixture
async def address(app: FastAPI) -> AsyncIterator[str]:
    """The application of `http`, over gRPC as well."""
    services = app.state.services
    settings = services.settings.model_copy(update={"grpc_port": 0})
    server = GrpcServer(_with(services, settings), keys=None)
    port = await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop()


def _with(services: Any, settings: Settings) -> Any:
    return type(services)(
        **{
            name: settings if name == "settings" else getattr(services, name)
            for name in type(services).__dataclass_fields__
        }
    )


async def in_thread(call: Callable[[GrpcClient], Any], address: str, **options: Any) -> Any:
    def run() -> Any:
        with GrpcClient(address, **options) as client:
            return call(client)

    return await asyncio.to_thread(run)


def items(picture: Callable[..., bytes]) -> list[Item]:
    vector = np.random.default_rng(0).normal(size=DIMENSION)
    stored = [
        Item(id=f"p{seed}", image=picture(seed), metadata={"group": f"g{seed % 2}", "price": seed})
        for seed in range(6)
    ]
    return [*stored, Item(id="v", vector=vector)]


async def test_a_stream_of_items_is_stored_and_a_bad_one_fails_alone(
    address: str, http: httpx.AsyncClient, picture: Callable[..., bytes]
) -> None:
    wanted = [*items(picture), Item(id="bad", image=b"GIF89a but not really")]
    results = await in_thread(lambda client: list(client.ingest(wanted)), address)
    by_id = {result.id: result for result in results}
    assert set(by_id) == {item.id for item in wanted}
    assert isinstance(by_id["bad"].error, errors.InvalidImage)
    sequences = [result.sequence for result in results if result.error is None]
    assert sorted(sequences) == list(range(1, 8))
    for item in wanted[:-1]:
        found = (await http.get(f"/v1/collections/default/items/{item.id}")).json()
        assert found["metadata"] == dict(item.metadata)
        assert found["sequence"] == by_id[item.id].sequence


async def test_a_client_may_wait_for_each_result_before_it_sends_more(
    address: str, picture: Callable[..., bytes]
) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_stream(
            f"/{SERVICE}/Ingest",
            request_serializer=messages.IngestRequest.SerializeToString,
            response_deserializer=messages.IngestResult.FromString,
        )(timeout=20)
        for seed in range(3):
            await call.write(messages.IngestRequest(id=f"{seed}", image=picture(seed)))
            assert (await call.read()).id == f"{seed}"
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF


async def test_answers_are_those_of_http(
    address: str, http: httpx.AsyncClient, picture: Callable[..., bytes]
) -> None:
    await in_thread(lambda client: list(client.ingest(items(picture))), address)
    vector = np.random.default_rng(1).normal(size=DIMENSION).round(3).tolist()
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"vector": vector}, {"vector": vector}),
        ({"item_id": "p1", "k": 3}, {"item_id": "p1", "k": 3}),
        (
            {"vector": vector, "filter": {"price": {"gte": 2}}, "group_by": "group", "offset": 1},
            {"vector": vector, "filter": {"price": {"gte": 2}}, "group_by": "group", "offset": 1},
        ),
        (
            {"queries": [Query(item_id="p1", weight=0.5), Query(vector=vector, weight=-1)]},
            {"queries": [{"item_id": "p1", "weight": 0.5}, {"vector": vector, "weight": -1}]},
        ),
        (
            {"vector": vector, "with_vector": True, "with_metadata": False, "min_score": 0.0},
            {"vector": vector, "with_vector": True, "with_metadata": False, "min_score": 0.0},
        ),
        (
            {"item_id": "p1", "rerank": "k_reciprocal"},
            {"item_id": "p1", "rerank": "k_reciprocal"},
        ),
    ]
    for ours, body in cases:
        found = await in_thread(lambda client, asked=ours: client.search(**asked), address)
        expected = (await http.post(SEARCH, json=body)).json()
        assert [hit.id for hit in found.hits] == [hit["id"] for hit in expected["hits"]]
        assert [hit.score for hit in found.hits] == pytest.approx(
            [hit["score"] for hit in expected["hits"]], abs=1e-5
        )
        assert [hit.group for hit in found.hits] == [hit["group"] for hit in expected["hits"]]
        assert [hit.metadata for hit in found.hits] == [
            hit.get("metadata") for hit in expected["hits"]
        ]
        assert [hit.rerank_score for hit in found.hits] == pytest.approx(
            [hit.get("rerank_score") for hit in expected["hits"]], abs=1e-5
        )
        for hit, other in zip(found.hits, expected["hits"], strict=True):
            assert (hit.vector is None) == (other.get("vector") is None)
        assert found.encoder.fingerprint == expected["encoder"]["fingerprint"]
    image = await in_thread(lambda client: client.search(image=picture(3), k=1), address)
    assert image.hits[0].id == "p3"


async def test_the_answer_says_that_an_index_of_a_gpu_could_not_filter(
    address: str, app: FastAPI, http: httpx.AsyncClient, picture: Callable[..., bytes]
) -> None:
    await in_thread(lambda client: list(client.ingest(items(picture))), address)
    collection = app.state.services.catalogue.get("default")
    held = FaissIndex.create(DIMENSION, "Flat", "cosine")  # as a GPU has it, on the CPU
    held.add(next(collection._index.state.vectors.pieces(0, 7))[1])
    segment = Ann("gpu_flat", GpuIndex(held, Owner()), Tuning(1, 1, 1.0, 1e-3))
    collection._writer.call(lambda: collection._index.show_segments((segment,), ())).result()
    for filter, told in ((None, False), ({"price": {"gte": 2}}, True)):
        asked: dict[str, Any] = {"item_id": "p1", "filter": filter}
        for _ in range(2):  # also an answer that was kept
            body = (await http.post(SEARCH, json=asked)).json()
            found = await in_thread(lambda client, asked=asked: client.search(**asked), address)
            assert [hit.id for hit in found.hits] == [hit["id"] for hit in body["hits"]]
            assert ("fallback" in body) is told
            assert found.fallback == body.get("fallback")
            assert not told or "gpu_flat cannot filter" in found.fallback


@pytest.mark.parametrize(
    ("asked", "kind", "field"),
    [
        ({"vector": [1.0, 2.0]}, errors.InvalidVector, "vector"),
        ({"item_id": "nobody"}, errors.ItemNotFound, "id"),
        ({"item_id": "a", "collection": "none"}, errors.CollectionNotFound, "collection"),
        ({"image": b"no image"}, errors.UnsupportedMedia, "image"),
        ({"item_id": "a", "k": 0}, errors.Invalid, "k"),
        ({"item_id": "a", "k": 100_000}, errors.Invalid, "k"),
        ({"text": "a chair"}, errors.Invalid, "parts.0.text"),
        ({"queries": []}, errors.Invalid, "parts"),
    ],
)
async def test_refusals_name_the_field(
    address: str, asked: dict[str, Any], kind: type[errors.ApiError], field: str
) -> None:
    with pytest.raises(kind) as refused:
        await in_thread(lambda client: client.search(**asked), address)
    assert refused.value.field == field
    assert refused.value.accepted


async def test_a_deadline_that_passed_is_told(address: str, picture: Callable[..., bytes]) -> None:
    with pytest.raises((errors.TimedOut, errors.DeadlineExceeded, errors.Overloaded)):
        await in_thread(lambda client: client.search(image=picture(0)), address, timeout_s=1e-5)


async def test_what_is_not_protobuf_is_refused_and_the_server_lives(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        raw = channel.unary_unary(f"/{SERVICE}/Query")
        for body in (b"\xff" * 50, b"", b"\x12\x05abc"):
            with pytest.raises(grpc.aio.AioRpcError):
                await raw(body, timeout=10)
        health = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(service=SERVICE))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_lists_the_service(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        async for answer in stub.ServerReflectionInfo(iter([request])):
            names = {service.name for service in answer.list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= names


async def test_keys_are_asked_for_by_scope(tmp_path: Path, picture: Callable[..., bytes]) -> None:
    known = {"read": "vtr_reader", "write": "vtr_writer"}
    file = tmp_path / "keys"
    file.write_text(
        "".join(
            f"{scope} {scope} {hashlib.sha256(key.encode()).hexdigest()}\n"
            for scope, key in known.items()
        )
    )
    application = create_app(Settings(data=tmp_path / "data"), encoder=AverageEncoder())
    async with application.router.lifespan_context(application):
        services = application.state.services
        settings = services.settings.model_copy(update={"grpc_port": 0})
        server = GrpcServer(_with(services, settings), keys=Keys(file))
        where = f"127.0.0.1:{await server.start()}"
        item = [Item(id="a", image=picture(0))]
        with pytest.raises(errors.ApiError) as refused:
            await in_thread(lambda client: client.search(item_id="a"), where)
        assert refused.value.status == 401
        with pytest.raises(errors.ApiError) as refused:
            await in_thread(lambda client: list(client.ingest(item)), where, api_key=known["read"])
        assert refused.value.status == 403
        stored = await in_thread(
            lambda client: list(client.ingest(item)), where, api_key=known["write"]
        )
        assert stored[0].error is None
        hits = await in_thread(
            lambda client: client.search(item_id="a").hits, where, api_key=known["read"]
        )
        assert hits[0].id == "a"
        async with grpc.aio.insecure_channel(where) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as malformed:
                await channel.unary_unary(f"/{SERVICE}/Query")(b"not protobuf")
        assert malformed.value.code() is grpc.StatusCode.UNAUTHENTICATED  # nothing was read
        await server.stop()


async def test_a_refusal_carries_problem_json(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        query = channel.unary_unary(
            f"/{SERVICE}/Query", request_serializer=messages.QueryRequest.SerializeToString
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await query(messages.QueryRequest(parts=[messages.QueryPart(item_id="nobody")]))
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        assert PROBLEM_KEY in {key for key, _ in refused.value.trailing_metadata()}


@pytest.mark.parametrize("package", ["server/vitrine_server", "client/vitrine_client"])
def test_messages_are_those_of_the_proto_file(package: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", ROOT / "proto"]
    outputs = [f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    subprocess.run([*command, *outputs, "vitrine_search.proto"], check=True)
    for name in ("vitrine_search_pb2.py", "vitrine_search_pb2.pyi"):
        assert (tmp_path / name).read_text() == (ROOT / package / name).read_text()
