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
    from vitrine_server.tokeniser import TextEncoder

IMAGE_MODEL = "image_encoder"
TEXT_MODEL = "text_encoder"


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

    @property
    def has_text(self) -> bool:
        """Whether texts can be embedded in the images' space."""

    async def encode_text(self, text: str, *, field: str, deadline: float) -> Encoded:
        """Raises Invalid naming `field`, and as `encode`. Only where `has_text`."""

    async def check(self) -> None:
        """Raises EncoderUnavailable unless the encoder answers with the expected vector space."""

    async def close(self) -> None: ...


class TritonEncoder:
    """The encoders of a Triton Inference Server (KServe v2 over gRPC).

    manifest: of the image encoder. text: the text encoder, where one is published.
    """

    def __init__(
        self,
        *,
        address: str,
        manifest: Manifest,
        max_batch: int,
        concurrency: int,
        shared_memory: bool,
        observe_batch: Callable[[int], None],
        text: TextEncoder | None = None,
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
        self._text = text
        self._texts = None if text is None else self._text_tower(text, max_batch, concurrency)

    def _text_tower(self, text: TextEncoder, max_batch: int, concurrency: int) -> Tower:
        assert text.manifest.tokeniser is not None
        return Tower(
            self._connection,
            Model(
                name=TEXT_MODEL,
                tensor="tokens",
                datatype="INT64",
                probe=np.array([text.manifest.tokeniser.probe], np.int64),
                answer=np.asarray(text.manifest.probe_embedding, np.float32),
            ),
            max_batch=max_batch,
            concurrency=concurrency,
            shared_memory=False,  # a text is two kilobytes
            observe_batch=lambda _: None,
        )

    @property
    def info(self) -> EncoderInfo:
        return self._info

    @property
    def ready(self) -> bool:
        return self._images.verified

    async def encode(self, pixels: NDArray[np.uint8], *, deadline: float) -> Encoded:
        return await self._images.embed(pixels, deadline=deadline)

    @property
    def has_text(self) -> bool:
        return self._texts is not None

    async def encode_text(self, text: str, *, field: str, deadline: float) -> Encoded:
        assert self._text is not None
        assert self._texts is not None
        tokens = self._text.tokeniser(text, field=field)
        return await self._texts.embed(tokens, deadline=deadline)

    async def check(self) -> None:
        await self._images.check()
        if self._texts is not None:
            await self._texts.check()

    async def close(self) -> None:
        await self._images.close()
        await self._connection.close()
