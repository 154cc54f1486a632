"""Filters over metadata: from JSON to a checked tree of conditions.

    {"locarno": ["06-01", "06-03"], "registered": {"lt": "2024-01-01"}, "price": {"gte": 5},
     "not": {"colour": "red"}, "any": [{"seller": "a"}, {"seller": "b"}]}

Keys are metadata fields and are and-ed. A value matches a field that equals it, or a list in the
metadata that contains it; null matches a record without the field. "not" inverts a whole object;
"any" matches when one of its objects does. Ranges compare numbers, dates, or strings in Unicode
order. `index/columns.py` evaluates the tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from vitrine_server.errors import InvalidFilter
from vitrine_server.records import date_number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vitrine_server.records import FieldType, JsonValue

MAX_DEPTH = 8
MAX_CONDITIONS = 256
MAX_VALUES = 10_000
MAX_NUMBER = 1e300
BOUNDS = ("lt", "lte", "gt", "gte")

Scalar: TypeAlias = "bool | int | float | str | None"


@dataclass(frozen=True, slots=True)
class OneOf:
    """The field holds one of the values; None stands for "no value"."""

    field: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """The field lies within every bound: pairs of an operator of BOUNDS and a number or string."""

    field: str
    bounds: tuple[tuple[str, float | str], ...]


@dataclass(frozen=True, slots=True)
class All:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Any:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Filter


Filter: TypeAlias = "OneOf | Range | All | Any | Not"


def parse(document: JsonValue, fields: Mapping[str, FieldType]) -> Filter:
    """The conditions of a filter. fields: the collection's declared types.

    Dates become microseconds since 1970. Raises InvalidFilter naming the part ("filter.price").
    """
    return _Parser(fields).object(document, "filter", MAX_DEPTH)


def fields_of(filter: Filter) -> Iterator[str]:
    """Every metadata field that the filter names."""
    if isinstance(filter, (OneOf, Range)):
        yield filter.field
    elif isinstance(filter, Not):
        yield from fields_of(filter.part)
    else:
        for part in filter.parts:
            yield from fields_of(part)


class _Parser:
    def __init__(self, fields: Mapping[str, FieldType]) -> None:
        self._fields = fields
        self._conditions = 0

    def object(self, document: JsonValue, where: str, depth: int) -> Filter:
        if not isinstance(document, dict):
            _refuse(where, "is not an object", "a JSON object of metadata fields")
        if depth == 0:
            _refuse(where, "nests too deeply", f'at most {MAX_DEPTH} levels of "not" and "any"')
        parts: list[Filter] = []
        for name, value in document.items():
            inner = f"{where}.{name[:128]}"
            self._count(where)
            if name == "not":
                parts.append(Not(self.object(value, inner, depth - 1)))
            elif name == "any":
                if not isinstance(value, list):
                    _refuse(inner, "is not a list", "a list of filter objects")
                parts.append(
                    Any(
                        tuple(
                            self.object(part, f"{inner}[{position}]", depth - 1)
                            for position, part in enumerate(value)
                        )
                    )
                )
            else:
                parts.append(self._condition(name, value, inner))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _count(self, where: str) -> None:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            _refuse(where, "has too many conditions", f"at most {MAX_CONDITIONS} conditions")

    def _condition(self, name: str, value: JsonValue, where: str) -> Filter:
        kind = self._fields.get(name)
        if isinstance(value, dict):
            return self._range(name, value, kind, where)
        values = value if isinstance(value, list) else [value]
        if len(values) > MAX_VALUES:
            _refuse(where, f"lists {len(values)} values", f"at most {MAX_VALUES} values")
        return OneOf(name, tuple(_scalar(element, kind, where) for element in values))

    def _range(
        self, name: str, value: dict[str, JsonValue], kind: FieldType | None, where: str
    ) -> Filter:
        accepted = 'bounds out of "lt", "lte", "gt" and "gte"'
        if not value:
            _refuse(where, "is an empty range", accepted)
        if kind == "bool":
            _refuse(where, "is a range over a bool field", "true, false, or a list of them")
        bounds: list[tuple[str, float | str]] = []
        for operator, bound in value.items():
            if operator not in BOUNDS:
                _refuse(f"{where}.{operator[:128]}", "is not a bound", accepted)
            limit = _scalar(bound, kind, f"{where}.{operator}")
            if limit is None or isinstance(limit, bool):
                _refuse(f"{where}.{operator}", "has no order", "a number, a date or a string")
            bounds.append((operator, limit))
        if len({isinstance(limit, str) for _, limit in bounds}) > 1:
            _refuse(where, "mixes a number and a string", "bounds of one type")
        return Range(name, tuple(bounds))


def _scalar(value: JsonValue, kind: FieldType | None, where: str) -> Scalar:
    if value is None:
        return None
    if isinstance(value, (list, dict)):
        _refuse(where, "is not a plain value", "a string, a number, true, false or null")
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and not -MAX_NUMBER <= value <= MAX_NUMBER:  # type: ignore[operator]
        _refuse(where, f"is {_short(value)}", "a finite number")
    if kind == "keyword" and not isinstance(value, str):
        _refuse(where, f"is {value!r}, and the field holds keywords", "a string")
    if kind == "number" and not is_number:
        _refuse(where, f"is {_short(value)}, and the field holds numbers", "a number")
    if kind == "bool" and not isinstance(value, bool):
        _refuse(where, f"is {_short(value)}, and the field holds true or false", "true or false")
    if kind == "date":
        try:
            return date_number(value if isinstance(value, str) else "")
        except ValueError:
            _refuse(
                where,
                f"is {_short(value)}, and the field holds dates",
                'an ISO 8601 date such as "2024-01-31" or "2024-01-31T09:30:00Z"',
            )
    return value


def _short(value: JsonValue) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _refuse(where: str, problem: str, accepted: str) -> NoReturn:
    raise InvalidFilter(f"{where} {problem}.", field=where, accepted=accepted)
