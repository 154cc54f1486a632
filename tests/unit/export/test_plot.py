"""The plot of throughput by batch."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest
from test_publish import describe

from vitrine_export import plot
from vitrine_server.manifest import GateRow, Manifest, Precision

if TYPE_CHECKING:
    from pathlib import Path

SVG = "{http://www.w3.org/2000/svg}"


def row(precision: Precision, rates: dict[int, float], *, passed: bool = True) -> GateRow:
    return GateRow(
        precision=precision,
        cosine_mean=1,
        cosine_min=1,
        recall_at_10=1,
        finite=True,
        latency_ms_batch_1=1,
        images_per_s=max(rates.values()),
        best_batch=1,
        images_per_s_by_batch=rates,
        passed=passed,
        reason="",
    )


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    path = tmp_path / "engine.onnx"
    path.write_bytes(b"engine")
    found = describe(path, "weights")
    rows = (
        row("fp32", {1: 17.0, 4: 21.0, 32: 22.0}),
        row("int8", {1: 50.0, 4: 66.0, 32: 22.0}),  # ends where fp32 ends
        row("bf16", {1: 40.0, 4: 49.0, 32: 48.0}, passed=False),
    )
    gate = found.gate.model_copy(update={"rows": rows})
    return found.model_copy(update={"gate": gate, "device": {"name": "A <fast> CPU"}})


def test_every_precision_is_a_line_inside_the_picture(manifest: Manifest) -> None:
    root = ET.fromstring(plot.throughput(manifest))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    lines = root.findall(f"{SVG}polyline")
    assert len(lines) == 3
    for line in lines:
        points = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
        assert len(points) == 3
        assert all(0 < x < width and 0 < y < height for x, y in points)
    dashed = [line for line in lines if "stroke-dasharray" in line.attrib]
    assert len(dashed) == 1  # the refused one


def test_names_do_not_overlap_and_say_what_is_served(manifest: Manifest) -> None:
    texts = ET.fromstring(plot.throughput(manifest)).findall(f"{SVG}text")
    names = [text for text in texts if text.attrib["font-weight"] == "600"]
    assert {name.text for name in names} == {"fp32 (served)", "int8", "bf16 (refused)"}
    heights = sorted(float(name.attrib["y"]) for name in names)
    assert all(below - above >= 15 for above, below in itertools.pairwise(heights))
    assert "A <fast> CPU" in {text.text for text in texts}
