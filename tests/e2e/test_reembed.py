"""`vitrine-data reembed` with the real Triton: another encoder's collection becomes this one's."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
from PIL import Image

from vitrine_server import manifest
from vitrine_server.catalogue import Catalogue
from vitrine_server.collection import EncoderIdentity, NewItem, SearchQuery
from vitrine_server.data_commands import NOT_SWITCHED

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from serving import Server

pytestmark = pytest.mark.triton

OLD = EncoderIdentity("old", "0" * 64, 16)
IMAGES = 70  # more than one batch


def picture(seed: int) -> bytes:
    cells = np.random.default_rng(seed).integers(0, 255, (7, 7, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(cells).resize((240, 200), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def test_a_collection_of_another_encoder_is_embedded_again(server: Server, tmp_path: Path) -> None:
    def reembed() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "vitrine_server.data_commands", "reembed", "default"],
            env={**server.environment(), "VITRINE_DATA": str(tmp_path / "data")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    pictures = [picture(seed) for seed in range(IMAGES)]
    served = Catalogue(tmp_path / "data", encoder=OLD)
    collection = served.get("default")
    collection.upsert(
        [
            NewItem(
                f"i{seed}",
                np.eye(16, dtype=np.float32)[seed % 16],
                {"seed": seed},
                image_sha256=collection.keep_original(image),
            )
            for seed, image in enumerate(pictures)
        ]
    ).result()
    beside = reembed()
    assert beside.returncode == NOT_SWITCHED, beside.stderr
    assert "A server runs" in beside.stdout
    # the old space is searched and written to meanwhile
    collection.delete(["i1"]).result()
    collection.update_metadata("i2", {"seed": -2}).result()
    assert collection.search([SearchQuery(np.ones(16, np.float32), k=100)])[0].hits
    served.close()
    alone = reembed()
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout == "default: switched to the new encoder\n"

    info = manifest.load(server.model_repository / "image_encoder" / "1").encoder
    now = EncoderIdentity(info.name, info.fingerprint, info.dimension)
    reopened = Catalogue(tmp_path / "data", encoder=now)
    try:
        collection = reopened.get("default")
        assert collection.describe().count == IMAGES - 1
        assert collection.get("i2").metadata == {"seed": -2}
        for seed in (0, 2, IMAGES - 1):
            expected = embedding(server, pictures[seed])
            assert float(collection.vector(f"i{seed}") @ expected) > 0.999
            [hit] = collection.search([SearchQuery(expected, k=1)])[0].hits
            assert hit.id == f"i{seed}"
    finally:
        reopened.close()


def embedding(server: Server, image: bytes) -> NDArray[np.float32]:
    """What the server makes of an image."""
    uri = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    answer = httpx.post(f"{server.base_url}/v1/embeddings", json={"input": uri}, timeout=60)
    return np.array(answer.json()["data"][0]["embedding"], np.float32)
