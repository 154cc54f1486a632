"""Search by words: the text tower that ships, exported, served by Triton, asked with the client."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from serving import REPOSITORY

from vitrine_client import Client, Item, Query, errors
from vitrine_training.corpus import draw
from vitrine_training.corpus.registry import SUBCLASSES
from vitrine_training.text import TextTower

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Server

pytestmark = [pytest.mark.triton, pytest.mark.slow]

TEXTS = ["a folding chair", "table lamp with a shade", "水瓶"]
CLASSES = (
    *("bag", "bottle", "bowl", "camera", "car", "chair", "cup", "fan", "glasses", "hammer"),
    *("headphones", "kettle", "knife", "lamp", "laptop", "pan", "shoe", "sofa", "table", "watch"),
)
SEEDS = (101, 102)  # of designs that no training drew
VIEWS = (0, 1)


@pytest.fixture(scope="module")
def tower() -> TextTower:
    return TextTower.load(REPOSITORY / "training" / "weights" / "design-vit")


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.base_url) as vitrine:
        for name in ("words", "drawings"):
            vitrine.put_collection(name)
        yield vitrine
        for name in ("words", "drawings"):
            vitrine.delete_collection(name)


@pytest.fixture(scope="module")
def words(client: Client, tower: TextTower) -> str:
    """A collection of the embeddings of TEXTS."""
    vectors = tower.encode(TEXTS).numpy()
    for text, vector in zip(TEXTS, vectors, strict=True):
        client.put_item(text, vector=vector, collection="words")
    return "words"


@pytest.fixture(scope="module")
def drawings(client: Client) -> str:
    """A collection of two views of two designs of each class."""
    items = [
        Item(
            id=f"{subclass}-{seed}-{view}",
            image=_png(draw(seed, view=view, size=224, subclass=subclass)),
            metadata={"class": subclass},
        )
        for subclass in CLASSES
        for seed in SEEDS
        for view in VIEWS
    ]
    stored = client.put_items(items, collection="drawings")
    assert [one.error for one in stored] == [None] * len(items)
    return "drawings"


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("language", ["English", "Chinese"])
def test_the_name_of_a_thing_finds_drawings_of_it(
    client: Client, drawings: str, language: str
) -> None:
    found = []
    for subclass in CLASSES:
        name = SUBCLASSES[subclass].names[0][("English", "Chinese").index(language)]
        hits = client.search(text=name, k=10, collection=drawings).hits
        found.append(subclass in [hit.metadata["class"] for hit in hits])
    # ten drawings of eighty, four of each class: chance finds 8 of 20, this tower finds 18
    assert sum(found) >= 15, [name for name, hit in zip(CLASSES, found, strict=True) if not hit]


def test_a_text_finds_what_its_tower_says(client: Client, words: str, tower: TextTower) -> None:
    for text in TEXTS:
        hit = client.search(text=text, k=1, collection=words).hits[0]
        assert hit.id == text
        assert hit.score == pytest.approx(1, abs=1e-3)
    asked = "chair with a lamp"
    expected = tower.encode([asked]).numpy()[0] @ tower.encode(TEXTS).numpy().T
    hits = client.search(text=asked, k=3, collection=words).hits
    found = {hit.id: hit.score for hit in hits}
    assert [found[text] for text in TEXTS] == pytest.approx(expected.tolist(), abs=2e-3)


def test_texts_and_vectors_are_one_query(client: Client, words: str, tower: TextTower) -> None:
    parts = tower.encode(TEXTS[:2]).numpy()
    queries = [Query(text=TEXTS[0], weight=2), Query(vector=parts[1], weight=1)]
    total = 2 * parts[0] + parts[1]
    expected = parts[0] @ total / np.linalg.norm(total)
    hits = client.search(queries=queries, k=1, collection=words).hits
    assert hits[0].score == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("text", ["", "  ", "...", "a" * 5000])
def test_a_text_without_words_is_refused(client: Client, text: str) -> None:
    with pytest.raises(errors.Invalid) as refused:
        client.search(text=text)
    assert refused.value.field == "text"


def test_the_command_searches_by_words(server: Server, words: str) -> None:
    command = [Path(sys.executable).with_name("vitrine"), "search", "--text", TEXTS[1], "--json"]
    answer = subprocess.run(
        [*command, "--collection", words, "--url", server.base_url],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(answer.stdout)["hits"][0]["id"] == TEXTS[1]
