"""Metadata fields as columns beside the vectors: filters become masks, groups become keys.

Columns only grow, with one writer; a reader passes the number of rows that its state has and needs
no lock.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from vitrine_server import filters
from vitrine_server.index.growing import Growing
from vitrine_server.records import date_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray
    from typing_extensions import Self

    from vitrine_server.records import FieldType, JsonValue

_COMPARE: dict[str, Callable[[NDArray[np.float64], float], NDArray[np.bool_]]] = {
    "lt": np.less,
    "lte": np.less_equal,
    "gt": np.greater,
    "gte": np.greater_equal,
}
_COMPARE_TEXT: dict[str, Callable[[str, str], bool]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}

NO_KEY = -1

# Python holds True equal to 1, JSON does not: a plain value goes with whether it is a bool
Key: TypeAlias = "tuple[bool, filters.Scalar]"
Entry: TypeAlias = "tuple[Key, ...]"


class Column(Protocol):
    def append(self, values: Sequence[JsonValue]) -> None:
        """Add the values of the next rows; None for a row that has none."""

    def one_of(self, values: tuple[filters.Scalar, ...], count: int) -> NDArray[np.bool_]:
        """Mask (count,) of the rows that hold one of the values."""

    def within(self, bounds: tuple[tuple[str, float | str], ...], count: int) -> NDArray[np.bool_]:
        """Mask (count,) of the rows that hold a value within all bounds."""

    def keys(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Group keys of rows (M,), int64: equal for equal values, NO_KEY for none."""

    def holding(self, keys: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
        """Mask (count,) of the rows whose group key is one of these (m,); NO_KEY is none."""

    def taken(self, rows: NDArray[np.int64]) -> Self:
        """A column of its own with the named rows."""

    def extend(self, other: Self, rows: NDArray[np.int64]) -> None:
        """Append the named rows of another column of this kind."""

    def dump(self, count: int) -> tuple[NDArray[np.generic], list[JsonValue]]:
        """What `load_column` makes the first rows from: an array (count,) and JSON values."""


def new_column(kind: FieldType | None) -> Column:
    """An empty column of a declared type, or one that takes any plain value."""
    return DictionaryColumn() if kind in {None, "keyword"} else NumberColumn()


def load_column(
    kind: FieldType | None, array: NDArray[np.generic], values: Sequence[JsonValue]
) -> Column:
    """A column from what `dump` gave. Raises ValueError when the two do not fit together."""
    if kind not in {None, "keyword"}:
        return NumberColumn(array.astype(np.float64, copy=False))
    codes = array.astype(np.int32, copy=False)
    column = DictionaryColumn(codes, (_entry(value) for value in values))
    if len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) <= len(values):
        raise ValueError("a code without a value")
    return column


