"""Scenarios ask what they say, and know a wrong answer when they see one."""

from __future__ import annotations

import asyncio
import io
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from fake_server import Answer, FakeVitrine, Problem, serve
from fake_server import Request as Asked
from PIL import Image

from harness.gallery import fill
from harness.pictures import content_type, load_folder, salted, zipf
from harness.saturate import saturate
from harness.scenarios import Mix, Request, make, open_mix, parse_mix
from harness.stages import StageLog
from harness.wire import Target

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from harness.gallery import Gallery


@pytest.fixture
def gallery(url: str, folder: Path) -> Gallery:
    return fill(url, load_folder(folder), collection="load")


def send(url: str, request: Request) -> httpx.Response:
    headers = dict(request.headers)
    address = url + request.path
    return httpx.request(request.method, address, headers=headers, content=request.body)


def test_a_gallery_is_filled_once(url: str, folder: Path, fake: FakeVitrine) -> None:
    pictures = load_folder(folder)
    gallery = fill(url, pictures, collection="load")
    stored = len(fake.stored_ids)
    again = fill(url, pictures, collection="load")
    assert stored == len(fake.stored_ids) == 20
    assert (gallery.vectors == again.vectors).all()
    with pytest.raises(SystemExit, match="holds 20 items"):
        fill(url, pictures[:10], collection="load")


@pytest.mark.parametrize("name", ["image", "vector", "mixed", "ingest"])
def test_right_answers_pass_and_wrong_ones_do_not(
    url: str, gallery: Gallery, fake: FakeVitrine, name: str
) -> None:
    scenario = make(name, gallery, exponent=0.8, fresh=True, seed=1)
    for number in range(25):
        request = scenario.request(number)
        answer = send(url, request)
        assert answer.status_code == 200, answer.text
        assert request.is_right is not None
        assert request.is_right(answer.content)
        wrong: dict[str, Any] = {"hits": [{"id": "else", "score": 1.0}], "id": "else", "stored": 0}
        assert not request.is_right(json.dumps(wrong).encode())
        if "hits" in answer.json():
            body = answer.json()
            for hit in body["hits"]:
                hit["score"] = 0.5
            assert not request.is_right(json.dumps(body).encode())


def test_recall_is_measured_against_exhaustive_search(url: str, gallery: Gallery) -> None:
    mix = Mix([(make("image", gallery, exponent=0.0, fresh=True, seed=0), 1)])
    for number in range(10):
        _, request = mix.request(number)
        body = send(url, request).content
        assert request.is_right is not None
        request.is_right(body)
    assert mix.recall() == 1.0
    _, request = mix.request(10)
    hits = json.loads(send(url, request).content)["hits"]
    assert request.is_right is not None
    request.is_right(json.dumps({"hits": hits[:5]}).encode())
    assert mix.recall() == pytest.approx(10.5 / 11)


def test_a_mix_holds_its_weights_and_repeats_from_its_seed(gallery: Gallery) -> None:
    def stream(seed: int) -> list[tuple[int, bytes]]:
        pairs = [
            (make(name, gallery, exponent=0.8, fresh=True, seed=seed), weight)
            for name, weight in parse_mix("image:3, vector")
        ]
        mix = Mix(pairs, seed=seed)
        drawn = [mix.request(number) for number in range(400)]
        return [(index, request.body) for index, request in drawn]

    first = stream(1)
    assert stream(1) == first
    assert stream(2) != first
    assert Counter(index for index, _ in first)[0] == pytest.approx(300, abs=40)


def test_salt_changes_bytes_and_not_pixels(folder: Path) -> None:
    for picture in load_folder(folder):
        first, second = salted(picture.data, 1), salted(picture.data, 2)
        assert len({first, second, picture.data}) == 3
        assert content_type(first) == content_type(picture.data)
        images = [np.asarray(Image.open(io.BytesIO(data))) for data in (picture.data, first)]
        assert (images[0] == images[1]).all()
        Image.open(io.BytesIO(first)).verify()


def test_a_cache_gets_repeated_bytes_only_when_asked(gallery: Gallery) -> None:
    def distinct(fresh: bool) -> int:
        scenario = make("image", gallery, exponent=1.0, fresh=fresh, seed=0)
        return len({scenario.request(number).body for number in range(200)})

    assert distinct(fresh=True) == 200
    assert distinct(fresh=False) <= 20


