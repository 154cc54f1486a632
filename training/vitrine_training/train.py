"""Train DesignViT on a corpus, or fine-tune it on a catalogue: `python -m vitrine_training.train`.

The loss is a sum, weighted by learned uncertainties, of: supervised contrast between the images of
a design, ArcFace on the design's identity and on its class, and contrast with its texts. Designs of
rare classes weigh more; near-copies are no negatives of one another.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from vitrine_server.tokens import tokenise
from vitrine_training import data
from vitrine_training.losses import (
    ArcFace,
    UncertaintyWeights,
    effective_number_weights,
    multi_positive_nce,
    nearest_positive,
)
from vitrine_training.model import CONFIG_FILE, DesignViT, DesignViTConfig
from vitrine_training.plot import write_loss_plot
from vitrine_training.pretrained import PretrainedEncoder
from vitrine_training.text import TextTower

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Encoder = DesignViT | PretrainedEncoder
CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"


@dataclass(frozen=True)
class Recipe:
    """Everything besides the data that decides the result.

    steps: total; may be changed between two runs of one training (the learning rate is constant
    until the last `cooldown` of them, then falls linearly to zero). size: pixels that the tokens of
    a DesignViT are trained on; other encoders have one size. temperature: of the image contrast.
    nearest_positive: contrast an image with the most similar other view of its design only, because
    a front and a bottom view in two styles share nothing but what the thing is. arcface, classes,
    language: whether these terms take part. bf16: mixed precision, where the machine has it; a
    small convolutional model trains twice as fast on a CPU without.
    """

    steps: int = 4000
    designs: int = 48
    views: int = 3
    per_class: int = 4
    size: int = 112
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_steps: int = 200
    cooldown: float = 0.3
    ema: float = 0.999
    temperature: float = 0.1
    nearest_positive: bool = True
    arcface: bool = True
    classes: bool = True
    language: bool = True
    bf16: bool = True
    seed: int = 0


class Trainer:
    """The state of a training and its one step; everything it holds is in its checkpoint."""

    def __init__(
        self,
        catalogue: data.Catalogue,
        model: Encoder,
        recipe: Recipe,
        *,
        text: TextTower | None = None,
        feedback: Sequence[tuple[int, int, bool]] = (),
        device: str = "cpu",
    ) -> None:
        self.catalogue, self.recipe = catalogue, recipe
        self._served = model.config
        self.device = torch.device(device)
        self.step = 0
        self.feedback = feedback
        self.sampler = data.Sampler(
            catalogue,
            designs=recipe.designs,
            views=recipe.views,
            per_class=recipe.per_class,
            seed=recipe.seed,
            feedback=feedback,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            parts: dict[str, nn.Module] = {"model": _for_training(model, recipe.size)}
            names = ["contrast"]
            if recipe.arcface:
                parts["arcface"] = ArcFace(catalogue.designs, model.config.embedding)
                names.append("arcface")
            if recipe.classes and len(set(catalogue.class_names) - {""}) > 1:
                parts["classes"] = ArcFace(len(catalogue.class_names), model.config.embedding)
                names.append("classes")
            if recipe.language and any(catalogue.texts):
                parts["text"] = text or TextTower(embedding=model.config.embedding)
                parts["scale"] = _Scale()
                names.append("language")
            parts["weights"] = UncertaintyWeights(names)
        self.parts = nn.ModuleDict(parts).to(self.device).train()
        if self.device.type == "cpu":
            # convolutions are about a fifth faster in this layout
            self.parts.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = copy.deepcopy(self.parts).eval().requires_grad_(False)
        self.optimiser = torch.optim.AdamW(_groups(self.parts, recipe), lr=recipe.learning_rate)
        counts = torch.bincount(torch.from_numpy(catalogue.subclass))
        self._class_weights = effective_number_weights(counts)
        first = np.unique(catalogue.design, return_index=True)[1]
        self._families = torch.from_numpy(catalogue.family[first]).to(self.device)
        self._named = torch.tensor([bool(name) for name in catalogue.class_names])
        self._bf16 = recipe.bf16 and (
            self.device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
        )

    @property
    def encoder(self) -> Encoder:
        """The averaged model (EMA), in eval mode, at the training size."""
        model = self.averaged["model"]
        assert isinstance(model, Encoder)
        return model

    def export(self, folder: Path) -> None:
        """Write the averaged encoder, at the size that it is served at, and the text tower."""
        model = self.encoder
        if isinstance(model, DesignViT):
            assert isinstance(self._served, DesignViTConfig)
            model = model.at_size(self._served.image_size, shrink=self._served.shrink)
            model.trained = True
        model.save(folder)
        if self.text is not None:
            self.text.save(folder)

    @property
    def text(self) -> TextTower | None:
        """The averaged text tower, if texts take part."""
        for part in self.averaged.values():
            if isinstance(part, TextTower):
                return part
        return None

    def learning_rate(self, step: int) -> float:
        recipe = self.recipe
        warm = min(1.0, (step + 1) / recipe.warmup_steps)
        left = (recipe.steps - step) / max(1.0, recipe.cooldown * recipe.steps)
        return recipe.learning_rate * warm * min(1.0, left)

    def train_step(self) -> dict[str, float]:
        """One batch; returns the terms of the loss."""
        picked = self.sampler.batch(self.step)
        pixels = torch.from_numpy(self._pixels(picked)).to(self.device)
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate(self.step)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            model = self.parts["model"]
            assert isinstance(model, Encoder)
            x = model.normalise(pixels)
            if self.device.type == "cpu":
                x = x.contiguous(memory_format=torch.channels_last)
            embeddings = model(x)
        terms = self._terms(embeddings.float(), picked)
        loss = self.parts["weights"](terms)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parts.parameters(), 1.0, error_if_nonfinite=True)
        self.optimiser.step()
        self.step += 1
        self._average()
        values = {name: float(term.detach()) for name, term in terms.items()}
        return values | {"loss": float(loss.detach()), "gradient_norm": float(norm)}

    def _pixels(self, picked: NDArray[np.int64]) -> NDArray[np.uint8]:
        rng = np.random.default_rng([self.recipe.seed, self.step, 1])
        size = self.encoder.config.image_size
        return np.stack([data.augment(self.catalogue.image(int(i)), size, rng) for i in picked])

    def _terms(self, embeddings: Tensor, picked: NDArray[np.int64]) -> dict[str, Tensor]:
        catalogue, recipe = self.catalogue, self.recipe
        design = torch.from_numpy(catalogue.design[picked]).to(self.device)
        family = self._families[design]
        weights = self._class_weights[torch.from_numpy(catalogue.subclass[picked])].to(self.device)
        same = design[:, None] == design[None, :]
        itself = torch.eye(len(picked), dtype=torch.bool, device=self.device)
        related = (family[:, None] == family[None, :]) & ~same
        positive = same & ~itself
        if recipe.nearest_positive:
            nearest = nearest_positive(embeddings.detach(), positive)
            related |= positive & ~nearest
            positive = nearest
        self._apply_feedback(positive, related, picked)
        terms = {
            "contrast": multi_positive_nce(
                embeddings,
                embeddings,
                positive,
                itself | (related & ~positive),
                temperature=recipe.temperature,
                weights=weights,
            )
        }
        if "arcface" in self.parts:
            ignored = family[:, None] == self._families[None, :]
            ignored[torch.arange(len(picked), device=self.device), design] = False
            terms["arcface"] = self.parts["arcface"](embeddings, design, ignored, weights)
        if "classes" in self.parts:
            terms["classes"] = self._class_term(embeddings, picked)
        if "text" in self.parts:
            terms["language"] = self._language(embeddings, picked, weights)
        return terms

    def _class_term(self, embeddings: Tensor, picked: NDArray[np.int64]) -> Tensor:
        """ArcFace on classes: views that share nothing else still show one kind of thing."""
        subclass = torch.from_numpy(self.catalogue.subclass[picked])
        named = self._named[subclass].to(embeddings)
        if not named.any():
            return embeddings.sum() * 0.0
        weights = named * self._class_weights[subclass].to(embeddings)
        subclass = subclass.to(self.device)
        none = torch.zeros(len(picked), len(self._named), dtype=torch.bool, device=self.device)
        term: Tensor = self.parts["classes"](embeddings, subclass, none, weights)
        return term

    def _apply_feedback(self, positive: Tensor, related: Tensor, picked: NDArray[np.int64]) -> None:
        """The batch's last two images are a judged pair: a positive, or a negative for certain."""
        if not self.feedback:
            return
        right = self.feedback[self.step % len(self.feedback)][2]
        last = len(picked) - 1
        for i, j in ((last - 1, last), (last, last - 1)):
            positive[i, j] = right
            related[i, j] = False

    def _language(self, embeddings: Tensor, picked: NDArray[np.int64], weights: Tensor) -> Tensor:
        rng = np.random.default_rng([self.recipe.seed, self.step, 2])
        chosen = [(row, self.catalogue.texts[int(i)]) for row, i in enumerate(picked)]
        told = [(row, texts[int(rng.integers(len(texts)))]) for row, texts in chosen if texts]
        if not told:
            return embeddings.sum() * 0.0
        rows = torch.tensor([row for row, _ in told], device=self.device)
        tower, scale = self.parts["text"], self.parts["scale"]
        assert isinstance(tower, TextTower)
        assert isinstance(scale, _Scale)
        ids = torch.from_numpy(tokenise([text for _, text in told], buckets=tower.buckets))
        words = tower(ids.to(self.device))
        pictures = embeddings[rows]
        design = torch.from_numpy(self.catalogue.design[picked]).to(self.device)[rows]
        # two designs may have one caption: then either picture is right
        caption = {text: number for number, (_, text) in enumerate(told)}
        number = torch.tensor([caption[text] for _, text in told], device=self.device)
        positive = (design[:, None] == design[None, :]) | (number[:, None] == number[None, :])
        none = torch.zeros_like(positive)
        temperature = scale()
        weight = weights[rows]
        one = multi_positive_nce(
            pictures, words, positive, none, temperature=temperature, weights=weight
        )
        other = multi_positive_nce(
            words, pictures, positive, none, temperature=temperature, weights=weight
        )
        return (one + other) / 2

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        old, new = self.averaged.state_dict(), self.parts.state_dict()
        for name, value in old.items():
            if value.is_floating_point():
                value.lerp_(new[name], 1.0 - decay)
            else:
                value.copy_(new[name])

    def save(self, path: Path) -> None:
        """Write the checkpoint atomically: a kill leaves the old one or the new one."""
        state = {
            "step": self.step,
            "recipe": dataclasses.asdict(self.recipe),
            "parts": self.parts.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint. Raises ValueError when it is of another training."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        mine = dataclasses.asdict(self.recipe)
        differing = [
            key for key in mine if key != "steps" and state["recipe"].get(key) != mine[key]
        ]
        if differing:
            raise ValueError(f"{path} was trained with another {', '.join(differing)}")
        self.parts.load_state_dict(state["parts"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = int(state["step"])


class _Scale(nn.Module):
    """CLIP's learned temperature, from 0.07 and never under 0.01."""

    def __init__(self) -> None:
        super().__init__()
        self.logarithm = nn.Parameter(torch.tensor(math.log(0.07)))

    def forward(self) -> Tensor:
        return self.logarithm.exp().clamp(min=0.01)


def load_encoder(folder: Path) -> Encoder:
    """A DesignViT or a Hugging Face checkpoint. Raises what their `load` raises."""
    document = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    if "model_type" in document:
        return PretrainedEncoder.load(folder)
    return DesignViT.load(folder)


def _for_training(model: Encoder, size: int) -> Encoder:
    return model.for_training(size) if isinstance(model, DesignViT) else copy.deepcopy(model)


def _groups(parts: nn.ModuleDict, recipe: Recipe) -> list[dict[str, Any]]:
    """Matrices decay; vectors, tables and centres do not."""
    decay: list[nn.Parameter] = []
    keep: list[nn.Parameter] = []
    for name, parameter in parts.named_parameters():
        free = parameter.ndim < 2 or "positions" in name or "centres" in name or "table" in name
        (keep if free else decay).append(parameter)
    return [
        {"params": decay, "weight_decay": recipe.weight_decay},
        {"params": keep, "weight_decay": 0.0},
    ]


def run(trainer: Trainer, out: Path, *, checkpoint_every: int) -> None:
    """Train until `recipe.steps`, with a log, a loss plot, checkpoints and the weights in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / CHECKPOINT
    if checkpoint.exists():
        trainer.resume(checkpoint)
    recipe = trainer.recipe
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    sums: dict[str, float] = {}
    count, images, since = 0, 0, time.monotonic()
    with Progress(*columns) as progress, (out / LOG).open("a", encoding="utf-8") as log:
        bar = progress.add_task("training", total=recipe.steps, completed=trainer.step, note="")
        while trainer.step < recipe.steps:
            for name, value in trainer.train_step().items():
                sums[name] = sums.get(name, 0.0) + value
            count += 1
            images += recipe.designs * recipe.views
            if trainer.step % 50 == 0 or trainer.step == recipe.steps:
                rate = images / (time.monotonic() - since)
                means = {name: round(value / count, 4) for name, value in sums.items()}
                log.write(
                    json.dumps({"step": trainer.step, "images_per_s": round(rate, 1)} | means)
                )
                log.write("\n")
                log.flush()
                progress.update(bar, note=f"loss {means['loss']:.3f}, {rate:.0f} images/s")
                sums, count, images, since = {}, 0, 0, time.monotonic()
            if trainer.step % checkpoint_every == 0 or trainer.step == recipe.steps:
                trainer.save(checkpoint)
                trainer.export(out)
                write_loss_plot(out / LOG, out / "loss.svg")
            progress.update(bar, completed=trainer.step)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="vitrine_training.train", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--corpus", type=Path, nargs="+", help="folders of vitrine_training.corpus or .freeforms"
    )
    source.add_argument("--folder", type=Path, help="images to fine-tune on, with --csv")
    parser.add_argument("--csv", type=Path, help="columns id, design, class, text")
    parser.add_argument("--feedback", type=Path, help="CSV: query, item, verdict (right or wrong)")
    parser.add_argument(
        "--weights", type=Path, help="start from this folder: design-vit or a Hugging Face encoder"
    )
    parser.add_argument("--model", type=Path, help="JSON of DesignViTConfig, for a fresh model")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--checkpoint-every", type=int, default=500, help="steps")
    for field in dataclasses.fields(Recipe):
        flag = "--" + field.name.replace("_", "-")
        if isinstance(field.default, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=field.default)
        else:
            parser.add_argument(flag, type=type(field.default), default=field.default)
    parsed = parser.parse_args(arguments)
    if parsed.folder and not parsed.csv:
        parser.error("--folder needs --csv, a table of the columns id, design, class, text")
    if parsed.weights and parsed.model:
        parser.error("--weights and --model exclude each other: weights bring their own shape")
    return parsed


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line entry point."""
    options = _parse(arguments)
    recipe = Recipe(**{f.name: getattr(options, f.name) for f in dataclasses.fields(Recipe)})
    text = None
    model: Encoder
    if options.weights:
        model = load_encoder(options.weights)
        if recipe.language and not isinstance(model, DesignViT):
            raise SystemExit("a pretrained encoder has its own words: add --no-language")
        if (options.weights / "text.json").exists():
            text = TextTower.load(options.weights)
    else:
        shape = json.loads(options.model.read_text()) if options.model else {}
        model = DesignViT.from_seed(recipe.seed, DesignViTConfig.from_dict(shape))
    if options.corpus:
        from vitrine_training.corpus import Corpus

        corpora = [data.from_corpus(Corpus.open(folder), "train") for folder in options.corpus]
        catalogue = data.together(corpora)
    else:
        catalogue = data.from_folder(options.folder, options.csv, model.config.preprocessing)
    feedback = data.read_feedback(options.feedback, catalogue) if options.feedback else []
    trainer = Trainer(catalogue, model, recipe, text=text, feedback=feedback, device=options.device)
    run(trainer, options.out, checkpoint_every=options.checkpoint_every)


if __name__ == "__main__":
    main()
