from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.invoke import imported_by, invoke


def test_models_shows_networks_and_table_5(capsys: pytest.CaptureFixture[str]) -> None:
    found = invoke(capsys, "models", "--format", "json")
    data = json.loads(found.out)
    assert found.code == 0
    assert data["networks"][0]["parameters_10"] == 1_030_362
    assert {value["row"] for value in data["values"]} >= {"conv", "fc", "params", "depth"}


def test_models_starts_without_torch(tmp_path: Path) -> None:
    assert not {"torch", "mlflow", "pandas"} & imported_by("models", cwd=tmp_path)
