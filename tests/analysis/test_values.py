from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from resbench.analysis.classes import errors_by_class
from resbench.analysis.judge import judge
from resbench.analysis.results import read_results
from resbench.analysis.tables import TableRuns, empty, fill
from resbench.analysis.values import JudgedValue, judge_values, rounds_to
from resbench.errors import UsageError
from resbench.report.text import notes_of, value_sentence
from resbench.suite.expand import Expanded
from resbench.suite.load import load_suite, suite_folder
from tests import factory
from tests.factory import JPEG, suite_under

ARL, NAL = "attention-56/arl", "attention-56/nal"


@pytest.fixture
def suite(tmp_path: Path) -> str:
    """The small suite with every kind of place, as a file of its own."""
    folder = tmp_path / "suites"
    shutil.copytree(Path(__file__).parent / "suites", folder)
    return str(folder / "arms.yaml")


@pytest.fixture
def make(tmp_path: Path, suite: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Expanded]:
    """Write finished runs of one cell, one per error, in a context."""
    monkeypatch.setattr(factory, "IMAGES", 10_000)  # fewer flip too much for one point to show

    def make(cell: str, *errors: float, context: Any = None, **options: Any) -> Expanded:
        expanded = suite_under(suite, **(context or {}))
        for seed, error in enumerate(errors, 1):
            factory.finish(tmp_path, expanded, cell, seed, error, **options)
        return expanded

    return make


def table(tmp_path: Path, suite: str) -> TableRuns:
    return fill(load_suite(suite), read_results(tmp_path))[0]


def value(tmp_path: Path, suite: str, row: str, column: str) -> JudgedValue:
    judged = judge_values(table(tmp_path, suite))
    return next(v for v in judged if (v.row, v.column) == (row, column))


