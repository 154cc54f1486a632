"""Tells a torn tail of SQLite's write-ahead log from damage that would lose committed writes.

SQLite replays a log up to the first frame that is not right and silently ignores the rest. That is
correct for a tail that was never synced, and a silent loss for a bit that decayed in the middle.
With synchronous=FULL a transaction is on disk before the next one is written: so a bad frame with a
later transaction behind it was once good.

Format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_HEADER_BYTES = 32
_FRAME_BYTES = 24
_MAGIC = 0x377F0682  # + 1 when checksums are over big-endian words


def damage(database: Path) -> str | None:
    """What is wrong with the log of a database, as one sentence.

    None for a good log, one whose tail is torn, or none at all.
    """
    path = database.with_name(f"{database.name}-wal")
    try:
        content = path.read_bytes()
        with database.open("rb") as file:
            page_bytes = int.from_bytes(file.read(18)[16:], "big")
    except FileNotFoundError:
        return None
    page_bytes = 65536 if page_bytes == 1 else page_bytes
    step = _FRAME_BYTES + page_bytes
    if page_bytes < 512 or len(content) < _HEADER_BYTES + step:
        return None
    header = np.frombuffer(content, ">u4", 8)
    words = ">u4" if header[0] == _MAGIC + 1 else "<u4"
    frames = np.frombuffer(content, np.uint8, (len(content) - _HEADER_BYTES) // step * step, 32)
    frames = frames.reshape(-1, step)
    heads = np.ascontiguousarray(frames[:, :_FRAME_BYTES]).view(">u4").astype(np.uint32)
    commits, salts, sums = heads[:, 1] != 0, heads[:, 2:4], heads[:, 4:6]

    header_good = bool(
        (_checksum(content[:24], words, np.zeros(2, np.uint32)) == header[6:8]).all()
    )
    first_salts = header[4:6] if header_good else salts[0]
    current = (salts == first_salts).all(axis=1)
    # each frame continues the checksum of the one before, as that one states it
    before = np.concatenate([header[6:8].astype(np.uint32)[None], sums[:-1]])
    good = np.zeros(len(frames), np.bool_)
    for number in np.flatnonzero(current):
        body = frames[number, :8].tobytes() + frames[number, _FRAME_BYTES:].tobytes()
        good[number] = (_checksum(body, words, before[number]) == sums[number]).all()

    if header_good and good.all():
        return None
    bad = -1 if not header_good else int(np.argmin(good))
    behind = np.flatnonzero(good[bad + 1 :]) + bad + 1
    ends = behind[commits[behind]]
    if bad >= 0 and current[bad] and commits[bad]:
        ends = np.append(bad, ends)
    if len(ends) and len(behind) and behind[-1] > ends[0]:
        where = 0 if bad < 0 else _HEADER_BYTES + bad * step
        return f"{path} is damaged near byte {where}, before writes that were committed later."
    return None


def _checksum(content: bytes, words: str, start: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """SQLite's checksum: for each pair of words, s0 += x0 + s1; s1 += x1 + s0 (modulo 2^32)."""
    pairs = np.frombuffer(content, words).astype(np.uint32).reshape(-1, 2)
    weights = _weights(len(pairs))
    # one step multiplies (s0, s1) by [[1, 1], [1, 2]] and adds (x0, x0 + x1)
    added = np.stack([pairs[:, 0], pairs[:, 0] + pairs[:, 1]], axis=1)
    state = np.concatenate([start[None], added])
    left = (weights[:, 0] * state).sum(axis=1, dtype=np.uint32).sum(dtype=np.uint32)
    right = (weights[:, 1] * state).sum(axis=1, dtype=np.uint32).sum(dtype=np.uint32)
    return np.array([left, right], np.uint32)


@lru_cache(4)
def _weights(steps: int) -> NDArray[np.uint32]:
    """Powers of [[1, 1], [1, 2]] modulo 2^32, from `steps` down to 0; the last two are 1."""
    powers = [[1, 0, 0, 1]]
    for _ in range(steps):
        a, b, c, d = powers[-1]
        powers.append([value & 0xFFFFFFFF for value in (a + c, b + d, a + 2 * c, b + 2 * d)])
    # the value added in the last step is multiplied no more: state i has `steps - i` to go
    return np.array(powers[::-1], np.uint32).reshape(-1, 2, 2)
