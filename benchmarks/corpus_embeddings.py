"""Embeddings of drawings by the published encoder, as a second set of vectors for the sweep.

    python benchmarks/corpus_embeddings.py CORPUS OUT.npy [--rows 20000]
    python benchmarks/recall_sweep.py --vectors OUT.npy

CORPUS is a folder that `python -m vitrine_training.corpus` wrote; its sheets are taken evenly over
the designs. OUT.npy is (rows, D) float32.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from harness.engine import LocalEngine
from harness.machine import ROOT
from vitrine_training.corpus import Corpus
from vitrine_training.data import fit

_ENGINE = ROOT / "model_repository" / "cpu" / "image_encoder" / "1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=20_000)
    options = parser.parse_args()
    corpus = Corpus.open(options.corpus)
    engine = LocalEngine(_ENGINE, decode_threads=1)
    side = engine.manifest.encoder.preprocessing.size
    chosen = np.linspace(0, len(corpus) - 1, min(options.rows, len(corpus))).astype(np.int64)
    started = time.perf_counter()
    embeddings = np.concatenate(
        [
            engine.encode(np.stack([fit(corpus.image(int(row)), side) for row in batch]))
            for batch in np.array_split(chosen, max(1, len(chosen) // engine.best_batch))
        ]
    )
    np.save(options.out, embeddings)
    print(f"{embeddings.shape} in {time.perf_counter() - started:.0f} s: {options.out}")


if __name__ == "__main__":
    main()