def test_a_published_median_is_more_certain_than_one_run_and_says_so(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    make(ARL, 5.4, 5.5, 5.6)
    one = value(tmp_path, suite, "attention-56", "arl")
    text = Path(suite).read_text()
    Path(suite).write_text(text.replace('value: "5.50"', 'value: "5.50", median_of: 5', 1))
    five = value(tmp_path, suite, "attention-56", "arl")
    assert one.interval is not None
    assert five.interval is not None
    assert one.interval[0] < five.interval[0] < five.interval[1] < one.interval[1]
    assert "counts as one run" in value_sentence(one)
    assert "is the median of 5 runs" in value_sentence(five)
    assert "Median of 5 runs." in notes_of(five)
    assert "Median of 5 runs." not in notes_of(one)


def test_a_departure_that_an_axis_sets_is_not_judged_and_other_cells_are(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    text = Path(suite).read_text()
    text = text.replace("{model.learning: arl}", "{model.learning: arl, training.optim.lr: 0.05}")
    text += "  training.optim.lr: {origin: deviation, place: section 4, reason: it diverges}\n"
    Path(suite).write_text(text)
    make(ARL, 5.4, 5.5, 5.6)
    make(NAL, 15.0, 15.2, 15.4, train=9.1)
    found = value(tmp_path, suite, "attention-56", "arl")
    assert found.verdict == "not_comparable"
    assert "the suite departs from its source in training.optim.lr" in found.reasons
    assert value(tmp_path, suite, "attention-56", "nal").verdict == "replicated"


def test_a_value_has_what_is_published_what_is_measured_and_their_difference(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    make(ARL, 5.4, 5.6, 5.8)
    found = value(tmp_path, suite, "attention-56", "arl")
    assert found.published is not None
    assert found.published.value == "5.50"
    assert found.values == pytest.approx((5.4, 5.6, 5.8))
    assert (found.mean, found.sd) == pytest.approx((5.6, 0.2))
    assert found.difference == pytest.approx(0.1)
    assert found.verdict == "replicated"


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ((5.4, 5.5, 5.6), "replicated"),
        ((2.1, 2.2, 2.3), "better"),
        ((8.1, 8.2, 8.3), "worse"),
        ((5.2, 5.5, 5.8), "undecided"),
        ((5.5,), "undecided"),
        ((), "not_run"),
    ],
)
def test_the_verdict_on_a_value_follows_from_its_runs(
    tmp_path: Path, suite: str, make: Callable[..., Expanded], errors: tuple[float, ...], kind: str
) -> None:
    make(ARL, *errors)
    found = value(tmp_path, suite, "attention-56", "arl")
    assert found.verdict == kind


@pytest.mark.parametrize(
    ("context", "reason"),
    [
        ({"data": {"cifar10": JPEG}}, "data cifar10-jpeg75 (not the published data set)"),
        ({"tier": "tiny"}, "tier tiny"),
        ({"overrides": (("training.optim.lr", 0.05),)}, "changed by --set training.optim.lr=0.05"),
    ],
)
def test_only_published_data_at_the_whole_paper_tier_is_judged(
    tmp_path: Path,
    suite: str,
    make: Callable[..., Expanded],
    context: dict[str, Any],
    reason: str,
) -> None:
    make(ARL, 5.4, 5.5, 5.6, context=context)
    found = value(tmp_path, suite, "attention-56", "arl")
    assert found.verdict == "not_comparable"
    assert found.reasons == (reason,)


def test_precision_and_engine_are_named_but_do_not_prevent_a_verdict(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    make(ARL, 5.4, 5.5, 5.6, context={"engine": "graph", "precision": "bf16"})
    assert value(tmp_path, suite, "attention-56", "arl").verdict == "replicated"
    assert "bf16 · graph engine" in judge(table(tmp_path, suite)).setting.label


def test_a_diverged_run_is_counted_and_never_averaged(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    expanded = make(ARL, 5.4, 5.6)
    factory.diverge(tmp_path, expanded, ARL, 3)
    factory.diverge(tmp_path, expanded, NAL, 1)
    found = value(tmp_path, suite, "attention-56", "arl")
    assert found.values == pytest.approx((5.4, 5.6))
    assert found.mean == pytest.approx(5.5)
    lost = value(tmp_path, suite, "attention-56", "nal")
    assert (lost.mean, lost.verdict) == (None, "not_run")
    assert value_sentence(lost) == "No result: 1 of 5 runs diverged."
    cell = next(cell for cell in judge(table(tmp_path, suite)).cells if cell.cell == ARL)
    assert [run.seed for run in cell.done] == [1, 2]
    assert [run.status for run in cell.runs] == ["done", "done", "diverged"]


def test_like_is_compared_with_like_where_the_published_error_is_a_training_error(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    make(NAL, 15.0, 15.2, 15.4, train=9.1)
    found = value(tmp_path, suite, "attention-56", "nal")
    assert found.metric == "train_top1_err"
    assert found.mean == pytest.approx(9.1)
    assert any("training error under augmentation" in note for note in notes_of(found))


def test_a_published_number_of_unknown_split_is_never_ranked(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    make("attention-92/nal", 5.0, 5.1, 5.2)
    found = value(tmp_path, suite, "attention-92", "nal")
    assert found.verdict == "not_comparable"
    assert found.difference is None
    assert found.mean == pytest.approx(5.1)


def test_a_test_error_is_never_ranked_against_a_published_training_error(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    text = Path(suite).read_text()
    Path(suite).write_text(text.replace("metric: train_top1_err, claims: test", "claims: test"))
    make(NAL, 9.0, 9.1, 9.0)
    found = value(tmp_path, suite, "attention-56", "nal")
    assert (found.metric, found.verdict, found.difference) == (
        "test_top1_err",
        "not_comparable",
        None,
    )
    reason = "published is the training error under augmentation, measured the test error"
    assert found.reasons == (reason,)


def test_what_a_protocol_does_not_measure_is_said_not_invented(tmp_path: Path, suite: str) -> None:
    protocol = Path(suite).parent / "protocols" / "plain.yaml"
    protocol.write_text(protocol.read_text().replace("val_in_train: 100", "val_in_train: 0"))
    text = Path(suite).read_text()
    Path(suite).write_text(text.replace("metric: train_top1_err", "metric: val_in_train_err"))
    factory.finish(tmp_path, suite_under(suite), NAL, 1, 9.0)
    found = value(tmp_path, suite, "attention-56", "nal")
    assert (found.verdict, found.mean) == ("not_comparable", None)
    reason = "the error on validation images that are also trained on is not measured"
    assert found.reasons[-1] == reason


def test_a_blank_published_value_stays_blank_and_is_not_judged(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    make("attention-92/arl", 5.0, 5.1)
    found = value(tmp_path, suite, "attention-92", "arl")
    assert (found.verdict, found.difference) == ("shown", None)
    assert found.mean == pytest.approx(5.05)


def test_a_skipped_cell_shows_what_is_published_and_why(tmp_path: Path, suite: str) -> None:
    found = value(tmp_path, suite, "other", "arl")
    assert (found.verdict, found.mean) == ("skipped", None)
    assert "published for context" in value_sentence(found)
    assert notes_of(found) == [value_sentence(found)]


@pytest.mark.parametrize(
    ("counted", "published", "kind"),
    [(1_864_372, "1.9", "equal"), (1_841_242, "1.9", "differs"), (28_366_154, "28", "equal"),
     (1_850_000, "1.9", "equal"), (1_849_999, "1.9", "differs")],
)  # fmt: skip
def test_a_parameter_count_agrees_with_the_published_one_when_it_rounds_to_it(
    tmp_path: Path, suite: str, counted: int, published: str, kind: str
) -> None:
    bare = value(tmp_path, suite, "attention-92", "params")
    assert bare.published is not None
    changed = structs.replace(bare.published, value=published)
    assert rounds_to(counted / 1e6, changed) == (kind == "equal")


def test_parameters_come_from_the_catalogue_before_anything_has_run(
    tmp_path: Path, suite: str
) -> None:
    assert value(tmp_path, suite, "attention-56", "params").mean == pytest.approx(1.030362)
    hundred = judge_values(empty(load_suite("table2_depth")))
    counts = {v.row: v.mean for v in hundred if v.column == "params"}
    assert counts["attention-92"] == pytest.approx(1.864372)
    assert counts["resnet-164"] == pytest.approx(1.726388)


def test_a_narrow_network_says_nothing_about_the_published_size(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    make(ARL, 50.0, context={"tier": "tiny"})
    assert value(tmp_path, suite, "attention-56", "params").verdict == "not_comparable"


def test_training_time_is_shown_and_not_judged(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    make(ARL, 5.4, 5.6)
    found = value(tmp_path, suite, "attention-56", "time")
    assert found.verdict == "shown"
    assert found.mean == pytest.approx(20.0)


def test_best_on_test_stands_apart_and_decides_nothing(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    make(ARL, 8.1, 8.2, 8.3, best=5.5)
    assert value(tmp_path, suite, "attention-56", "arl").verdict == "worse"


def test_errors_by_class_add_up_to_the_test_error_and_name_the_confusion(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    make(ARL, 5.4, 5.6)
    judged = judge(table(tmp_path, suite))
    [(label, found)] = errors_by_class(str(tmp_path), judged).items()
    assert label == next(cell.label for cell in judged.cells if cell.cell == ARL)
    assert sum(found.errors) / 10 == pytest.approx(5.5)
    assert found.worst is not None
    truth, guess, share = found.worst
    assert found.names.index(guess) == (found.names.index(truth) + 1) % 10  # predictions are so
    assert share == pytest.approx(max(found.errors))


def test_every_setting_of_a_table_is_marked_and_deviations_are_named(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    make(
        ARL,
        5.4,
        context={"overrides": (("training.schedule.total", 2000),), "data": {"cifar10": JPEG}},
    )
    (judged,) = [judge(t) for t in fill(load_suite(suite), read_results(tmp_path))]
    marked = {entry.path: entry for entry in judged.settings}
    departed = {path for path, entry in marked.items() if entry.origin == "deviation"}
    assert {"data.id", "training.schedule.total"} <= departed
    assert judged.origins["deviation"] == len(departed)
    assert marked["training.schedule.total"].value == 2000
    assert marked["training.bn_eps"].reason == "usual"


def test_a_counted_table_needs_no_run_and_no_torch() -> None:
    code = (
        "import sys\n"
        "from resbench.analysis.tables import empty\n"
        "from resbench.analysis.values import judge_values\n"
        "from resbench.suite.load import load_suite\n"
        "found = judge_values(empty(load_suite('table5_architecture')))\n"
        "kinds = [v.verdict for v in found]\n"
        "assert (kinds.count('equal'), kinds.count('differs')) == (32, 4), kinds\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_an_unknown_network_of_a_counted_table_is_named_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "table5_architecture.yaml"
    text = (suite_folder() / path.name).read_text()
    path.write_text(text.replace("{model.name: attention-56}", "{model.name: attention-57}"))
    with pytest.raises(UsageError, match=r"table5_architecture.yaml: cannot count this network"):
        judge_values(empty(load_suite(str(path))))
