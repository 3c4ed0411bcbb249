from __future__ import annotations

import json

import pytest

from resbench.analysis import architecture
from resbench.models import ZOO
from tests.cli.invoke import invoke


def test_models_counts_networks_and_table_5(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(architecture, "ZOO", ZOO[:1])
    found = invoke(capsys, "models", "--format", "json")
    data = json.loads(found.out)
    assert found.code == 0
    assert data["networks"][0]["parameters_10"] == 1_030_362
    assert {place["row"] for place in data["architecture"]} >= {"conv", "fc", "params", "depth"}


def test_an_unknown_format_is_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    found = invoke(capsys, "models", "--format", "yaml")
    assert found.code == 2
    assert "markdown" in found.err
