"""Figures of several processes as one: what /metrics shows is their sum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from prometheus_client import CollectorRegistry, Metric, generate_latest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# As JSON: name, documentation, type and samples of each metric; a sample is name, labels, value.
Snapshot: TypeAlias = list[tuple[str, str, str, list[tuple[str, dict[str, str], float]]]]

# Samples whose sum would say nothing: when counting began, and whether everybody is ready.
_LEAST = ("_created", "_ready")


def snapshot(registry: CollectorRegistry) -> Snapshot:
    """What a registry holds now."""
    return [
        (
            metric.name,
            metric.documentation,
            metric.type,
            [(sample.name, sample.labels, sample.value) for sample in metric.samples],
        )
        for metric in registry.collect()
    ]


def total(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Equal samples are added up; of `_LEAST` the smallest counts."""
    metrics: dict[str, tuple[str, str, dict[Any, tuple[str, dict[str, str], float]]]] = {}
    for each in snapshots:
        for name, documentation, kind, samples in each:
            _, _, known = metrics.setdefault(name, (documentation, kind, {}))
            for sample, labels, value in samples:
                key = sample, *sorted(labels.items())
                if key in known:
                    before = known[key][2]
                    least = sample.endswith(_LEAST)
                    value = min(before, value) if least else before + value
                known[key] = sample, labels, value
    return [
        (name, documentation, kind, list(known.values()))
        for name, (documentation, kind, known) in metrics.items()
    ]


def counts(given: Snapshot) -> Snapshot:
    """Without gauges, which end with their process."""
    return [metric for metric in given if metric[2] != "gauge"]


def render(given: Snapshot) -> bytes:
    """Prometheus text exposition format 0.0.4."""
    return generate_latest(_Shown(given))


class _Shown(CollectorRegistry):
    """A registry that holds a snapshot."""

    def __init__(self, given: Snapshot) -> None:
        super().__init__()
        self._given = given

    def collect(self) -> Iterator[Metric]:
        for name, documentation, kind, samples in self._given:
            metric = Metric(name, documentation, kind)
            for sample, labels, value in samples:
                metric.add_sample(sample, labels, value)
            yield metric
