from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from resbench.analysis.arms import arms_of
from resbench.analysis.classes import errors_by_class
from resbench.analysis.judge import judge
from resbench.analysis.results import read_results
from resbench.analysis.tables import TableRuns, empty, fill
from resbench.analysis.values import JudgedValue, judge_values, rounds_to
from resbench.errors import UsageError
from resbench.report.text import notes_of, value_sentence
from resbench.stats.cells import judge_cell
from resbench.store.predictions import Predictions
from resbench.suite.expand import Expanded
from resbench.suite.load import load_suite
from resbench.suite.schema import PaperValue
from tests import factory
from tests.factory import JPEG, suite_under
from tests.mini import edited_suite

ARL, NAL = "attention-56/arl", "attention-56/nal"


class Bench:
    """The small suite with every kind of place, as a file of its own, and runs of its cells."""

    def __init__(self, folder: Path) -> None:
        self.results, self.file = folder / "results", folder / "suites" / "arms.yaml"
        shutil.copytree(Path(__file__).parent / "suites", self.file.parent)

    def edit(self, old: str, new: str) -> None:
        text = self.file.read_text()
        assert old in text
        self.file.write_text(text.replace(old, new))

    def make(self, cell: str, *errors: float, context: Any = None, **options: Any) -> Expanded:
        """Write finished runs of one cell, one per error, in a context."""
        expanded = suite_under(str(self.file), **(context or {}))
        factory.finish_all(self.results, expanded, {cell: errors}, **options)
        return expanded

    def table(self) -> TableRuns:
        return fill(load_suite(str(self.file)), read_results(self.results))[0]

    def value(self, name: str) -> JudgedValue:
        """The value of ROW/COLUMN."""
        judged = judge_values(self.table())
        return next(v for v in judged if f"{v.row}/{v.column}" == name)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(factory, "IMAGES", 10_000)  # fewer flip too much for one point to show
    return Bench(tmp_path)


def test_a_published_median_is_more_certain_than_one_run_and_says_so(bench: Bench) -> None:
    bench.make(ARL, 5.4, 5.5, 5.6)
    one = bench.value(ARL)
    bench.edit('value: "5.50"', 'value: "5.50", median_of: 5')
    five = bench.value(ARL)
    assert one.interval is not None
    assert five.interval is not None
    assert one.interval[0] < five.interval[0] < five.interval[1] < one.interval[1]
    assert "counts as one run" in value_sentence(one)
    assert "is the median of 5 runs" in value_sentence(five)
    assert "Median of 5 runs." in notes_of(five)
    assert "Median of 5 runs." not in notes_of(one)


def test_a_departure_that_an_axis_sets_is_not_judged_and_other_cells_are(bench: Bench) -> None:
    bench.edit("{model.learning: arl}", "{model.learning: arl, training.optim.lr: 0.05}")
    with bench.file.open("a") as file:
        file.write("  training.optim.lr: {origin: deviation, place: section 4, reason: too high}\n")
    bench.make(ARL, 5.4, 5.5, 5.6)
    bench.make(NAL, 15.0, 15.2, 15.4, train=9.1)
    found = bench.value(ARL)
    assert found.verdict == "not_comparable"
    assert "the suite departs from its source in training.optim.lr" in found.reasons
    assert bench.value(NAL).verdict == "replicated"


def test_a_value_has_what_is_published_what_is_measured_and_their_difference(bench: Bench) -> None:
    bench.make(ARL, 5.4, 5.6, 5.8)
    found = bench.value(ARL)
    assert found.published is not None
    assert found.published.value == "5.50"
    assert [*found.values.values()] == pytest.approx([5.4, 5.6, 5.8])
    assert (found.mean, found.sd) == pytest.approx((5.6, 0.2))
    assert found.difference == pytest.approx(0.1)
    assert found.verdict == "replicated"


def test_a_difference_is_of_the_shown_mean_unless_a_verdict_rests_on_a_look(bench: Bench) -> None:
    bench.make(ARL, 5.4, 5.5, 5.6, 8.5)
    found = bench.value(ARL)
    assert found.verdict == "replicated"
    assert found.difference == pytest.approx(0.0)
    assert "Not counted: 1 run after this look." in value_sentence(found)
    factory.diverge(bench.results, suite_under(str(bench.file)), ARL, 5)
    lost = bench.value(ARL)
    assert (lost.verdict, lost.look) == ("undecided", 5)
    assert (lost.mean, lost.difference) == pytest.approx((6.25, 0.75))
    bench.make(ARL, 15.0, 15.1, 15.2, 20.7, context={"tier": "cpu"})
    table = fill(load_suite(str(bench.file)), read_results(bench.results))[1]
    (other,) = (v for v in judge_values(table) if v.cell == ARL and v.is_error and v.number)
    assert (other.verdict, other.look) == ("not_comparable", 3)
    assert (other.mean, other.difference) == pytest.approx((16.5, 11.0))


