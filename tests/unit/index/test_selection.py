from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vitrine_server.index.selection import AliveBits, Selection

MASKS = st.lists(st.booleans(), max_size=70).map(lambda bits: np.array(bits, np.bool_))


@given(mask=MASKS, data=st.data())
def test_forms_of_a_selection_agree(mask: np.ndarray, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(mask)))
    stop = data.draw(st.integers(start, len(mask)))
    by_bits = Selection(bits=np.packbits(mask, bitorder="little"), size=len(mask))
    for selection in (Selection(mask), by_bits):
        assert selection.count == mask.sum()
        part = selection.part(start, stop)
        np.testing.assert_array_equal(part.mask, mask[start:stop])
        np.testing.assert_array_equal(part.rows, np.flatnonzero(mask[start:stop]))
        np.testing.assert_array_equal(part.bits, np.packbits(mask[start:stop], bitorder="little"))
        assert part.count == mask[start:stop].sum()


@given(steps=st.lists(st.tuples(st.integers(0, 20), st.lists(st.integers(0, 60), max_size=5))))
def test_alive_rows_follow_a_list(steps: list[tuple[int, list[int]]]) -> None:
    alive = AliveBits.every(3)
    expected = [True] * 3
    for added, dead in steps:
        expected += [True] * added
        rows = sorted({row for row in dead if row < len(expected) and expected[row]})
        for row in rows:
            expected[row] = False
        before = alive.bits.copy()
        changed = alive.changed(len(expected), np.array(rows, np.int64))
        np.testing.assert_array_equal(alive.bits, before)  # the old set is as it was
        alive = changed
        np.testing.assert_array_equal(alive.mask(), expected)
        np.testing.assert_array_equal(alive.of(np.arange(len(expected))), expected)
        assert (alive.count, alive.alive) == (len(expected), sum(expected))
        assert alive.all_alive == all(expected)
