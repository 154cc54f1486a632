"""The alerts: each is described, and promtool's own tests pass where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "deploy" / "prometheus"
ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_is_wrong_and_what_to_do(name: str) -> None:
    assert ALERTS[name]["labels"]["severity"] in ("critical", "warning")
    assert ALERTS[name]["annotations"].keys() == {"summary", "action"}
    assert name in (ROOT / "docs" / "deploy.md").read_text()


def test_promtool_tests_the_rules() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool in PATH: apt install prometheus")
    done = subprocess.run(
        [promtool, "test", "rules", str(FOLDER / "rules_test.yml")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
