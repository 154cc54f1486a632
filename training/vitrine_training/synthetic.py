"""Retrieval on the synthetic corpus: unseen designs, unseen classes, several views, texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vitrine_training.data import fit
from vitrine_training.metrics import ENCODER, answerable, rank_metrics, scored

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from vitrine_training.corpus import Corpus
    from vitrine_training.evaluate import Embedder
    from vitrine_training.text import TextTower

    Metrics = dict[str, NDArray[np.float64]]
    Result = tuple[str, str, Metrics, NDArray[np.int64]]

# Enough for intervals of about a hundredth; a larger gallery only takes time.
_MAX_DESIGNS = 400
_VIEWS = (1, 3, 5)
_SIDE = 224


def evaluate(
    corpus: Corpus, methods: dict[str, Embedder], text: TextTower | None, encoder: Embedder
) -> Iterator[Result]:
    """Yield (test, method, metrics, design of each query); floors take part in the first two."""
    for split, name in (("val", "seen classes"), ("unseen", "unseen classes")):
        rows = _rows(corpus, split)
        is_query = corpus.role[rows] == "query"
        pixels = _pixels(corpus, rows)
        for method, embed in methods.items():
            vectors = embed(pixels)
            for label, metrics, owners in _instance(corpus, rows, method, vectors, is_query):
                yield name, label, metrics, owners
    yield from _encoder_tests(corpus, text, encoder)


def _encoder_tests(corpus: Corpus, text: TextTower | None, encoder: Embedder) -> Iterator[Result]:
    rows = _rows(corpus, "val")
    is_query = corpus.role[rows] == "query"
    vectors = encoder(_pixels(corpus, rows))
    design = np.unique(corpus.design[rows], return_inverse=True)[1]
    most = int(np.bincount(design[is_query]).max())
    for count in (count for count in _VIEWS if count <= most):
        yield (
            f"{count}-view queries, per design",
            ENCODER,
            *_per_design(vectors, design, is_query, count),
        )
    yield "other designs of the class", ENCODER, *_cross_design(corpus, rows, vectors, is_query)
    extra = _spread(np.flatnonzero(corpus.split == "train"), 9 * int((~is_query).sum()))
    if len(extra):
        distractors = encoder(_pixels(corpus, extra))
        gallery = np.concatenate([vectors[~is_query], distractors])
        grades = np.zeros((int(is_query.sum()), len(gallery)), np.int64)
        grades[:, : int((~is_query).sum())] = design[is_query][:, None] == design[~is_query]
        every = np.ones(grades.shape, bool)
        for label, scores in scored(ENCODER, vectors[is_query], gallery, every):
            yield "gallery ×10", label, *_ranked(scores, grades, design[is_query])
        rows, vectors = np.concatenate([rows, extra]), np.concatenate([vectors, distractors])
    if text is not None:
        yield from _text_tests(corpus, rows, vectors, text)


def _text_tests(
    corpus: Corpus, rows: NDArray[np.int64], vectors: NDArray[np.float32], text: TextTower
) -> Iterator[Result]:
    """A design's caption finds it, and something of its class, among all designs of seen classes.

    Designs that training corpora hold are not among them: no training used this corpus's seed.
    """
    designs, first, design = np.unique(corpus.design[rows], return_index=True, return_inverse=True)
    subclass = corpus.subclass[rows[first]]
    for language, captions in (("English", corpus.caption_en), ("Chinese", corpus.caption_zh)):
        told = captions[rows[first]]
        best = _best(text.encode(told.tolist()).numpy() @ vectors.T, design, len(designs))
        # designs with one caption are all right answers to it
        for what, kind in (("design", told), ("class", subclass)):
            grades = (kind[:, None] == kind[None, :]).astype(np.int64)
            yield f"{language} caption → {what}", "text", *_ranked(best, grades, designs)


def _ranked(
    scores: NDArray[np.float32],
    grades: NDArray[np.int64],
    owners: NDArray[np.int64],
    valid: NDArray[np.bool_] | None = None,
) -> tuple[Metrics, NDArray[np.int64]]:
    """Metrics of the queries that have something to find, and the designs that these show."""
    valid = np.ones(grades.shape, bool) if valid is None else valid
    return rank_metrics(scores, grades, valid), owners[answerable(grades, valid)]


def _rows(corpus: Corpus, split: str) -> NDArray[np.int64]:
    """Rows of at most _MAX_DESIGNS designs of a split, spread over all of them."""
    designs = np.unique(corpus.design[corpus.split == split])
    return np.flatnonzero(np.isin(corpus.design, _spread(designs, _MAX_DESIGNS)))


def _spread(values: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    if len(values) <= count:
        return values
    return values[np.linspace(0, len(values) - 1, count, dtype=np.int64)]


def _pixels(corpus: Corpus, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    return np.stack([fit(corpus.image(int(row)), _SIDE) for row in rows])


def _instance(
    corpus: Corpus,
    rows: NDArray[np.int64],
    method: str,
    vectors: NDArray[np.float32],
    query: NDArray[np.bool_],
) -> Iterator[tuple[str, Metrics, NDArray[np.int64]]]:
    """A query view finds the gallery views of its design; views are those of another style."""
    design = corpus.design[rows]
    grades = (design[query][:, None] == design[~query][None, :]).astype(np.int64)
    every = np.ones(grades.shape, bool)
    for label, scores in scored(method, vectors[query], vectors[~query], every):
        yield label, *_ranked(scores, grades, design[query])


def _cross_design(
    corpus: Corpus, rows: NDArray[np.int64], vectors: NDArray[np.float32], query: NDArray[np.bool_]
) -> tuple[Metrics, NDArray[np.int64]]:
    """Grade 2 for near-copies, 1 for the class; the own design is excluded."""
    design, subclass = corpus.design[rows], corpus.subclass[rows]
    family = np.where(corpus.near_copy_of[rows] >= 0, corpus.near_copy_of[rows], design)
    grades = (subclass[query][:, None] == subclass[~query][None, :]).astype(np.int64)
    grades += (family[query][:, None] == family[~query][None, :]).astype(np.int64)
    valid = design[query][:, None] != design[~query][None, :]
    return _ranked(vectors[query] @ vectors[~query].T, grades, design[query], valid)


def _per_design(
    vectors: NDArray[np.float32], design: NDArray[np.int64], query: NDArray[np.bool_], count: int
) -> tuple[Metrics, NDArray[np.int64]]:
    """Up to `count` query views together (mean of their scores) find their design."""
    scores = _best(vectors[query] @ vectors[~query].T, design[~query], int(design.max()) + 1)
    asked = np.unique(design[query])
    mean = np.stack(
        [scores[np.flatnonzero(design[query] == d)[:count]].mean(axis=0) for d in asked]
    )
    grades = (asked[:, None] == np.arange(mean.shape[1])[None, :]).astype(np.int64)
    return _ranked(mean, grades, asked, np.isfinite(mean))


def _best(
    scores: NDArray[np.float32], design: NDArray[np.int64], designs: int
) -> NDArray[np.float32]:
    """(Q, images) → (Q, designs): a design scores as its best image; -inf without images."""
    best = np.full((len(scores), designs), -np.inf, np.float32)
    for column, owner in enumerate(design):
        best[:, owner] = np.maximum(best[:, owner], scores[:, column])
    return best
