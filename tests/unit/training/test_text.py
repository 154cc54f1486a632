"""Tokens and the text tower."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from vitrine_server.tokens import MAX_TOKENS, PADDING, pieces, tokenise
from vitrine_training.text import TextTower

if TYPE_CHECKING:
    from pathlib import Path


def test_pieces_of_english_and_chinese() -> None:
    assert pieces("A Lamp") == [
        "<lamp>",
        "<la",
        "lam",
        "amp",
        "mp>",
        "<lam",
        "lamp",
        "amp>",
        "<lamp",
        "lamp>",
    ]
    assert pieces("椅子，带扶手") == ["椅", "子", "椅子", "带", "扶", "手", "带扶", "扶手"]
    assert pieces("ＬＡＭＰ") == pieces("lamp")


def test_inflections_share_pieces() -> None:
    one, many = set(pieces("bottle")), set(pieces("bottles"))
    assert len(one & many) > len(one) / 2


def test_ids_are_stable_bounded_and_padded() -> None:
    ids = tokenise(["lamp", "", "word " * 1000], buckets=1000)
    assert ids.shape == (3, MAX_TOKENS)
    assert ids.dtype == np.int64
    # CRC-32 is the same everywhere; another hash would orphan every trained table
    assert ids[0, 0] == 590
    assert (ids[1] == PADDING).all()
    assert (ids[2] != PADDING).all()
    assert ids.max() < 1000


def test_padding_changes_nothing() -> None:
    tower = TextTower(embedding=32).eval()
    ids = torch.from_numpy(tokenise(["a green lamp"], buckets=tower.buckets))
    used = int((ids != PADDING).sum())
    torch.testing.assert_close(tower(ids), tower(ids[:, :used]))
    assert float(tower(ids).detach().norm()) == pytest.approx(1.0, abs=1e-5)
    assert torch.isfinite(tower.encode([""])).all()


def test_saved_tower_is_the_same_function(tmp_path: Path) -> None:
    tower = TextTower(embedding=32).eval()
    tower.save(tmp_path)
    texts = ["chair with four legs", "椅子，四条腿"]
    assert torch.equal(TextTower.load(tmp_path).encode(texts), tower.encode(texts))
