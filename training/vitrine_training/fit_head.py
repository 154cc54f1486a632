"""Fit the head of a trained encoder on its frozen readout: `python -m vitrine_training.fit_head`.

A long training at a low resolution leaves a backbone; this stage reads each sheet once at the
serving size and then contrasts hundreds of them a step, which costs next to nothing. It is also
where `Marks` join, whose patterns are cluster centres of a corpus's drawings.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor, nn

from vitrine_training import data
from vitrine_training.corpus import Corpus
from vitrine_training.losses import ArcFace, multi_positive_nce
from vitrine_training.model import CELL_DIM, DesignViT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

_SAMPLE_SHEETS, _SAMPLE_CELLS = 512, 80  # that patterns are found in: 3×3 cells of each sheet
_DESIGNS, _VIEWS, _PER_CLASS = 128, 4, 2  # a step
_TEMPERATURE = 0.1
_CLASSES_WEIGHT = 0.3  # of the class term beside the contrast
_NOISE = 0.5  # added to the readout, in its standard deviations
_RATE = 2e-5  # a step of Adam, in the inverse standard deviation of what a weight reads
_FITTED = 0.7  # of the fitted head, averaged with the one it starts from


def add_marks(model: DesignViT, catalogue: data.Catalogue, patterns: int, seed: int) -> DesignViT:
    """A copy with `Marks` that know the catalogue's drawings and have no weight in the head yet."""
    wider = DesignViT.from_seed(0, dataclasses.replace(model.config, marks=patterns))
    state = wider.state_dict() | model.state_dict()
    state["head.weight"] = F.pad(state["head.weight"], (0, wider.marks.width))
    wider.load_state_dict(state)
    wider.trained = model.trained
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(catalogue), min(_SAMPLE_SHEETS, len(catalogue)), replace=False)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        batches = list(_batches(wider, catalogue, rows))
        cells = torch.cat([_cells(wider, pixels, generator) for pixels in batches])
        axes = _components(cells, CELL_DIM)[1]
        wider.marks.cells.weight.copy_(axes.view_as(wider.marks.cells.weight))
        wider.marks.centres.copy_(cluster(cells @ axes.T, patterns, generator))
        wider.marks.standardise.momentum = None  # the mean over all batches
        wider.marks.train()
        for pixels in batches:
            wider.features(wider.normalise(pixels))
    return wider.eval()


