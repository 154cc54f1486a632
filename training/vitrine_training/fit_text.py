"""Fit a text tower to a trained image encoder: `python -m vitrine_training.fit_text`.

The image encoder stays as it is (locked-image tuning: Zhai et al., CVPR 2022), so its vector space
and every stored vector remain valid. Each image is encoded once, then only the tower is trained:
minutes on one core.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor

from vitrine_server.tokens import tokenise
from vitrine_training import data
from vitrine_training.corpus import Corpus
from vitrine_training.losses import multi_positive_nce
from vitrine_training.model import DesignViT
from vitrine_training.text import TextTower

if TYPE_CHECKING:
    from collections.abc import Sequence

_BATCH = 512
_TEMPERATURE = 0.07
_NOISE = 0.5  # length of what is added to a picture's embedding, since captions tell less than it


def fit_text(
    catalogue: data.Catalogue,
    pictures: Tensor,
    *,
    steps: int,
    learning_rate: float = 2e-3,
    seed: int = 0,
) -> TextTower:
    """A tower whose texts lie near the embeddings of their images.

    pictures: (len(catalogue), D) embeddings. An image's other texts and equal texts of other images
    are positives too. Raises ValueError when the catalogue has no texts.
    """
    told = np.flatnonzero([bool(texts) for texts in catalogue.texts])
    if not len(told):
        raise ValueError("the catalogue has no texts to fit a text tower to")
    pictures = pictures[torch.from_numpy(told)]
    design = torch.from_numpy(catalogue.design[told])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tower = TextTower(embedding=pictures.shape[1])
    optimiser = torch.optim.AdamW(tower.parameters(), lr=learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    for step in track(range(steps), "text tower"):
        rng = np.random.default_rng([seed, step])
        rows = rng.choice(len(told), min(_BATCH, len(told)), replace=False)
        texts = []
        for row in rows:
            choices = catalogue.texts[told[row]]
            texts.append(choices[int(rng.integers(len(choices)))])
        words = tower(torch.from_numpy(tokenise(texts, buckets=tower.buckets)))
        number = {text: position for position, text in enumerate(texts)}
        same_text = torch.tensor([number[text] for text in texts])
        picked = torch.from_numpy(rows)
        positive = (design[picked][:, None] == design[picked][None, :]) | (
            same_text[:, None] == same_text[None, :]
        )
        none = torch.zeros_like(positive)
        noise = torch.randn(len(picked), pictures.shape[1], generator=generator)
        noise = noise * (_NOISE / math.sqrt(pictures.shape[1]))
        shown = F.normalize(pictures[picked] + noise, dim=1)
        loss = multi_positive_nce(words, shown, positive, none, temperature=_TEMPERATURE)
        loss = loss + multi_positive_nce(shown, words, positive, none, temperature=_TEMPERATURE)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    return tower.eval()


def embed(model: DesignViT, catalogue: data.Catalogue) -> Tensor:
    """Embeddings of all images: (N, D)."""
    batches = data.batches(catalogue, np.arange(len(catalogue)), model.config.image_size)
    steps = track(batches, "encoding", total=-(-len(catalogue) // data.READ))
    with torch.inference_mode():
        parts = [model(model.normalise(torch.from_numpy(pixels))) for pixels in steps]
    return torch.cat(parts).clone()


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line entry point."""
    parser = argparse.ArgumentParser(prog="vitrine_training.fit_text", description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="folder of a DesignViT")
    parser.add_argument("--corpus", type=Path, nargs="+", required=True)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    corpora = [data.from_corpus(Corpus.open(folder), "train") for folder in options.corpus]
    catalogue = data.together(corpora)
    pictures = embed(DesignViT.load(options.weights), catalogue)
    tower = fit_text(catalogue, pictures, steps=options.steps, seed=options.seed)
    tower.save(options.weights, half=True)


if __name__ == "__main__":
    main()