def judged_error(verdict: Any = "replicated", runs: int = 3, **more: Any) -> JudgedValue:
    """A published 5.20 that was judged at three seeds."""
    published, values = PaperValue(value="5.20"), dict.fromkeys("abcde"[:runs], 5.5)
    numbers: dict[str, Any] = {"mean": 5.5, "difference": 0.3, "interval": (5.4, 5.6), "planned": 5}
    return JudgedValue(
        "row", "column", "cell", "test_top1_err", published, verdict, values=values, look=3,
        **numbers | more,
    )  # fmt: skip


def test_an_error_is_never_expected_outside_of_0_to_100_percent() -> None:
    for interval, ends in (((-0.4, 0.7), "0.00 and 0.70"), ((99.2, 100.5), "99.20 and 100.00")):
        assert f"would lie between {ends}. " in value_sentence(judged_error(interval=interval))


@pytest.mark.parametrize(
    ("difference", "p", "said"),
    [(0.3, 0.05, "shown to be higher"), (-0.3, 0.01, "shown to be lower"), (0.3, 0.06, None)],
)
def test_a_replicated_number_says_which_side_of_it_a_shown_difference_is_on(
    difference: float, p: float, said: str | None
) -> None:
    sentence = value_sentence(judged_error(difference=difference, p_differs=p))
    assert ("nevertheless" in sentence) == (said is not None)
    assert (said or "") in sentence
    worse = judged_error("worse", difference=difference, p_differs=p)
    assert "nevertheless" not in value_sentence(worse)


def test_a_sentence_counts_the_runs_of_the_look_those_after_it_and_those_that_diverged() -> None:
    assert "Not counted" not in value_sentence(judged_error())
    more = value_sentence(judged_error(runs=5))
    assert "within 1 pp at 3 seeds" in more
    assert "Not counted: 2 runs after this look." in more
    lost = value_sentence(judged_error("undecided", diverged=1, interval=None))
    assert lost.startswith("Undecided: 1 of 4 runs diverged")


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
    bench: Bench, errors: tuple[float, ...], kind: str
) -> None:
    bench.make(ARL, *errors)
    assert bench.value(ARL).verdict == kind


@pytest.mark.parametrize(
    ("context", "reason"),
    [
        ({"data": {"cifar10": JPEG}}, "data cifar10-jpeg75 (not the published data set)"),
        ({"tier": "tiny"}, "tier tiny"),
        ({"overrides": (("training.optim.lr", 0.05),)}, "changed by --set training.optim.lr=0.05"),
    ],
)
def test_only_published_data_at_the_whole_paper_tier_is_judged(
    bench: Bench, context: dict[str, Any], reason: str
) -> None:
    bench.make(ARL, 5.4, 5.5, 5.6, context=context)
    found = bench.value(ARL)
    assert found.verdict == "not_comparable"
    assert found.reasons == (reason,)


def test_a_cell_is_no_reference_for_its_own_spread(bench: Bench) -> None:
    bench.make(ARL, 5.2, 5.5, 5.8)
    alone = judge_cell(arms_of(bench.table(), "test_top1_err")[ARL], (1, 2, 3), "5.50")
    assert bench.value(ARL).interval == alone.interval


def test_an_error_of_a_split_that_its_source_does_not_name_is_compared(bench: Bench) -> None:
    bench.edit('value: "5.50"', 'value: "5.50", claims: unspecified')
    bench.make(ARL, 5.4, 5.5, 5.6)
    assert bench.value(ARL).verdict == "replicated"


def test_precision_and_engine_are_named_but_do_not_prevent_a_verdict(bench: Bench) -> None:
    bench.make(ARL, 5.4, 5.5, 5.6, context={"engine": "graph", "precision": "bf16"})
    assert bench.value(ARL).verdict == "replicated"
    assert "bf16 · graph engine" in judge(bench.table()).setting.label


