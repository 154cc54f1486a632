"""The sidecar's side of Triton: tensors in shared memory and in requests give the same vectors."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pytest
from serving import SHARED_MEMORY, Server, eventually

from vitrine_server import manifest
from vitrine_server.encoder import TritonEncoder
from vitrine_server.errors import EncoderUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.triton


def encoder_of(server: Server, *, shared_memory: bool, sizes: list[int]) -> TritonEncoder:
    return TritonEncoder(
        address=server.triton_grpc,
        manifest=manifest.load(server.model_repository / "image_encoder" / "1"),
        max_batch=4,
        concurrency=2,
        shared_memory=shared_memory,
        observe_batch=sizes.append,
    )


async def embed_all(encoder: TritonEncoder, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Embeddings (B, D) of images that all arrive at the same time."""
    deadline = time.monotonic() + 60
    done = await asyncio.gather(*(encoder.encode(each, deadline=deadline) for each in pixels))
    return np.stack([each.embedding for each in done])


async def connected_again(encoder: TritonEncoder) -> None:
    """Its connection waits between two attempts, whatever the server's own has done meanwhile."""
    deadline = time.monotonic() + 30
    while True:
        with suppress(EncoderUnavailable):
            return await encoder.check()
        assert time.monotonic() < deadline, "the encoder's connection is not made again"
        await asyncio.sleep(0.1)


async def test_shared_memory_and_requests_carry_the_same_pixels(server: Server) -> None:
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (24, 224, 224, 3), dtype=np.uint8)
    pixels[:12] = np.linspace(0, 255, 12).astype(np.uint8)[:, None, None, None]
    sizes: list[int] = []
    shared = encoder_of(server, shared_memory=True, sizes=sizes)
    plain = encoder_of(server, shared_memory=False, sizes=[])
    try:
        vectors = await embed_all(shared, pixels)
        again = await embed_all(plain, pixels)
        assert list(SHARED_MEMORY.glob("vitrine-pixels-*")) == []
    finally:
        await shared.close()
        await plain.close()
    assert max(sizes) > 1
    assert sum(sizes) == len(pixels)
    cosines = vectors @ again.T
    assert np.diag(cosines).min() > 0.999
    assert np.argmax(cosines, axis=1).tolist() == list(range(len(pixels)))


@pytest.mark.slow
async def test_a_restarted_triton_gets_a_region_of_its_own(
    published: Path, new_server: Callable[..., Server]
) -> None:
    server = new_server(published)
    server.start()
    encoder = encoder_of(server, shared_memory=True, sizes=[])
    pixels = np.full((1, 224, 224, 3), 200, np.uint8)
    pixels[0, 60:160, 80:120] = 10
    try:
        before = await embed_all(encoder, pixels)
        server.child("tritonserver").kill()
        await asyncio.to_thread(
            eventually, lambda: not server.ready, limit_s=30, what="the server notices"
        )
        with pytest.raises(EncoderUnavailable):
            await embed_all(encoder, pixels)
        await asyncio.to_thread(
            eventually, lambda: server.ready, limit_s=60, what="the server is ready again"
        )
        await connected_again(encoder)
        after = await embed_all(encoder, pixels)
    finally:
        await encoder.close()
        server.stop()
    assert float((before @ after.T)[0, 0]) > 0.999