def _cells(model: DesignViT, pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Some drawn 3×3 cells of energies: (n, 81) of unit length."""
    energy = (model.scales(model.normalise(pixels))[1][1] + 1e-4).sqrt()
    drawn = model.marks.arrangements(energy)[1].flatten(1) > 0.5
    cells = F.unfold(energy, 3, padding=1).transpose(1, 2)[drawn]
    chosen = torch.randperm(len(cells), generator=generator)[: _SAMPLE_CELLS * len(pixels)]
    return F.normalize(cells[chosen], dim=1)


def cluster(points: Tensor, count: int, generator: torch.Generator, *, rounds: int = 15) -> Tensor:
    """Lloyd's k-means: (N, D) → (count, D) centres.

    Raises ValueError when there are fewer points than centres.
    """
    if len(points) < count:
        raise ValueError(f"{count} patterns need as many drawn cells; there are {len(points)}")
    centres = points[torch.randperm(len(points), generator=generator)[:count]]
    for _ in range(rounds):
        nearest = torch.cdist(points, centres).argmin(dim=1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        sizes = torch.bincount(nearest, minlength=count)
        # a centre without points stays where it is
        centres = torch.where(sizes[:, None] > 0, sums / sizes.clamp(min=1)[:, None], centres)
    return centres


def readouts(model: DesignViT, catalogue: data.Catalogue) -> Tensor:
    """What the head projects, for all sheets: (N, R)."""
    rows = np.arange(len(catalogue))
    with torch.inference_mode():
        steps = track(
            _batches(model, catalogue, rows), "reading sheets", total=-(-len(rows) // data.READ)
        )
        return torch.cat([model.features(model.normalise(pixels))[1] for pixels in steps]).clone()


def _batches(
    model: DesignViT, catalogue: data.Catalogue, rows: NDArray[np.int64]
) -> Iterator[Tensor]:
    for pixels in data.batches(catalogue, rows, model.config.image_size):
        yield torch.from_numpy(pixels)


def join_marks(model: DesignViT, read: Tensor) -> None:
    """Give the marks weight: the head becomes the principal components of all that is known.

    That is, with equal weights, the embedding as it was, the tones, and the whitened differences,
    since directions in which all drawings vary tell little.
    """
    marks = model.marks
    with torch.no_grad():
        columns = torch.eye(read.shape[1])
        tones = columns[-marks.width : -marks.width + marks.tones]
        differences = read[:, -marks.width + marks.tones :]
        whitening = _whitening(differences, model.config.embedding)
        whitening = F.pad(whitening, (read.shape[1] - whitening.shape[1], 0))
        blocks = (_folded(model)[0], tones, whitening)
        read = read - (mean := read.mean(dim=0))
        joined = torch.cat([block / (read @ block.T).norm(dim=1).mean() for block in blocks])
        components = _components(read @ joined.T, model.config.embedding)[1] @ joined
        _install(model, components, -components @ mean)


def _whitening(values: Tensor, count: int) -> Tensor:
    """The map (≤ count, D) onto the principal components of values (N, D), each of variance 1."""
    variances, axes = _components(values, count)
    kept = variances > 1e-6 * variances.max()
    return axes[kept] / variances[kept].sqrt()[:, None]


def _components(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest principal components of values (N, D): variances (count,), axes (count, D)."""
    variances, axes = torch.linalg.eigh(torch.cov(values.T))  # the largest is the last
    return variances[-count:], axes[:, -count:].T


def fit_head(
    model: DesignViT, catalogue: data.Catalogue, read: Tensor, *, steps: int, seed: int = 0
) -> None:
    """Move the head in place so that sheets of a design, and of a class, lie together.

    The result is averaged with the head it starts from, which knows less of the corpus and more of
    other drawings (Wortsman et al., CVPR 2022). read: (N, R) of `readouts`. Raises ValueError when
    no two designs have two sheets.
    """
    sampler = data.Sampler(
        catalogue, designs=_DESIGNS, views=_VIEWS, per_class=_PER_CLASS, seed=seed
    )
    design, family, subclass = (
        torch.from_numpy(column)
        for column in (catalogue.design, catalogue.family, catalogue.subclass)
    )
    spread = read.std(dim=0) + 1e-3
    weight, bias = _folded(model)
    change = nn.Parameter(torch.zeros_like(weight))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classes = ArcFace(len(catalogue.class_names), len(weight))
    named = torch.tensor([bool(name) for name in catalogue.class_names])
    groups: list[dict[str, Any]] = [{"params": [change]}, {"params": classes.parameters()}]
    optimiser = torch.optim.Adam(groups)
    generator = torch.Generator().manual_seed(seed)
    for step in track(range(steps), "fitting the head"):
        left = min(1.0, 2.0 * (1.0 - step / steps))
        for group, rate in zip(optimiser.param_groups, (_RATE * left, 1e-2), strict=True):
            group["lr"] = rate
        rows = torch.from_numpy(sampler.batch(step))
        x = read[rows]
        x = x + torch.randn(x.shape, generator=generator) * (spread * _NOISE)
        embeddings = F.normalize(F.linear(x, weight + change / spread, bias), dim=1)
        same = design[rows][:, None] == design[rows][None, :]
        related = family[rows][:, None] == family[rows][None, :]
        positive = same & ~torch.eye(len(rows), dtype=torch.bool)
        loss = multi_positive_nce(
            embeddings, embeddings, positive, related & ~positive, temperature=_TEMPERATURE
        )
        told = named[subclass[rows]]
        if told.any():
            none = torch.zeros(int(told.sum()), len(named), dtype=torch.bool)
            loss = loss + _CLASSES_WEIGHT * classes(embeddings[told], subclass[rows][told], none)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
    _install(model, weight + _FITTED * change.detach() / spread, bias)


def _folded(model: DesignViT) -> tuple[Tensor, Tensor]:
    """The head and the centring after it as one map: weight (D, R) and bias (D,)."""
    weight, bias = model.head.weight.detach(), model.head.bias.detach()
    if isinstance(model.centre, nn.BatchNorm1d):
        centre = model.centre
        assert centre.running_mean is not None
        assert centre.running_var is not None
        scale = (centre.running_var + centre.eps).rsqrt()
        return weight * scale[:, None], (bias - centre.running_mean) * scale
    return weight.clone(), bias.clone()


def _install(model: DesignViT, weight: Tensor, bias: Tensor) -> None:
    with torch.no_grad():
        model.head.weight.copy_(weight)
        model.head.bias.copy_(bias)
    if isinstance(model.centre, nn.BatchNorm1d):
        model.centre.reset_running_stats()


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line entry point."""
    parser = argparse.ArgumentParser(prog="vitrine_training.fit_head", description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="folder of a DesignViT")
    parser.add_argument("--corpus", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for the new weights")
    parser.add_argument("--marks", type=int, default=128, help="patterns, where it has none yet")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    corpora = [data.from_corpus(Corpus.open(folder), "train") for folder in options.corpus]
    catalogue = data.together(corpora)
    model = DesignViT.load(options.weights)
    joining = not model.config.marks
    if joining:
        model = add_marks(model, catalogue, options.marks, options.seed)
    read = readouts(model, catalogue)
    if joining:
        join_marks(model, read)
    fit_head(model, catalogue, read, steps=options.steps, seed=options.seed)
    model.save(options.out, half=True)


if __name__ == "__main__":
    main()