def test_a_diverged_run_is_counted_and_never_averaged(bench: Bench) -> None:
    expanded = bench.make(ARL, 5.4, 5.6)
    factory.diverge(bench.results, expanded, ARL, 3)
    factory.diverge(bench.results, expanded, NAL, 1)
    found = bench.value(ARL)
    assert [*found.values.values()] == pytest.approx([5.4, 5.6])
    assert found.mean == pytest.approx(5.5)
    lost = bench.value(NAL)
    assert (lost.mean, lost.verdict) == (None, "not_run")
    assert value_sentence(lost) == "No result: 1 of 1 run diverged."
    cell = next(cell for cell in judge(bench.table()).cells if cell.cell == ARL)
    assert [run.seed for run in cell.done] == [1, 2]
    assert [run.status for run in cell.runs] == ["done", "done", "diverged"]


def test_like_is_compared_with_like_where_the_published_error_is_a_training_error(
    bench: Bench,
) -> None:
    bench.make(NAL, 15.0, 15.2, 15.4, train=9.1)
    found = bench.value(NAL)
    assert found.metric == "train_top1_err"
    assert found.mean == pytest.approx(9.1)
    assert any("training error under augmentation" in note for note in notes_of(found))


def test_a_published_number_of_unknown_split_is_never_ranked(bench: Bench) -> None:
    bench.make("attention-92/nal", 5.0, 5.1, 5.2)
    found = bench.value("attention-92/nal")
    assert found.verdict == "not_comparable"
    assert found.difference is None
    assert found.mean == pytest.approx(5.1)


def test_a_test_error_is_never_ranked_against_a_published_training_error(bench: Bench) -> None:
    bench.edit("metric: train_top1_err, claims: test", "claims: test")
    bench.make(NAL, 9.0, 9.1, 9.0)
    found = bench.value(NAL)
    assert (found.metric, found.verdict) == ("test_top1_err", "not_comparable")
    assert found.difference is None
    published = "the published number is the training error under augmentation"
    assert found.reasons == (f"{published}, the measured one the test error",)


def test_what_a_protocol_does_not_measure_is_said_not_invented(bench: Bench) -> None:
    protocol = bench.file.parent / "protocols" / "plain.yaml"
    protocol.write_text(protocol.read_text().replace("val_in_train: 100", "val_in_train: 0"))
    bench.edit("metric: train_top1_err", "metric: val_in_train_err")
    bench.make(NAL, 9.0)
    found = bench.value(NAL)
    assert (found.verdict, found.mean) == ("not_comparable", None)
    reason = "the error on validation images that are also trained on is not measured"
    assert found.reasons[-1] == reason


def test_a_blank_published_value_stays_blank_and_is_not_judged(bench: Bench) -> None:
    bench.make("attention-92/arl", 5.0, 5.1)
    found = bench.value("attention-92/arl")
    assert (found.verdict, found.difference) == ("shown", None)
    assert found.mean == pytest.approx(5.05)


def test_a_skipped_cell_shows_what_is_published_and_why(bench: Bench) -> None:
    found = bench.value("other/arl")
    assert (found.verdict, found.mean) == ("skipped", None)
    assert "published for context" in value_sentence(found)
    assert notes_of(found) == [value_sentence(found)]


@pytest.mark.parametrize(
    ("counted", "published", "equal"),
    [(1_864_372, "1.9", True), (1_841_242, "1.9", False), (28_366_154, "28", True),
     (1_850_000, "1.9", True), (1_849_999, "1.9", False)],
)  # fmt: skip
def test_a_parameter_count_agrees_with_the_published_one_when_it_rounds_to_it(
    counted: int, published: str, equal: bool
) -> None:
    assert rounds_to(counted / 1e6, PaperValue(value=published)) == equal


def test_parameters_come_from_the_catalogue_before_anything_has_run(bench: Bench) -> None:
    assert bench.value("attention-56/params").mean == pytest.approx(1.030362)
    hundred = judge_values(empty(load_suite("table2_depth")))
    counts = {v.row: v.mean for v in hundred if v.column == "params"}
    assert counts["attention-92"] == pytest.approx(1.864372)
    assert counts["resnet-164"] == pytest.approx(1.726388)


def test_a_narrow_network_says_nothing_about_the_published_size(bench: Bench) -> None:
    bench.make(ARL, 50.0, context={"tier": "tiny"})
    assert bench.value("attention-56/params").verdict == "not_comparable"
    assert bench.value("attention-92/params").mean is None  # not run, and not in the catalogue


