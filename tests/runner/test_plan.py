"""The plan: every run once, whatever asks for it, in rounds of seeds."""

from __future__ import annotations

from pathlib import Path

from ..mini import changed, suite_of
from .planning import planned


def test_one_run_serves_two_tables(tmp_path: Path) -> None:
    other = changed(suite_of("other"), {"matrix.learning.nal.set": {"model.mask": "local"}})
    runs = planned(tmp_path, suite_of(), other)
    assert len(runs) == 3
    assert runs[0].cells == [("mini", "arl"), ("other", "arl")]
    assert runs[0].label == "mini arl +1 seed 1"
    assert [run.label for run in runs[1:]] == ["mini nal seed 1", "other nal seed 1"]
    assert runs[0].stored_context()["cells"] == [["mini", "arl"], ["other", "arl"]]


def test_a_seed_is_run_for_every_cell_before_the_next(tmp_path: Path) -> None:
    two = suite_of(seeds=(3, 1)), suite_of("other", total=5, seeds=(7, 8, 9))
    runs = planned(tmp_path, *two)
    assert [run.seed_rank for run in runs] == [0] * 4 + [1] * 4 + [2] * 2
    assert [run.spec.seed for run in runs[:4]] == [3, 3, 7, 7]


def test_a_skipped_cell_is_not_planned(tmp_path: Path) -> None:
    skipped = {"skips": [{"where": {"learning": "nal"}, "reason": "no mask"}]}
    assert len(planned(tmp_path, suite_of() | skipped)) == 1
