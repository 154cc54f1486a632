"""Search by words: a text tower that is exported here, served by Triton, asked with the client."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from vitrine_client import Client, Query, errors
from vitrine_export import text_export
from vitrine_export.text import TextTower
from vitrine_server import manifest, tokens
from vitrine_training.text import TextTower as HashedTower

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from serving import Server

pytestmark = [pytest.mark.triton, pytest.mark.slow]

TEXTS = ["a folding chair", "table lamp with a shade", "水瓶"]


@pytest.fixture(scope="module")
def tower() -> HashedTower:
    torch.manual_seed(1)
    return HashedTower(buckets=512, dim=32, embedding=256).eval()


@pytest.fixture(scope="module")
def texts_server(
    tower: HashedTower,
    published: Path,
    new_server: Callable[..., Server],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    repository = tmp_path_factory.mktemp("models")
    shutil.copytree(published / "image_encoder", repository / "image_encoder")
    image_folder = repository / "image_encoder" / "1"
    described = TextTower(module=tower, kind="hashed", length=tokens.MAX_TOKENS, buckets=512)
    built = text_export.build(
        described, manifest.load(image_folder), work=tmp_path_factory.mktemp("work")
    )
    text_export.install(built, image_folder)
    server = new_server(repository)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def client(texts_server: Server, tower: HashedTower) -> Iterator[Client]:
    with Client(texts_server.base_url) as vitrine:
        for text, vector in zip(TEXTS, tower.encode(TEXTS).numpy(), strict=True):
            vitrine.put_item(text, vector=vector)
        yield vitrine


def test_a_text_finds_what_its_tower_says(client: Client, tower: HashedTower) -> None:
    for text in TEXTS:
        hit = client.search(text=text, k=1).hits[0]
        assert hit.id == text
        assert hit.score == pytest.approx(1, abs=1e-3)
    words = "chair with a lamp"
    expected = tower.encode([words]).numpy()[0] @ tower.encode(TEXTS).numpy().T
    hits = client.search(text=words, k=3).hits
    found = {hit.id: hit.score for hit in hits}
    assert [found[text] for text in TEXTS] == pytest.approx(expected.tolist(), abs=2e-3)


def test_texts_and_vectors_are_one_query(client: Client, tower: HashedTower) -> None:
    parts = tower.encode(TEXTS[:2]).numpy()
    queries = [Query(text=TEXTS[0], weight=2), Query(vector=parts[1], weight=1)]
    total = 2 * parts[0] + parts[1]
    expected = parts[0] @ total / np.linalg.norm(total)
    assert client.search(queries=queries, k=1).hits[0].score == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("text", ["", "  ", "...", "a" * 5000])
def test_a_text_without_words_is_refused(client: Client, text: str) -> None:
    with pytest.raises(errors.Invalid) as refused:
        client.search(text=text)
    assert refused.value.field == "text"


def test_the_command_searches_by_words(client: Client, texts_server: Server) -> None:
    command = [Path(sys.executable).with_name("vitrine"), "search", "--text", TEXTS[1], "--json"]
    answer = subprocess.run(
        [*command, "--url", texts_server.base_url], capture_output=True, text=True, check=True
    )
    assert json.loads(answer.stdout)["hits"][0]["id"] == TEXTS[1]
