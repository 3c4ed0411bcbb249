"""Made inputs are what a user's would be."""

from __future__ import annotations

from pathlib import Path

from resbench.analysis.declared import declared
from resbench.bench.made import made_results, made_suite
from resbench.store.layout import RunFolder
from resbench.store.scan import scan
from resbench.store.verify import verify_run
from resbench.suite.catalog import load_suite


def test_a_made_suite_has_as_many_different_runs_as_cells(tmp_path: Path) -> None:
    path = tmp_path / "many.yaml"
    path.write_text(made_suite(4))
    cells = declared(load_suite(str(path))).cells
    assert len({cell.at_seed(1).key for cell in cells}) == len(cells) == 64


def test_made_runs_pass_every_check_of_the_store(tmp_path: Path) -> None:
    made_results(tmp_path / "results", 60)
    found = scan(tmp_path / "results")
    assert len(found.records) == 60
    assert not found.problems
    assert not found.incomplete
    for key in list(found.records)[:5]:
        assert verify_run(RunFolder(tmp_path / "results", key)) == ()