def test_the_size_of_a_network_that_its_own_suite_makes_narrow_is_judged(bench: Bench) -> None:
    bench.edit("{model.name: attention-56}", "{model: {name: attention-56, width: 0.5}}")
    bench.edit('params: {value: "1.0"}', 'params: {value: "0.3"}')
    bench.make(ARL, 50.0)
    assert bench.value("attention-56/params").verdict == "differs"


def test_a_network_of_full_width_has_the_published_size_however_it_is_trained(bench: Bench) -> None:
    bench.make(ARL, 50.0, context={"overrides": (("training.optim.lr", 0.05),)})
    assert bench.value("attention-56/params").verdict == "equal"


def test_training_time_is_shown_and_not_judged(bench: Bench) -> None:
    bench.make(ARL, 5.4, 5.6)
    found = bench.value("attention-56/time")
    assert found.verdict == "shown"
    assert found.mean == pytest.approx(20.0)


def test_best_on_test_stands_apart_and_decides_nothing(bench: Bench) -> None:
    bench.make(ARL, 8.1, 8.2, 8.3, best=5.5)
    assert bench.value(ARL).verdict == "worse"


def test_errors_by_class_add_up_to_the_test_error_and_name_the_confusion(bench: Bench) -> None:
    bench.make(ARL, 5.4, 5.6)
    judged = judge(bench.table())
    [(label, found)] = errors_by_class(str(bench.results), judged).items()
    assert label == next(cell.label for cell in judged.cells if cell.cell == ARL)
    assert sum(found.errors) / 10 == pytest.approx(5.5)
    assert found.worst is not None
    truth, guess, share = found.worst
    assert found.names.index(guess) == (found.names.index(truth) + 1) % 10  # predictions are so
    assert share == pytest.approx(max(found.errors))


def test_classes_of_other_images_have_no_names(bench: Bench) -> None:
    bench.make(ARL, 5.4, context={"data": {"cifar10": JPEG}})
    [found] = errors_by_class(str(bench.results), judge(bench.table())).values()
    assert found.names == tuple("0123456789")


def test_a_forged_class_that_the_data_set_lacks_counts_for_no_class(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forged(error: float, seed: int) -> Predictions:
        made = made_predictions(error, seed)
        made.pred[made.pred != made.label] = 10
        return made

    made_predictions = factory.made_predictions
    monkeypatch.setattr(factory, "made_predictions", forged)
    bench.make(ARL, 5.4)
    assert errors_by_class(str(bench.results), judge(bench.table())) == {}


def test_every_setting_of_a_table_is_marked_and_deviations_are_named(bench: Bench) -> None:
    overrides = (("training.schedule.total", 2000),)
    bench.make(ARL, 5.4, context={"overrides": overrides, "data": {"cifar10": JPEG}})
    judged = judge(bench.table())
    marked = {entry.path: entry for entry in judged.settings}
    departed = {path for path, entry in marked.items() if entry.origin == "deviation"}
    assert {"data.id", "training.schedule.total"} <= departed
    assert judged.origins["deviation"] == len(departed)
    assert marked["training.schedule.total"].value == 2000
    assert marked["training.bn_eps"].reason == "usual"


def test_an_unknown_network_of_a_counted_table_is_named_with_its_file(tmp_path: Path) -> None:
    changes = {"{model.name: attention-56}": "{model.name: attention-57}"}
    path = edited_suite(tmp_path / "table5_architecture.yaml", "table5_architecture", changes)
    with pytest.raises(UsageError, match=r"table5_architecture.yaml: cannot count this network"):
        judge_values(empty(load_suite(str(path))))


def test_a_counted_network_is_the_one_that_would_be_trained(tmp_path: Path) -> None:
    paper = json.dumps(load_suite("table3_mask").protocol.model | {"name": "attention-56"})
    changes = {
        "\nmatrix:": "skips: [{where: {layer: fc}, reason: not ours}]\nmatrix:",
        "base:\n": f"base:\n  model: {paper}\n",
    }
    path = edited_suite(tmp_path / "table5_architecture.yaml", "table5_architecture", changes)
    values = judge_values(empty(load_suite(str(path))))
    judged = {v.row: v for v in values if v.column == "attention-56"}
    assert judged["params"].mean == pytest.approx(1.03, abs=0.01)  # whatever the protocol's options
    assert (judged["fc"].verdict, judged["fc"].reasons) == ("skipped", ("not ours",))
