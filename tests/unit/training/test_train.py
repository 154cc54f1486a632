"""Training: resume equals no interruption, it really learns, and the command line works."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch
from doodles import catalogue

from vitrine_training import train
from vitrine_training.data import (
    Catalogue,
    Sampler,
    augment,
    from_folder,
    read_feedback,
    together,
)
from vitrine_training.metrics import leave_one_out
from vitrine_training.model import DesignViT, DesignViTConfig
from vitrine_training.text import TextTower
from vitrine_training.train import Recipe, Trainer

if TYPE_CHECKING:
    from pathlib import Path

SMALL = DesignViTConfig(
    image_size=64,
    dim=48,
    depth=1,
    heads=3,
    embedding=32,
    stem="conv",
    conv_channels=(16, 24, 32),
    conv_blocks=(1, 1, 1),
    grid_dim=8,
)
RECIPE = Recipe(steps=6, designs=8, views=3, size=64, warmup_steps=2)


def retrieval(model: DesignViT, held_out: Catalogue) -> float:
    pixels = torch.from_numpy(np.stack([held_out.image(i) for i in range(len(held_out))]))
    with torch.inference_mode():
        x = model.normalise(pixels[..., None].expand(-1, -1, -1, 3))
        return float(leave_one_out(model(x).numpy(), held_out.design)["mAP"].mean())


def test_resumed_training_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    data = catalogue(designs=16)
    start = DesignViT.from_seed(0, SMALL)
    straight = Trainer(data, start, RECIPE)
    for _ in range(6):
        straight.train_step()
    first = Trainer(data, start, RECIPE)
    for _ in range(3):
        first.train_step()
    first.save(tmp_path / "checkpoint.pt")
    del first
    second = Trainer(data, start, RECIPE)
    second.resume(tmp_path / "checkpoint.pt")
    for _ in range(3):
        second.train_step()
    for whole, resumed in ((straight.parts, second.parts), (straight.averaged, second.averaged)):
        ours, theirs = whole.state_dict(), resumed.state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_killed_run_continues_where_it_stopped(tmp_path: Path) -> None:
    data = catalogue(designs=16)
    start = DesignViT.from_seed(0, SMALL)
    train.run(Trainer(data, start, RECIPE), tmp_path / "a", checkpoint_every=2)
    # the same, but killed after the checkpoint of step 4
    killed = Trainer(data, start, RECIPE)
    for _ in range(4):
        killed.train_step()
    (tmp_path / "b").mkdir()
    killed.save(tmp_path / "b" / "checkpoint.pt")
    train.run(Trainer(data, start, RECIPE), tmp_path / "b", checkpoint_every=2)
    for name in ("model.safetensors", "text.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert "contrast" in (tmp_path / "a" / "loss.svg").read_text()
    assert DesignViT.load(tmp_path / "a").trained


def test_resume_refuses_another_recipe_but_lets_the_length_change(tmp_path: Path) -> None:
    data = catalogue(designs=16)
    start = DesignViT.from_seed(0, SMALL)
    Trainer(data, start, RECIPE).save(tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="temperature"):
        Trainer(data, start, replace(RECIPE, temperature=0.2)).resume(tmp_path / "checkpoint.pt")
    Trainer(data, start, replace(RECIPE, steps=9)).resume(tmp_path / "checkpoint.pt")


def test_learning_rate_warms_up_holds_and_falls_to_zero() -> None:
    trainer = Trainer(
        catalogue(designs=8),
        DesignViT.from_seed(0, SMALL),
        replace(RECIPE, steps=100, warmup_steps=10, cooldown=0.2, learning_rate=1.0),
    )
    rates = [trainer.learning_rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[50] == rates[80] == 1.0
    assert rates[90] == pytest.approx(0.5)
    assert rates[100] == 0.0


@pytest.mark.slow
def test_a_minute_of_training_beats_the_untrained_start() -> None:
    data = catalogue(designs=120, views=6, seed=1)
    held_out = catalogue(designs=40, views=4, seed=2)
    start = DesignViT.from_seed(0, SMALL)
    before = retrieval(start, held_out)
    trainer = Trainer(
        data, start, replace(RECIPE, steps=220, designs=24, ema=0.98, warmup_steps=20)
    )
    for _ in range(trainer.recipe.steps):
        terms = trainer.train_step()
    after = retrieval(trainer.encoder, held_out)
    assert set(terms) >= {"contrast", "arcface", "classes", "language"}
    assert after > before + 0.08, f"{before:.3f} untrained, {after:.3f} trained"
    tower = trainer.text
    assert tower is not None
    words = [data.texts[i][0] for i in range(0, len(data), 6)]
    with torch.inference_mode():
        pixels = torch.from_numpy(np.stack([data.image(i) for i in range(0, len(data), 6)]))
        x = trainer.encoder.normalise(pixels[..., None].expand(-1, -1, -1, 3))
        scores = tower.encode(words) @ trainer.encoder(x).T
    top = scores.topk(10, dim=1).indices
    found = (top == torch.arange(len(words))[:, None]).any(dim=1).float().mean()
    assert found > 3 * 10 / len(words)


def test_classes_of_one_name_are_one_class_and_unnamed_ones_none() -> None:
    mine = catalogue(designs=6, views=2)
    other = replace(catalogue(designs=6, views=2), class_names=["", "tall", "", "new", "x", "y"])
    both = together([mine, other])
    assert both.class_names == [*mine.class_names, "", "", "new", "x", "y"]
    assert both.subclass[12:].tolist() == [6, 6, 1, 1, 7, 7, 8, 8, 9, 9, 10, 10]

    recipe = replace(RECIPE, arcface=False, language=False)
    named = Trainer(mine, DesignViT.from_seed(0, SMALL), recipe)
    assert named.train_step()["classes"] > 0
    unnamed = replace(mine, class_names=[""] * 6)
    assert "classes" not in Trainer(unnamed, DesignViT.from_seed(0, SMALL), recipe).train_step()


def test_batches_depend_on_seed_and_step_alone() -> None:
    data = catalogue(designs=30)
    one = Sampler(data, designs=8, views=3, per_class=2, seed=5)
    two = Sampler(data, designs=8, views=3, per_class=2, seed=5)
    two.batch(0)
    assert np.array_equal(one.batch(7), two.batch(7))
    assert not np.array_equal(one.batch(7), one.batch(8))
    picked = one.batch(3)
    designs, counts = np.unique(data.design[picked], return_counts=True)
    assert len(designs) == 8
    assert set(counts.tolist()) == {3}
    assert len(set(picked.tolist())) == 24


def test_augmentation_keeps_shape_and_mostly_the_drawing() -> None:
    data = catalogue(designs=2)
    rng = np.random.default_rng(0)
    for _ in range(40):
        image = augment(data.image(0), 32, rng)
        assert image.shape == (32, 32, 3)
        assert image.dtype == np.uint8
        assert image.mean() > 150
        assert image.min() < 200


def write_folder(folder: Path) -> Path:
    """Eight doodle designs as PNG files with their CSV; returns the CSV."""
    data = catalogue(designs=8)
    folder.mkdir()
    table = folder / "designs.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "design", "class", "text"])
        for i in range(len(data)):
            name = f"{data.design[i]}-{i}.png"
            cv2.imwrite(str(folder / name), data.image(i))
            writer.writerow([name, f"D{data.design[i]}", data.subclass[i], data.texts[i][0]])
    return table


def test_fine_tuning_on_a_folder_with_feedback(tmp_path: Path) -> None:
    table = write_folder(tmp_path / "images")
    DesignViT.from_seed(0, SMALL).save(tmp_path / "weights")
    TextTower(embedding=32).save(tmp_path / "weights")
    feedback = tmp_path / "feedback.csv"
    feedback.write_text("query,item,verdict\n0-0.png,1-4.png,wrong\n0-0.png,0-1.png,right\n")
    train.main(
        [
            *("--folder", str(tmp_path / "images"), "--csv", str(table)),
            *("--feedback", str(feedback), "--weights", str(tmp_path / "weights")),
            *("--out", str(tmp_path / "out"), "--steps", "4", "--size", "64", "--designs", "4"),
            *("--warmup-steps", "2", "--device", "cpu"),
        ]
    )
    model = DesignViT.load(tmp_path / "out")
    assert model.trained
    assert model.config == SMALL
    start = DesignViT.load(tmp_path / "weights")
    assert not torch.equal(model.head.weight, start.head.weight)
    TextTower.load(tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 4


def test_wrong_feedback_pushes_the_pair_apart() -> None:
    data = catalogue(designs=8)
    start = DesignViT.from_seed(0, SMALL)
    query, item = 0, 1  # two images of one design, judged wrong by a user
    pushed = Trainer(data, start, replace(RECIPE, language=False), feedback=[(query, item, False)])
    pulled = Trainer(data, start, replace(RECIPE, language=False), feedback=[(query, item, True)])

    def cosine(trainer: Trainer) -> float:
        for _ in range(6):
            trainer.train_step()
        pixels = torch.from_numpy(np.stack([data.image(query), data.image(item)]))
        model = trainer.parts["model"].eval()
        with torch.inference_mode():
            x = trainer.encoder.normalise(pixels[..., None].expand(-1, -1, -1, 3))
            a, b = model(x)
        return float(a @ b)

    assert cosine(pushed) < cosine(pulled)


def test_table_errors_name_the_line(tmp_path: Path) -> None:
    preprocessing = SMALL.preprocessing
    table = write_folder(tmp_path / "images")
    data = from_folder(tmp_path / "images", table, preprocessing)
    assert len(data) == 32
    assert data.designs == 8
    table.write_text("id,class\nx.png,1\n")
    with pytest.raises(ValueError, match="column 'design'"):
        from_folder(tmp_path / "images", table, preprocessing)
    table.write_text("id,design\nmissing.png,1\n")
    with pytest.raises(ValueError, match="line 2"):
        from_folder(tmp_path / "images", table, preprocessing)
    (tmp_path / "images" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    table.write_text("id,design\nbad.png,1\n")
    with pytest.raises(ValueError, match=r"line 2.*bad\.png"):
        from_folder(tmp_path / "images", table, preprocessing)
    feedback = tmp_path / "feedback.csv"
    feedback.write_text("query,item,verdict\nnobody.png,0-0.png,wrong\n")
    with pytest.raises(ValueError, match=r"line 2.*nobody"):
        read_feedback(feedback, data)