class NumberColumn:
    """Numbers, dates (microseconds since 1970) or bools (0 and 1) as float64; NaN is "no value"."""

    def __init__(self, values: NDArray[np.float64] | None = None) -> None:
        self._values = Growing(np.float64) if values is None else Growing.of(values)

    def append(self, values: Sequence[JsonValue]) -> None:
        self._values.extend(np.array([_number(value) for value in values], np.float64))

    def one_of(self, values: tuple[filters.Scalar, ...], count: int) -> NDArray[np.bool_]:
        held = self._values.view(count)
        numbers = [float(value) for value in values if value is not None]
        mask = np.isin(held, numbers)
        return mask | np.isnan(held) if None in values else mask

    def within(self, bounds: tuple[tuple[str, float | str], ...], count: int) -> NDArray[np.bool_]:
        held = self._values.view(count)
        mask = np.ones(count, np.bool_)
        for name, limit in bounds:
            mask &= _COMPARE[name](held, float(limit))
        return mask

    def keys(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        held = self._values.view(len(self._values))[rows]
        # + 0.0 makes one key of 0.0 and -0.0
        return np.where(np.isnan(held), NO_KEY, (held + 0.0).view(np.int64))

    def holding(self, keys: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
        return np.isin(self.keys(np.arange(count)), keys[keys != NO_KEY])

    def taken(self, rows: NDArray[np.int64]) -> Self:
        return type(self)(self._values.view(len(self._values))[rows])

    def extend(self, other: Self, rows: NDArray[np.int64]) -> None:
        self._values.extend(other._values.view(len(other._values))[rows])

    def dump(self, count: int) -> tuple[NDArray[np.generic], list[JsonValue]]:
        return self._values.view(count), []


class DictionaryColumn:
    """Strings, numbers, bools, or lists of them, one code for each distinct value.

    Code 0 is "no value". A condition is decided once for each distinct value, then looked up.
    """

    def __init__(
        self, codes: NDArray[np.int32] | None = None, entries: Iterable[Entry] = ()
    ) -> None:
        """codes: rows that exist already; code c stands for the c-th of the entries, from 1."""
        self._codes = Growing(np.int32) if codes is None else Growing.of(codes)
        # a single string, the usual value, stands for its entry
        self._code_of: dict[Entry | str, int] = {(): 0}
        self._entries: list[Entry] = [()]
        # which codes hold a plain value; and the values in order of arrival, for ranges
        self._holders: dict[Key, list[int]] = {}
        self._texts: list[tuple[str, int]] = []
        self._numbers: Growing[np.float64] = Growing(np.float64)
        self._number_codes: Growing[np.int32] = Growing(np.int32)
        for entry in entries:
            self._code(entry)

    def append(self, values: Sequence[JsonValue]) -> None:
        known = self._code_of
        codes = [
            (isinstance(value, str) and known.get(value)) or self._code(_entry(value))
            for value in values
        ]
        self._codes.extend(np.array(codes, np.int32))

    def _code(self, entry: Entry) -> int:
        only = entry[0][1] if len(entry) == 1 else None
        known_as = only if isinstance(only, str) else entry
        code = self._code_of.get(known_as)
        if code is not None:
            return code
        code = len(self._entries)
        self._entries.append(entry)
        for key in entry:
            is_bool, value = key
            self._holders.setdefault(key, []).append(code)
            if isinstance(value, str):
                self._texts.append((value, code))
            elif not is_bool and isinstance(value, (int, float)):
                # codes first: a reader takes as many codes as there are numbers
                self._number_codes.append(code)
                self._numbers.append(float(value))
        self._code_of[known_as] = code
        return code

    def one_of(self, values: tuple[filters.Scalar, ...], count: int) -> NDArray[np.bool_]:
        table = self._table()
        for value in values:
            if value is None:
                table[0] = True
            else:
                self._set(table, self._holders.get(_key(value), []))
        return table[self._codes.view(count)]

    def within(self, bounds: tuple[tuple[str, float | str], ...], count: int) -> NDArray[np.bool_]:
        table = self._table()
        if isinstance(bounds[0][1], str):
            limits = [(_COMPARE_TEXT[name], str(limit)) for name, limit in bounds]
            matching = [
                code
                for text, code in self._texts[: len(self._texts)]
                if all(compare(text, limit) for compare, limit in limits)
            ]
            self._set(table, matching)
        else:
            size = len(self._numbers)
            mask = np.ones(size, np.bool_)
            for name, limit in bounds:
                mask &= _COMPARE[name](self._numbers.view(size), float(limit))
            codes = self._number_codes.view(size)[mask]
            table[codes[codes < len(table)]] = True
        return table[self._codes.view(count)]

    def keys(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        codes = self._codes.view(len(self._codes))[rows].astype(np.int64)
        return np.where(codes == 0, NO_KEY, codes)

    def holding(self, keys: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
        table = self._table()
        table[keys[keys != NO_KEY]] = True
        return table[self._codes.view(count)]

    def taken(self, rows: NDArray[np.int64]) -> Self:
        codes = self._codes.view(len(self._codes))[rows]
        # only the values that are still in use: the rest would pile up over years of updates
        used, renumbered = np.unique(np.append(codes, np.int32(0)), return_inverse=True)
        entries = [self._entries[code] for code in used[1:].tolist()]
        return type(self)(renumbered[:-1].astype(np.int32), entries)

    def extend(self, other: Self, rows: NDArray[np.int64]) -> None:
        used, codes = np.unique(other._codes.view(len(other._codes))[rows], return_inverse=True)
        mine = np.array([self._code(other._entries[code]) for code in used.tolist()], np.int32)
        self._codes.extend(mine[codes])

    def dump(self, count: int) -> tuple[NDArray[np.generic], list[JsonValue]]:
        values: list[JsonValue] = [
            [value for _, value in entry] if len(entry) != 1 else entry[0][1]
            for entry in self._entries[1:]
        ]
        return self._codes.view(count), values

    def _table(self) -> NDArray[np.bool_]:
        return np.zeros(len(self._entries), np.bool_)

    @staticmethod
    def _set(table: NDArray[np.bool_], codes: list[int]) -> None:
        # an entry may be added by the writer after the table was sized: no row of ours has it
        table[[code for code in codes if code < len(table)]] = True


def _number(value: JsonValue) -> float:
    if isinstance(value, str):
        return date_number(value)
    return float(value) if isinstance(value, (int, float)) else np.nan


def _key(value: filters.Scalar) -> Key:
    return isinstance(value, bool), value


def _entry(value: JsonValue) -> Entry:
    """The plain values that a field holds; empty for none, or when it holds only objects."""
    if isinstance(value, str):
        return ((False, value),)
    values = value if isinstance(value, list) else [value]
    return tuple(
        _key(element)
        for element in values
        if element is not None and not isinstance(element, (list, dict))
    )


def evaluate(
    filter: filters.Filter, columns: Mapping[str, Column], count: int
) -> NDArray[np.bool_]:
    """Mask (count,) of the rows that the filter accepts. Every field must have its column."""
    if isinstance(filter, filters.OneOf):
        return columns[filter.field].one_of(filter.values, count)
    if isinstance(filter, filters.Range):
        return columns[filter.field].within(filter.bounds, count)
    if isinstance(filter, filters.Not):
        return ~evaluate(filter.part, columns, count)
    every = isinstance(filter, filters.All)
    mask = np.full(count, every)
    for part in filter.parts:
        if every:
            mask &= evaluate(part, columns, count)
        else:
            mask |= evaluate(part, columns, count)
    return mask
