from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from msgspec import structs

from resbench.analysis.arms import arm_of
from resbench.analysis.claims import JudgedClaim, judge_claims
from resbench.analysis.judge import report
from resbench.analysis.results import read_results
from resbench.analysis.tables import fill
from resbench.analysis.values import judge_values
from resbench.report.text import amount, claim_sentence, deciding_p, p_value, published_evidence
from resbench.store.layout import RunFolder
from resbench.suite.load import load_suite
from tests import factory
from tests.factory import JPEG, plant, suite_under
from tests.mini import edited_suite
from tests.stats.arms import arm, predicted
from tests.stats.arms import judged as judged_arms

Make = Callable[..., None]
SUITE = "table1_arl_vs_nal"


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write finished runs of cells, an error per seed each, in one context."""

    def make(suite: str = SUITE, context: dict[str, Any] | None = None, **cells: Any) -> None:
        expanded = suite_under(suite, **(context or {}))
        for cell, errors in cells.items():
            for seed, error in enumerate(errors, 1):
                factory.finish(tmp_path, expanded, cell, seed, error, train=error)

    return make


def judged(tmp_path: Path, suite: str = SUITE, table: int = 0) -> dict[str, JudgedClaim]:
    tables = fill(load_suite(suite), read_results(tmp_path))
    return {item.claim.id: item for item in judge_claims(tables[table])}


def test_a_claim_is_at_the_published_setting_by_its_own_data(tmp_path: Path) -> None:
    """Whatever images another cell of its suite saw; and one set of runs is judged once."""
    own, plain = suite_under("depth", data={"cifar10": JPEG}), suite_under("depth")
    for seed in (1, 2, 3):
        for depth, error in (("452", 20.4), ("236", 24), ("92", 28)):
            cell = f"attention-{depth}/cifar100"
            factory.finish(tmp_path, plain, cell, seed, error + seed / 10)
        factory.finish(tmp_path, own, "attention-56/cifar10", seed, 9)
    found = report(["depth"], read_results(tmp_path))
    ((table, claim),) = found.claims()
    assert claim.verdict == "confirmed"
    assert [t.setting.published for t in found.with_runs] == [True, False]
    assert table is found.tables[0]


def test_a_claim_over_two_data_sets_is_at_the_published_setting_if_both_are(tmp_path: Path) -> None:
    changes = {
        "error(attention-452/cifar10) < error(resnet-1001/cifar10)":
            "error(attention-92/cifar10) < error(attention-92/cifar100)",
        'published_pp: "0.74"': 'published_pp: "16.72"',
    }  # fmt: skip
    path = str(edited_suite(tmp_path / "depth.yaml", "depth", changes))
    mixed = suite_under(path, data={"cifar10": JPEG})
    for seed in (1, 2, 3):
        for data, error in (("cifar10", 5), ("cifar100", 22)):
            factory.finish(tmp_path, mixed, f"attention-92/{data}", seed, error + seed / 10)
    claim = judged(tmp_path, path, table=1)["attention-452-beats-resnet-1001-cifar10"]
    assert claim.verdict == "holds_here"
    assert claim.published_pp == pytest.approx(16.72)


def test_the_range_of_a_chain_is_not_taken_for_one_of_its_steps(tmp_path: Path) -> None:
    middle = '\n    cifar100: {value: "21.16", facts: [wang.t6.Attention-236.c100]}'
    path = str(edited_suite(tmp_path / "depth.yaml", "depth", {middle: ""}))
    whole, part = (judged(tmp_path, s)["deeper-is-better-cifar100"] for s in ("depth", path))
    assert whole.published_pp == pytest.approx(0.71)
    assert part.claim.published_pp == "1.26"
    assert part.published_pp is None


def test_the_difference_of_the_ends_is_not_taken_for_the_rise_of_a_line_through_four_gaps(
    tmp_path: Path,
) -> None:
    suite = load_suite("table4_noise").suite
    (gap,) = (claim for claim in suite.claims if claim.claim.startswith("gap"))
    whole = judged(tmp_path, "table4_noise")[gap.id].published_pp
    noise = ("10", "30", "50", "70")
    gaps = [f"gap(noise-{n}/resnet-164, noise-{n}/attention-92)" for n in noise]
    for shown, stated in ((4, None), (3, 2.16)):
        path = edited_suite(tmp_path / "noise.yaml", "table4_noise", {})
        content = yaml.safe_load(path.read_text())
        content |= {"published": {}, "claims": [{
            "id": "grows", "text": "The gap grows.", "place": "section 4.1",
            "claim": " < ".join(gaps[:shown]), "published_pp": "2.16",
        }]}  # fmt: skip
        path.write_text(json.dumps(content))
        assert judged(tmp_path, str(path))["grows"].published_pp == stated
    assert whole is not None


def test_a_claim_without_a_seed_in_all_its_cells_says_what_it_waits_for(
    make: Make, tmp_path: Path
) -> None:
    make(**{PAIR[0]: (5.0,)})
    factory.finish(tmp_path, suite_under(SUITE), PAIR[1], 2, 7.0)
    said = claim_sentence(judged(tmp_path)["arl-beats-nal-56"])
    assert said.startswith("Undecided: not all of the first 3 seeds have run; the next look waits")


def test_a_claim_about_a_baseline_at_another_protocol_than_its_own_is_not_confirmed(
    tmp_path: Path,
) -> None:
    suite = suite_under("depth")
    for seed in (1, 2, 3):
        factory.finish(tmp_path, suite, "attention-452/cifar100", seed, 20.4 + seed / 10)
        factory.finish(tmp_path, suite, "resnet-1001/cifar100", seed, 26 + seed / 10)
    found = report(["depth"], read_results(tmp_path))
    ((table, claim),) = found.claims()
    assert claim.verdict == "holds_here"
    assert table.setting.published  # other cells of it keep to the source
    values = {(value.row, value.column): value for value in table.values if value.values}
    resnet, attention = values["resnet-1001", "cifar100"], values["attention-452", "cifar100"]
    assert resnet.verdict == "not_comparable"
    assert "training.batch_size" in resnet.departures
    assert attention.verdict == "undecided"
    assert (attention.reasons, attention.departures) == ((), ())
    factory.finish(tmp_path / "alone", suite, "resnet-1001/cifar100", 1, 26.0)
    (alone,) = report(["depth"], read_results(tmp_path / "alone")).tables
    assert not alone.setting.published  # a cell without runs does not speak for those that have


def test_at_the_source_s_schedule_other_images_are_another_setting(
    tmp_path: Path, make: Make
) -> None:
    make(context={"data": {"cifar10": JPEG}}, **{PAIR[0]: (5, 5.1), PAIR[1]: (7, 7.1)})
    assert not judged(tmp_path)["arl-beats-nal-56"].at_published_setting


def test_a_diverged_run_guesses_among_the_classes_of_its_data_set(tmp_path: Path) -> None:
    suite = suite_under("depth")
    for seed in (1, 2, 3):
        factory.finish(tmp_path, suite, "attention-452/cifar100", seed, 20)
        factory.diverge(tmp_path, suite, "resnet-1001/cifar100", seed)
    found = report(["depth"], read_results(tmp_path))
    ((_, claim),) = found.claims()
    assert claim.effect_pp == pytest.approx(99 - 20)


def test_an_error_is_a_share_of_the_images_that_it_was_measured_on(tmp_path: Path) -> None:
    suite = suite_under("table6_arl_vs_nal_report")
    run = factory.finish(tmp_path, suite, PAIR[0], 1, 5.0)
    metrics = ("test_top1_err", "train_top1_err", "val_in_train_err")
    images = [arm_of("a", [run], metric, {}).images for metric in metrics]
    assert images == [factory.IMAGES, 50_000, run.spec["training"]["val_in_train"]]
    assert images[2]


PAIR = ["attention-56/arl", "attention-56/nal"]
GAPS = [f"attention-{depth}/{how}" for depth in (92, 128, 164) for how in ("arl", "nal")]
CHAIN = [f"attention-{depth}/arl" for depth in (164, 128, 92, 56)]


@pytest.mark.parametrize(
    ("claim", "cells", "errors", "verdict", "effect"),
    [
        ("arl-beats-nal-56", PAIR, (5, 7), "confirmed", 2),
        ("arl-beats-nal-56", PAIR, (7, 5), "contradicted", -2),
        ("arl-beats-nal-56", PAIR[:1], (5,), "not_run", None),
        ("gap-grows", GAPS, (5, 6, 5, 16, 5, 26), "confirmed", 20),
        ("gap-grows", GAPS, (5, 30, 5, 18, 5, 6), "contradicted", -24),
        ("deeper-is-better", CHAIN, (4, 6, 8, 10), "confirmed", 2),
        ("deeper-is-better", CHAIN, (4, 9, 5, 10), "contradicted", -4),
    ],
)
def test_a_claim_is_judged_on_the_cells_that_it_compares(
    tmp_path: Path, make: Make, claim: str, cells: list[str], errors: tuple[int, ...],
    verdict: str, effect: int | None,
) -> None:  # fmt: skip
    for cell, error in zip(cells, errors, strict=True):
        make(**{cell: [error, error + 0.1, error + 0.3]})
    found = judged(tmp_path)[claim]
    assert found.verdict == verdict
    assert found.effect_pp == (None if effect is None else pytest.approx(effect, abs=0.1))


def test_a_claim_about_training_errors_is_judged_on_training_errors(
    tmp_path: Path, make: Make
) -> None:
    arms = {"attention-56/arl": (5.0, 5.1, 5.3), "attention-56/nal": (9.0, 9.2, 9.2)}
    make("table6_arl_vs_nal_report", **arms)
    item = judged(tmp_path, "table6_arl_vs_nal_report")["nal-costs-56"]
    assert item.claim.metric == "train_top1_err"
    assert item.verdict == "confirmed"
    assert item.p_images is None
    suite, folder = suite_under("table6_arl_vs_nal_report", tier="cpu"), tmp_path / "falling"
    for seed in (1, 2, 3):  # on the test images only
        for cell, train in (("attention-56/arl", 5.0), ("attention-56/nal", 9.0)):
            plant(folder, suite, cell, seed, test=[90.0] * 8 + [40.0, 30.0], train=[train] * 10)
    found = judged(folder, "table6_arl_vs_nal_report")
    assert [len(found[f"nal-costs-56{on}"].not_learnt) for on in ("", "-test")] == [0, 2]


def test_arms_of_two_settings_do_not_meet(tmp_path: Path, make: Make) -> None:
    make(**{"attention-56/arl": (5.0, 5.1, 5.3)})
    make(context={"data": {"cifar10": JPEG}}, **{"attention-56/nal": (17.0, 17.2, 17.2)})
    for table in (0, 1):
        assert judged(tmp_path, table=table)["arl-beats-nal-56"].verdict == "not_run"


@pytest.mark.parametrize(
    ("context", "planned"),
    [({}, True), ({"tier": "tiny"}, False), ({"overrides": (("training.optim.lr", 0.05),)}, False)],
)
def test_one_seed_plans_others_only_where_the_assumed_spread_is_the_suites(
    tmp_path: Path, make: Make, context: dict[str, Any], planned: bool
) -> None:
    make(context=context, **{"attention-128/arl": (5.0,), "attention-128/nal": (12.0,)})
    found = judged(tmp_path)["arl-beats-nal-128"]  # 1.13 points, as published
    assert (found.seeds_needed is not None) == planned


def test_no_spread_is_usual_for_a_suite_that_departs_from_its_source(tmp_path: Path) -> None:
    expanded = suite_under("ladder", data={"cifar10": JPEG})
    for cell, error in (("arl", 5.0), ("nal", 12.0)):
        factory.finish(tmp_path, expanded, f"epochs-5/half/{cell}", 1, error)
    (found,) = (c for c in judged(tmp_path, "ladder").values() if c.effect_pp is not None)
    assert found.effect_pp == pytest.approx(7.0)
    assert found.seeds_needed is None


@pytest.mark.parametrize(
    ("context", "margin", "said"),
    [
        ({}, None, "if the true difference is the published one"),
        ({"tier": "cpu"}, None, "if the true difference is the measured one"),
        ({}, 0.7, "if there is no true difference"),
    ],
)
def test_seeds_are_planned_for_the_difference_that_is_named(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch, context: dict[str, Any],
    margin: float | None, said: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(factory, "IMAGES", 10_000)
    arl, nal = "attention-128/arl", "attention-128/nal"
    make(context=context, **{arl: (4.8, 5.1, 5.5), nal: (5.6, 6.0, 6.3)})
    (table,) = fill(load_suite(SUITE), read_results(tmp_path))
    loaded = table.expanded.loaded
    (claim,) = (each for each in loaded.suite.claims if each.id == "arl-beats-nal-128")
    if margin:
        claim = structs.replace(claim, claim=f"error({arl}) ~ error({nal})", margin_pp=margin)
    loaded = replace(loaded, suite=structs.replace(loaded.suite, claims=(claim,)))
    table = replace(table, expanded=replace(table.expanded, loaded=loaded))
    (found,) = judge_claims(table)
    assert f" seeds per arm would probably decide it, {said}." in claim_sentence(found)


def test_arms_on_other_images_are_compared_by_their_errors_alone(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(**{"attention-56/arl": (5.0, 5.1, 5.3), "attention-92/arl": (5.0, 5.1, 5.3)})
    make(**{"attention-92/nal": (9.0, 9.1, 9.3)})
    monkeypatch.setattr(factory, "IMAGES", 500)
    make(**{"attention-56/nal": (9.0, 9.2, 9.4)})
    found = judged(tmp_path)
    assert found["arl-beats-nal-56"].p_images is None
    assert found["arl-beats-nal-92"].p_images is not None


def test_predictions_that_vanish_after_the_scan_leave_the_errors_to_decide(
    tmp_path: Path, make: Make
) -> None:
    make(**{"attention-56/arl": (5.0, 5.1, 5.3), "attention-56/nal": (9.0, 9.2, 9.2)})
    (table,) = fill(load_suite(SUITE), read_results(tmp_path))
    RunFolder(tmp_path, table.records[0].key).predictions.unlink()
    found = {item.claim.id: item for item in judge_claims(table)}["arl-beats-nal-56"]
    assert found.verdict == "confirmed"
    assert found.p_images is None


def test_a_diverged_run_counts_as_an_outcome_of_its_arm(tmp_path: Path, make: Make) -> None:
    make(**{"attention-56/arl": (5.0, 5.1, 5.3), "attention-56/nal": (5.0, 5.2)})
    factory.diverge(tmp_path, suite_under(SUITE), "attention-56/nal", 3)
    found = judged(tmp_path)["arl-beats-nal-56"]
    assert found.diverged == {"attention-56/nal": 1}
    assert found.effect_pp == pytest.approx((5.0 + 5.2 + 90.0 - 15.4) / 3)
    assert (found.look, found.uneven) == (3, ("attention-56/nal",))
    assert found.verdict == "undecided"


def planted(tmp_path: Path, context: dict[str, Any], **cells: tuple[float, float]) -> JudgedClaim:
    """Judge the first claim on arms of three seeds, each with the last two errors of its runs."""
    expanded = suite_under(SUITE, **context)
    for cell, (before, last) in cells.items():
        for seed in (1, 2, 3):
            plant(tmp_path, expanded, cell, seed, test=[90.0] * 8 + [before, last + seed / 10])
    return judged(tmp_path)["arl-beats-nal-56"]


CPU = {"tier": "cpu", "data": {"cifar10": JPEG}}


@pytest.mark.parametrize(
    ("context", "nal", "verdict"),
    [
        (CPU, (20.1, 20.0), "holds_here"),
        (CPU, (60.0, 60.0), "not_learnt"),  # near guessing
        (CPU, (30.0, 20.0), "not_learnt"),  # still falling
        ({}, (60.0, 60.0), "confirmed"),  # at the source's own schedule, that is the outcome
        ({"data": {"cifar10": JPEG}}, (60.0, 60.0), "holds_here"),
    ],
)
def test_networks_that_have_not_learnt_get_no_verdict_on_the_claim(
    tmp_path: Path, context: dict[str, Any], nal: tuple[float, float], verdict: str
) -> None:
    arms = {"attention-56/arl": (10.0, 10.0), "attention-56/nal": nal}
    found = planted(tmp_path, context, **arms)
    assert found.not_learnt == (("attention-56/nal",) if verdict == "not_learnt" else ())
    assert found.verdict == verdict
    assert found.p_adjusted is not None


def test_half_of_guessing_is_more_among_more_classes(tmp_path: Path) -> None:
    suite = suite_under("depth", tier="cpu")
    for cell, error in (("attention-452/cifar100", 30.0), ("resnet-1001/cifar100", 47.0)):
        for seed in (1, 2, 3):
            plant(tmp_path, suite, cell, seed, test=[error] * 10)
    ((_, claim),) = report(["depth"], read_results(tmp_path)).claims()
    assert (claim.not_learnt, claim.verdict) == ((), "holds_here")


def test_networks_of_one_epoch_have_not_learnt(tmp_path: Path) -> None:
    suite = suite_under(SUITE, tier="cpu")
    for cell, error in (("attention-56/arl", 20.0), ("attention-56/nal", 30.0)):
        for seed in (1, 2, 3):
            plant(tmp_path, suite, cell, seed, test=[error])
    claim = judged(tmp_path)["arl-beats-nal-56"]
    assert claim.verdict == "not_learnt"
    assert claim.not_learnt == ("attention-56/arl", "attention-56/nal")


def test_a_run_after_the_look_makes_no_arm_learnt(tmp_path: Path) -> None:
    for nal in ((46.0, 46.0), (30.0, 20.0)):  # near guessing; still falling
        for later in ((30.0, 30.0), (45.0, 45.0), (5.0, 60.0)):
            folder = tmp_path / f"{nal} {later}"
            arms = {"attention-56/arl": (10, 10), "attention-56/nal": nal}
            found = planted(folder, CPU, **arms)
            test = [90.0] * 8 + [*later]
            plant(folder, suite_under(SUITE, **CPU), "attention-56/nal", 4, test=test)
            again = judged(folder)["arl-beats-nal-56"]
            assert found.not_learnt == again.not_learnt == ("attention-56/nal",)
            assert (again.look, again.verdict) == (3, "not_learnt")


def test_a_setting_whose_seeds_complete_no_look_does_not_speak_for_the_others(
    tmp_path: Path,
) -> None:
    for tier, seeds in (("cpu", (2, 3, 4)), ("tiny", (1, 2, 3))):
        for cell, error in (("local", 40.0), ("encoder-decoder", 30.0)):
            for seed in seeds:
                expanded = suite_under("table3_mask", tier=tier)
                plant(tmp_path, expanded, cell, seed, test=[error, error + seed / 10])
    found = report(["table3_mask"], read_results(tmp_path))
    assert [table.setting.tier for table in found.tables] == ["cpu", "tiny"]
    assert [tables[0].setting.tier for tables in found.by_setting.values()] == ["cpu", "tiny"]
    shown = [(table.setting.tier, claim.look) for table, claim in found.claims(closest=True)]
    assert shown == [("tiny", 3)]


def test_where_no_setting_completes_a_look_the_one_with_most_seeds_speaks(tmp_path: Path) -> None:
    for tier, seeds in (("cpu", (1,)), ("tiny", (1, 2))):
        for cell, error in (("local", 40.0), ("encoder-decoder", 30.0)):
            for seed in seeds:
                plant(tmp_path, suite_under("table3_mask", tier=tier), cell, seed, test=[error])
    ((table, claim),) = report(["table3_mask"], read_results(tmp_path)).claims()
    assert (table.setting.tier, claim.n, claim.look) == ("tiny", 2, 0)


def test_claims_that_no_source_makes_cost_the_others_nothing(tmp_path: Path, make: Make) -> None:
    make(**{"attention-56/arl": (5.0, 5.1, 5.3), "attention-56/nal": (9.0, 9.2, 9.2)})
    found = judged(tmp_path)
    of_sources = sum(not item.claim.ours for item in found.values())
    assert 0 < of_sources < len(found)
    first = found["arl-beats-nal-56"]
    assert first.p is not None
    assert first.p_adjusted == pytest.approx(min(1.0, 3 * of_sources * first.p))


def test_sizes_within_networks_are_claims_about_factors(tmp_path: Path) -> None:
    for seed in (1, 2, 3, 4, 5):
        factory.with_signals(tmp_path, "attention-164/arl", seed, 10.0 + seed / 50, 20.0 + seed)
        sizes = 0.1 + seed / 5000, 20_000.0 + 50 * seed
        factory.with_signals(tmp_path, "attention-164/nal", seed, *sizes)
    found = judged(tmp_path, "mechanism")
    fades = found["values-fade"]
    assert fades.effect_pp == pytest.approx(2.0, abs=0.01)  # a factor of 100
    assert fades.verdict == "holds_here"  # 100 steps are not the source's schedule
    assert "a factor of 1" in claim_sentence(fades)
    assert " pp" not in claim_sentence(fades)
    factors = {2.0: "×100", -0.0595: "×0.872", 3.3305: "×2,140"}
    assert {log10: amount(fades, log10) for log10 in factors} == factors
    assert found["gradient-grows"].verdict == "holds_here"
    assert not found["values-fade-with-depth"].has_runs


def test_a_size_of_nothing_is_no_power_of_ten(tmp_path: Path) -> None:
    factory.with_signals(tmp_path, "attention-164/arl", 1, 0.0, 20.0)
    factory.with_signals(tmp_path, "attention-164/nal", 1, 0.1, 2e4)
    found = judged(tmp_path, "mechanism")
    assert found["values-fade"].missing == ("attention-164/arl",)
    assert found["gradient-grows"].effect_pp == pytest.approx(3.0)
    assert found["gradient-grows"].seeds_needed is None  # no spread is usual for powers of ten


def test_of_a_run_that_diverged_the_sizes_before_count_and_no_guess_stands_for_those_after(
    tmp_path: Path,
) -> None:
    for seed in (1, 2, 3):
        factory.with_signals(tmp_path, "attention-164/arl", seed, 10.0, 20.0 + seed)
        sizes = 1.0, 2e4 + seed
        factory.with_signals(tmp_path, "attention-164/nal", seed, *sizes, diverged=seed == 2)
    found = judged(tmp_path, "mechanism")
    grows, recover = found["gradient-grows"], found["values-recover"]
    assert (grows.n, grows.verdict, grows.diverged) == (3, "holds_here", {})
    assert (recover.n, recover.verdict) == (2, "undecided")
    said = claim_sentence(recover)
    assert "not all of the first 3 seeds have been measured" in said  # all three have run
    assert "the next look lacks attention-164/nal seed 2" in said
    (table,) = report(["mechanism"], read_results(tmp_path)).tables
    shown = {(value.cell, value.metric): value for value in table.values}
    start, end = (shown["attention-164/nal", f"value_at_{when}"] for when in ("start", "end"))
    assert (len(start.values), start.diverged) == (3, 0)
    assert (len(end.values), end.diverged) == (2, 1)


def test_a_suite_that_departs_from_its_source_never_speaks_for_it(tmp_path: Path) -> None:
    ladder = suite_under("ladder")
    for seed in (1, 2, 3):
        for how, error in (("arl", 60.0), ("nal", 70.0)):
            factory.finish(tmp_path, ladder, f"epochs-5/half/{how}", seed, error + seed / 10)
    claim = judged(tmp_path, "ladder")["arl-beats-nal-5"]
    assert not claim.at_published_setting
    assert claim.not_learnt  # errors above half of guessing: the guard holds in such a suite too
    (table,) = report(("ladder",), read_results(tmp_path)).tables
    assert not table.setting.published
    assert table.setting.label.startswith("own setting, not the published one")
    assert "half the padding at half the size" in table.setting.changes
    assert table.setting.images_seen == 40 * (50_000 // 64) * 64  # of its longest runs


def value_of_arl(tmp_path: Path) -> tuple[int, float | None]:
    """The look of a published number, and the p that it is replicated."""
    table, *_ = fill(load_suite(SUITE), read_results(tmp_path))
    found = next(v for v in judge_values(table) if v.cell == "attention-56/arl" and v.is_error)
    return found.look, found.p_within


def test_seeds_that_nobody_declared_do_not_choose_what_is_looked_at(
    tmp_path: Path, make: Make
) -> None:
    """A look takes the declared seeds, then 1, 2, 3 and so on, whatever else was run."""
    make(**{"attention-56/arl": (5.0, 5.1, 5.2), "attention-56/nal": (6.0, 6.1, 6.2)})
    before, number = judged(tmp_path)["arl-beats-nal-56"], value_of_arl(tmp_path)
    for seed, error in ((0, 50.0), (6, 1.0), (7, 1.0)):
        for cell in ("attention-56/arl", "attention-56/nal"):
            factory.finish(tmp_path, suite_under(SUITE), cell, seed, error, train=error)
    after = judged(tmp_path)["arl-beats-nal-56"]
    assert (after.look, after.effect_pp, after.p) == (before.look, before.effect_pp, before.p)
    assert value_of_arl(tmp_path) == number


def of_arms(operator: Any, *errors: tuple[float, ...], **more: Any) -> JudgedClaim:
    """Judge a claim about two arms with these errors, with the text of any claim."""
    arms = [arm(name, *numbers) for name, numbers in zip("ab", errors, strict=True)]
    return of_terms(operator, arms, **more)


def of_terms(operator: Any, terms: Any, **more: Any) -> JudgedClaim:
    claim = structs.replace(load_suite(SUITE).suite.claims[0], margin_pp=more.get("margin"))
    return JudgedClaim(claim=claim, **vars(judged_arms(operator, terms, **more)))


LOW, HIGH, NEAR = (5.0, 5.1, 5.2), (7.0, 7.1, 7.2), (5.05, 5.15, 5.2)


@pytest.mark.parametrize(
    ("errors", "more", "verdict", "side"),
    [
        ((LOW, HIGH), {}, "confirmed", "p"),
        ((HIGH, LOW), {}, "contradicted", "p_against"),
        ((HIGH, LOW), {"at_published_setting": False}, "reversed_here", "p_against"),
        ((LOW, (5.3, 5.4, 5.5)), {}, "leans_for", "p"),
        (((5.3, 5.4, 5.5), LOW), {}, "leans_against", "p_against"),
        ((LOW, NEAR), {"published": [2.0]}, "smaller", "p_smaller"),
        ((LOW, NEAR), {}, "undecided", "p"),
        ((NEAR, LOW), {}, "undecided", "p_against"),
        ((HIGH, LOW), {"not_learnt": ["a"]}, "not_learnt", "p_against"),
    ],
)
def test_the_p_that_is_shown_is_the_one_that_the_verdict_rests_on(
    errors: tuple[tuple[float, ...], ...], more: dict[str, Any], verdict: str, side: str
) -> None:
    found = of_arms("<", *errors, **more)
    assert found.verdict == verdict
    assert deciding_p(found) == (getattr(found, side), getattr(found, f"{side}_adjusted"))
    assert deciding_p(found)[0] is not None


def test_p_for_other_test_images_points_the_way_of_the_p_before_it() -> None:
    rng = np.random.default_rng(4)
    rates = (("a", 5.0), ("b", 7.0), ("c", 7.1))
    good, bad, close = (predicted(name, rate, rng) for name, rate in rates)
    right = of_terms("<", [good, bad], others={"c": close})
    wrong = of_terms("<", [bad, good], others={"c": close})
    chain = of_terms("monotone_increasing", [bad, good, close])
    assert (right.verdict, wrong.verdict, chain.verdict) == ("confirmed", *["contradicted"] * 2)
    assert right.p_images
    for claim, p in ((right, 1), (wrong, 1), (chain, 2)):  # against one of two steps
        said = f" {p_value(p * right.p_images)} if test images also count as drawn by chance"
        assert said in claim_sentence(claim)


def test_a_published_difference_stands_beside_effects_of_its_own_setting_alone() -> None:
    own, other = (
        claim_sentence(of_arms("<", LOW, HIGH, published=[0.37], at_published_setting=at))
        for at in (True, False)
    )
    assert ", published +0.37, " in own
    assert "published" not in other


def test_a_sentence_says_what_would_decide_a_claim_that_is_not_decided() -> None:
    close = [arm("a", 5.0, 5.2, 5.4), arm("b", 5.2, 5.4, 5.6)]
    waits = claim_sentence(of_terms("<", close, seeds=range(1, 9), published=[0.6]))
    assert "the next look waits for a seed 4, a seed 5, b seed 4 and 1 more" in waits
    assert "5 seeds per arm would probably decide it" in waits
    enough = of_terms("<", close, seeds=range(1, 9), published=[1.0])
    assert (enough.verdict, enough.seeds_needed) == ("undecided", enough.look)
    assert "would probably decide it" not in claim_sentence(enough)
    apart = [arm("a", *LOW), arm("b", 5.5, 5.6, 7.5)]
    later = [close[0], arm("b", 5.2, 5.4, 5.6, 90.0, diverged=[4])]
    for odd, published in ((apart, 2.5), (later, 0.6)):  # a t-test cannot tell what ranks need
        found = of_terms("<", odd, seeds=range(1, 9), published=[published])
        assert (found.look, found.seeds_needed) == (3, 5)
        assert "would probably decide it" not in claim_sentence(found)
    tiny = [arm("a", 1.0, 1.02, 1.04, chance=1e-9), arm("b", 1.04, 1.06, 1.08, chance=1e-9)]
    less = of_terms("<", tiny, seeds=range(1, 9), published=[0.05])  # than any verdict is about
    assert (less.verdict, less.seeds_needed) == ("leans_for", None)
    like = [arm("56/arl", 5.0, 5.3, 5.6), arm("56/nal", 6.5, 6.8, 7.1)]
    failed = {f"{i}/nal": arm(f"{i}/nal", *LOW) for i in (128, 164)}
    failed["92/arl"] = arm("92/arl", 5.0, 5.1, 30.0)
    held = of_terms("<", like, others=failed, seeds=range(1, 9), published=[0.8])
    assert (held.verdict, held.seeds_needed) == ("leans_for", 5)
    assert "would probably decide it" not in claim_sentence(held)  # more seeds may fail too
    assert "may explain the whole effect" in claim_sentence(held)
    done = claim_sentence(of_arms("<", LOW, HIGH, seeds=range(1, 9), published=[0.6]))
    assert "waits for" not in done
    assert "would probably decide it" not in done


def test_arms_that_err_alike_show_no_difference_in_any_way() -> None:
    said = claim_sentence(of_arms("<", LOW, LOW, published=[0.37]))
    assert said.startswith("Undecided: no difference, ")
    assert "the other way" not in said


def test_a_sentence_says_what_holds_a_claim_back() -> None:
    later = [arm("a", *LOW, 90.0, diverged=[4]), arm("b", *HIGH, 7.1)]
    said = claim_sentence(of_terms("<", later))
    assert "3 seeds per arm" in said
    assert "1 run of a diverged after this look, so that nothing is decided" in said
    like = [arm("56/arl", *LOW), arm("56/nal", *HIGH)]
    even = {f"{i}/nal": arm(f"{i}/nal", *HIGH) for i in (128, 164)}
    failed = {**even, "92/arl": arm("92/arl", 5.0, 5.1, 8.05)}
    assert "may explain 1.89 pp of the effect" in claim_sentence(of_terms("<", like, others=failed))
    lost = arm("b", *HIGH[:2], 90.0, diverged=[3])
    apart = "the runs of b spread too far for a t-test"
    assert f"{apart}: ranks decide" in claim_sentence(of_terms("<", [like[0], lost]))
    all_lost = claim_sentence(of_terms("<", [like[0], arm("b", *[90.0] * 3, diverged=[1, 2, 3])]))
    assert "guessing has no spread for a t-test: ranks decide" in all_lost
    assert "spread too far" not in all_lost
    gaps = [(like[0], lost), (arm("c", *LOW), arm("d", *HIGH))]
    assert f"{apart}: this claim cannot be tested" in claim_sentence(of_terms("gap_grows", gaps))
    early = [arm("a", 5.0, 5.1), arm("b", 7.0, 90.0, diverged=[2])]
    assert "t-test" not in claim_sentence(of_terms("<", early))


def test_arms_that_are_claimed_to_be_alike_get_no_words_of_an_order() -> None:
    apart = (5.0, 5.3, 5.6), (5.4, 5.7, 6.0)
    for errors in (apart, apart[::-1]):
        found = of_arms("~", *errors, margin=0.5, published=[0.9], at_published_setting=False)
        assert found.verdict == "undecided"
        assert "in the claimed order" not in claim_sentence(found)
        assert deciding_p(found) == (found.p, found.p_adjusted)
        assert published_evidence(found) == "3.2 sd apart"
        other = of_arms("~", *errors, margin=0.5, published=[-0.9], at_published_setting=False)
        assert published_evidence(other) == "3.2 sd apart"
    sizes = replace(found, claim=structs.replace(found.claim, metric="value_at_end"))
    assert "Undecided: ratio ×0.398, margin ×3.16, " in claim_sentence(sizes)
    assert " pp" not in claim_sentence(sizes)


@pytest.mark.parametrize(
    ("published", "said"),
    [
        (-0.6, "against (-2.1 sd)"),
        (-0.2, "within noise (-0.7 sd)"),
        (0.28, "within noise (0.9 sd)"),
        (0.56, "weak (1.9 sd)"),
        (0.57, "fair (2.0 sd)"),
        (0.85, "strong (3.0 sd)"),
    ],
)
def test_published_evidence_is_named_by_its_side_of_a_limit(published: float, said: str) -> None:
    errors = (5.0, 5.1, 5.2), (5.1, 5.2, 5.3)
    found = of_arms("<", *errors, published=[published], at_published_setting=False)
    assert published_evidence(found) == said


def test_no_order_is_named_between_unlearnt_networks_that_show_none() -> None:
    found = of_arms("<", (5.0, 5.1, 5.2), (5.1, 5.1, 5.3), not_learnt=["a"])
    assert (found.verdict, found.not_learnt) == ("undecided", ("a",))


def test_a_p_above_the_limit_is_not_shown_as_the_limit() -> None:
    shown = [p_value(p) for p in (0.05, 0.0500001, 0.0504, 0.0516, 0.5, 0.049, 0.0001, 9e-5)]
    assert shown == ["0.05", "0.051", "0.051", "0.052", "0.5", "0.049", "0.0001", "<0.0001"]
