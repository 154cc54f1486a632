"""Pixels and texts to embeddings, through Triton's gRPC endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from vitrine_server.manifest import probe_pixels
from vitrine_server.tower import Connection, Encoded, Model, Tower

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from vitrine_server.manifest import EncoderInfo, Manifest

IMAGE_MODEL = "image_encoder"


class Encoder(Protocol):
    """What the pipeline asks of an encoder."""

    @property
    def info(self) -> EncoderInfo: ...

    @property
    def ready(self) -> bool:
        """Whether the last contact was good."""

    async def encode(self, pixels: NDArray[np.uint8], *, deadline: float) -> Encoded:
        """One image (S, S, 3) uint8 → its embedding. `deadline`: time.monotonic clock.

        Raises EncoderUnavailable, Overloaded or DeadlineExceeded.
        """

    async def check(self) -> None:
        """Raises EncoderUnavailable unless the encoder answers with the expected vector space."""

    async def close(self) -> None: ...


class TritonEncoder:
    """`image_encoder` of a Triton Inference Server (KServe v2 over gRPC)."""

    def __init__(
        self,
        *,
        address: str,
        manifest: Manifest,
        max_batch: int,
        concurrency: int,
        shared_memory: bool,
        observe_batch: Callable[[int], None],
    ) -> None:
        """max_batch images a call, `concurrency` calls at once; observe_batch: each call's size."""
        self._info = manifest.encoder
        self._connection = Connection(address)
        self._images = Tower(
            self._connection,
            Model(
                name=IMAGE_MODEL,
                tensor="pixels",
                datatype="UINT8",
                probe=probe_pixels(manifest.encoder.preprocessing.size),
                answer=np.asarray(manifest.probe_embedding, np.float32),
            ),
            max_batch=max_batch,
            concurrency=concurrency,
            shared_memory=shared_memory,
            observe_batch=observe_batch,
        )

    @property
    def info(self) -> EncoderInfo:
        return self._info

    @property
    def ready(self) -> bool:
        return self._images.verified

    async def encode(self, pixels: NDArray[np.uint8], *, deadline: float) -> Encoded:
        return await self._images.embed(pixels, deadline=deadline)

    async def check(self) -> None:
        await self._images.check()

    async def close(self) -> None:
        await self._images.close()
        await self._connection.close()
