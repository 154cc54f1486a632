"""`python -m vitrine_training.corpus OUT --designs N --views N --seed N`: generate a corpus."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import CorpusError, generate


def main() -> int:
    """Parse the command line and generate; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m vitrine_training.corpus", description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write; a stopped run continues there")
    parser.add_argument("--designs", type=int, default=20_000)
    parser.add_argument("--views", type=int, default=8, help="sheets a design")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=224, help="side of a sheet in pixels")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    try:
        generate(
            args.out, designs=args.designs, views_per_design=args.views, seed=args.seed,
            size=args.size, workers=args.workers,
        )  # fmt: skip
    except CorpusError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