def test_zipf_repeats_as_the_law_says() -> None:
    draws = zipf(1000, 200_000, exponent=0.8, seed=0)
    counts = np.sort(np.bincount(draws, minlength=1000))[::-1]
    assert counts[0] / counts[9] == pytest.approx(10**0.8, rel=0.1)
    assert counts[0] / counts[99] == pytest.approx(100**0.8, rel=0.15)
    uniform = np.bincount(zipf(10, 10_000, exponent=0, seed=0))
    assert uniform.std() < 100


def test_stages_of_workers_merge() -> None:
    master, worker = StageLog(), StageLog()
    worker.add("decode;dur=2.0, search;dur=1.0")
    worker.add("decode;dur=4.0")
    worker.add(None)
    master.merge(json.loads(json.dumps(worker.take())))
    master.merge(worker.take())
    rows = {row["name"]: (row["count"], row["mean_ms"]) for row in master.rows()}
    assert rows == {"decode": (2, 3.0), "search": (1, 1.0)}


class WithText(FakeVitrine):
    """Its text tower sees one word alike."""

    def query_vector(self, name: str, part: Mapping[str, Any]) -> NDArray[np.float32]:
        if "text" in part:
            return np.full(64, len(part["text"]), np.float32)
        return super().query_vector(name, part)


class WithoutText(FakeVitrine):
    def query_vector(self, name: str, part: Mapping[str, Any]) -> NDArray[np.float32]:
        if "text" in part:
            raise Problem(422, "text_not_supported", "Encoder 'thumbnail' has no text tower.")
        return super().query_vector(name, part)


def test_text_is_asked_for_and_its_answer_must_not_change(folder: Path) -> None:
    with serve(WithText()) as url:
        gallery = fill(url, load_folder(folder), collection="load")
        mix = open_mix("text", gallery, exponent=0, fresh=True, seed=0)
        _, request = mix.request(0)
        answer = send(url, request)
        assert answer.status_code == 200
        assert request.is_right is not None
        assert request.is_right(answer.content)
        assert request.is_right(answer.content)
        body = answer.json()
        body["hits"][0]["id"] = "another"
        assert not request.is_right(json.dumps(body).encode())
        assert not request.is_right(b'{"hits": []}')


def test_text_is_left_out_where_there_is_no_text_tower(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(WithoutText()) as url:
        gallery = fill(url, load_folder(folder), collection="load")
        mix = open_mix("text:9,vector", gallery, exponent=0, fresh=True, seed=0)
        assert mix.names == ("vector search",)
        assert "left out: Encoder 'thumbnail' has no text tower." in capsys.readouterr().out
        with pytest.raises(SystemExit, match="Nothing of the mix 'text'"):
            open_mix("text", gallery, exponent=0, fresh=True, seed=0)


def test_an_unknown_scenario_is_named() -> None:
    with pytest.raises(SystemExit, match="no scenario 'vide'"):
        make("vide", None, exponent=0, fresh=True, seed=0)  # type: ignore[arg-type]


class WithKey(WithText):
    """Answers nobody without its key."""

    def answer(self, request: Asked) -> Answer:
        if request.headers.get("authorization") == "Bearer vtr_right":
            return super().answer(request)
        return Answer(401, b'{"status": 401, "code": "unauthorized", "detail": "No key."}')


def test_every_request_has_the_environments_key(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(WithKey()) as url:
        monkeypatch.setenv("VITRINE_API_KEY", "vtr_right")
        gallery = fill(url, load_folder(folder), collection="load")
        mix = open_mix("image,text", gallery, exponent=0, fresh=True, seed=0)

        def ask(target: Target) -> dict[int, int]:
            def request(number: int) -> bytes:
                asked = mix.request(number)[1]
                return target.encode(
                    asked.method, asked.path, headers=asked.headers, body=asked.body
                )

            running = saturate(target, request, connections=1, seconds=0.2, warmup_s=0)
            return asyncio.run(running).statuses

        assert ask(Target.of(url)).keys() == {200}
        monkeypatch.delenv("VITRINE_API_KEY")
        assert ask(Target.of(url)).keys() == {401}
