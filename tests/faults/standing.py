"""The real application behind the real HTTP server, with an encoder that stands in for Triton.

The encoder is a small projection with a batcher and, where a test asks for it, a service time; it
counts what it executes. Everything else is the product.
"""

from __future__ import annotations

import asyncio
import io
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from vitrine_server import manifest
from vitrine_server.app import create_app
from vitrine_server.batching import Batcher
from vitrine_server.config import Settings
from vitrine_server.encoder import Encoded
from vitrine_server.http_server import Drain, Server, make_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

DIMENSION = 192
SEARCH = "/v1/collections/default/search"


class StandIn:
    """The Encoder protocol on numpy: 8×8 colour averages, unit length.

    image_s: seconds that an image takes. hold: calls wait for it.
    """

    ready = True
    has_text = False

    def __init__(self, *, image_s: float = 0.0, hold: asyncio.Event | None = None) -> None:
        self.image_s = image_s
        self.hold = hold
        self.executed = 0
        self._batcher = Batcher[Any, Any](self._encode, max_batch=8, concurrency=1)
        self.info = average_info()

    async def encode(self, pixels: NDArray[np.uint8], *, deadline: float) -> Encoded:
        done = await self._batcher.submit(pixels, deadline=deadline)
        return Encoded(done.value, done.queue_s, done.run_s)

    async def _encode(self, images: Sequence[NDArray[np.uint8]], deadline: float) -> Any:
        self.executed += len(images)
        if self.hold is not None:
            await self.hold.wait()
        if self.image_s:
            await asyncio.sleep(len(images) * self.image_s)
        return [averages(pixels) for pixels in images]

    async def encode_text(self, text: str, *, field: str, deadline: float) -> Encoded:
        raise AssertionError("there is no text tower")

    async def check(self) -> None:
        return

    async def close(self) -> None:
        return


def average_info() -> manifest.EncoderInfo:
    """What a manifest would say about `averages`."""
    preprocessing = manifest.Preprocessing(
        size=224, resize="letterbox", mean=(0, 0, 0), std=(1, 1, 1)
    )
    space = {"weights_sha256": "0" * 64, "pooling": "mean", "normalisation": "l2"}
    return manifest.EncoderInfo(
        name="averages",
        family="test",
        source="tests",
        licence="Apache-2.0",
        trained=True,
        dimension=DIMENSION,
        preprocessing=preprocessing,
        fingerprint=manifest.fingerprint(preprocessing=preprocessing, **space),
        **space,
    )


def averages(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(224, 224, 3) uint8 → (192,) float32 with unit length."""
    cells = pixels.reshape(8, 28, 8, 28, 3).mean((1, 3)).reshape(-1) - 127.3
    return (cells / np.linalg.norm(cells)).astype(np.float32)


def picture(seed: int = 0, *, kind: str = "PNG", size: tuple[int, int] = (320, 240)) -> bytes:
    """An encoded picture that no other seed has."""
    cells = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(cells).resize(size, Image.Resampling.NEAREST).save(file, kind)
    return file.getvalue()


@dataclass
class Running:
    """A server on this event loop."""

    port: int
    encoder: Any
    server: Server
    app: Any
    task: asyncio.Task[None] = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def serving(data: Path, *, encoder: Any = None, **settings: Any) -> AsyncIterator[Running]:
    """Serve on a free port of loopback until the block ends."""
    chosen = Settings(data=data, http_port=1, drain_s=0, **{"cache_mb": 0, **settings})
    drain = Drain()
    stand_in = encoder or StandIn()
    app = create_app(chosen, encoder=stand_in, drain=drain)
    server = make_server(app, chosen, drain=drain)
    listener = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    server.config.port = port
    task = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started or task.done())
        yield Running(port, stand_in, server, app, task)
    finally:
        server.should_exit = True
        await task


async def until(condition: Callable[[], object], *, limit_s: float = 20.0) -> None:
    """Wait until `condition()` is true."""
    for _ in range(int(limit_s / 0.01)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"not within {limit_s:g} s")


@dataclass(frozen=True)
class Raw:
    """An answer as it came over the wire; status 0 when the connection broke without one."""

    status: int
    text: bytes
    seconds: float


async def exchange(port: int, request: bytes, *, timeout_s: float = 30.0) -> Raw:
    """Send bytes, read one answer with a Content-Length; whatever comes, comes back as Raw."""
    started = time.perf_counter()
    head = b""
    body = b""
    writer = None
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), timeout_s)
        lower = head.lower()
        length = int(lower.split(b"content-length:")[1].split(b"\r\n")[0])
        body = await asyncio.wait_for(reader.readexactly(length), timeout_s)
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        if writer is not None:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()
    status = int(head[9:12]) if head else 0
    return Raw(status, head + body, time.perf_counter() - started)


def post(path: str, body: bytes, **headers: str) -> bytes:
    """A POST as bytes; underscores in header names become dashes."""
    lines = [f"POST {path} HTTP/1.1", "host: test", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
