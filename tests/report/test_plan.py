from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from resbench.analysis.declared import declared, published_steps
from resbench.analysis.judge import judge
from resbench.analysis.plan import PlannedTime, Power, claim_powers
from resbench.analysis.results import read_results
from resbench.analysis.tables import empty, fill
from resbench.cli.planning import plan_request
from resbench.machine import cpu_name
from resbench.report.document import Document
from resbench.report.plan_page import answer, plan_document
from resbench.report.render import render
from resbench.report.tables import table_blocks
from resbench.runner.devices import Device
from resbench.store.records import RunRecord
from resbench.suite.expand import Expanded, parsed_claims
from resbench.suite.load import load_suite, suite_names
from tests import factory
from tests.cli.invoke import Shell
from tests.factory import JPEG, plant, suite_under
from tests.mini import suite_of, write_suite
from tests.stats.arms import arm, judged

SUITE, ARL, NAL = "table1_arl_vs_nal", "attention-56/arl", "attention-56/nal"
CPU = Device("cpu", "CPU")


def powers(suite: str = SUITE) -> dict[str, Power]:
    return {power.claim.id: power for power in claim_powers(declared(load_suite(suite)), {})}


@pytest.mark.parametrize(
    ("suite", "claim", "effect"),
    [
        (SUITE, "arl-beats-nal-56", 5.89 - 5.52),
        (SUITE, "gap-grows", (7.18 - 4.31) - (5.35 - 4.99)),
        (SUITE, "deeper-is-better", 4.44 - 4.31),
        (SUITE, "naive-degrades", 5.57 - 5.35),
        ("depth", "deeper-is-better-cifar100", 21.71 - 21.16),
        ("table7_cifar10_report", "attention-92-fails", 33.19 - 3.27),
        ("table7_cifar10_report", "attention-92-fails-test", None),
    ],
)
def test_the_published_effect_is_the_one_that_the_test_of_the_claim_looks_at(
    suite: str, claim: str, effect: float | None
) -> None:
    found = powers(suite)[claim].published_pp
    assert found == (None if effect is None else pytest.approx(effect))


@pytest.mark.parametrize("order", ["error(nal) ~ error(arl)", "error(arl) ~ error(nal)"])
@pytest.mark.parametrize("published", [True, False])
def test_an_equivalence_is_planned_for_its_margin_whatever_is_published(
    tmp_path: Path, order: str, published: bool
) -> None:
    suite = suite_of(seeds=(1, 2, 3))
    claim = {"id": "same", "text": "They are alike.", "place": "here", "claim": order}
    suite["claims"] = [claim | {"margin_pp": 17.7}]  # 2.5 times what chance gives on 50 images
    if published:
        suite["published"] = {"arl": {"err": {"value": "5.5"}}, "nal": {"err": {"value": "5.9"}}}
    expanded = declared(load_suite(str(write_suite(tmp_path, suite))))
    (power,) = claim_powers(expanded, {})
    assert answer(power) == "8 seeds"
    page = render(plan_document([expanded], [], [CPU], {}, ""), "markdown")
    assert "(or that show two cells to be alike, if that is claimed)" in page


def test_a_difference_stated_without_its_cells_is_taken_as_stated() -> None:
    expanded = declared(load_suite("table3_mask"))
    parsed = parsed_claims(expanded)[0]
    claim = structs.replace(expanded.loaded.suite.claims[0], metric="train_top1_err")
    assert published_steps(expanded, claim, parsed) == (0.96,)


def test_the_range_of_a_chain_says_nothing_of_its_steps() -> None:
    expanded = declared(load_suite(SUITE))
    pairs = zip(expanded.loaded.suite.claims, parsed_claims(expanded), strict=True)
    (chain,) = (pair for pair in pairs if pair[0].id == "deeper-is-better")
    claim = structs.replace(chain[0], metric="train_top1_err", published_pp="1.21")
    assert published_steps(expanded, claim, chain[1]) == ()


@pytest.mark.parametrize("suite", [n for n in suite_names() if load_suite(n).suite.claims])
def test_seeds_to_decide_are_those_that_the_verdict_asks_for(suite: str) -> None:
    expanded, found = declared(load_suite(suite)), powers(suite)
    claims = expanded.loaded.suite.claims
    sizes = [power for power in found.values() if power.published_pp is not None]
    for claim, parsed in zip(claims, parsed_claims(expanded), strict=True):
        if found[claim.id] in sizes:
            one = [arm(str(i), float(i)) for i in range(2 * len(parsed.terms))]
            pairs = list(zip(one[::2], one[1::2], strict=True))
            verdict = judged(
                parsed.operator,
                pairs if parsed.operator == "gap_grows" else one[: len(parsed.terms)],
                family=sum(other.ours == claim.ours for other in claims),
                published=published_steps(expanded, claim, parsed),
                planning_sd=0.2,
            )
            assert found[claim.id].seeds_needed == verdict.seeds_needed
    # the sources publish no number for these claims
    assert sizes or suite in ("optimizer", "ladder", "report_choices", "mechanism")


def test_a_chain_that_runs_as_published_is_not_ruled_out_by_its_own_range(tmp_path: Path) -> None:
    """Its test looks at the weakest step, 0.13, and not at the 1.21 from end to end."""
    expanded = declared(load_suite(SUITE))
    for network, row in expanded.loaded.suite.published.items():
        for seed, luck in enumerate((-0.2, 0.0, 0.3), 1):
            error = round(float(row["arl"].value or 0) + luck * (network[-1] != "6"), 1)
            factory.finish(tmp_path, expanded, f"{network}/arl", seed, error)
    (table,) = fill(expanded.loaded, read_results(tmp_path))
    (chain,) = (item for item in judge(table).claims if item.claim.id == "deeper-is-better")
    assert chain.published_pp == pytest.approx(0.13)
    assert chain.verdict in ("undecided", "leans_for", "confirmed")


def test_what_is_detected_pays_for_the_number_of_claims() -> None:
    (alone,) = powers("table3_mask").values()
    several = [power for power in powers().values() if " < " in power.claim.claim]
    assert all(power.detectable_pp > alone.detectable_pp for power in several)


@pytest.mark.parametrize(
    ("suite", "tier", "rows", "said"),
    [(SUITE, "paper", 7, "5 claims (2 for ours)"), ("ladder", "cpu", 1, "3 claims")],
)
def test_the_correction_that_is_named_is_the_one_that_was_used(
    suite: str, tier: str, rows: int, said: str
) -> None:
    """It counts the claims of the suite, also those about cells that are not trained here."""
    expanded = suite_under(suite, tier=tier)
    page = plan_document([expanded], [], [CPU], {}, "")
    assert len(page.data["suites"][0]["claims"]) == rows
    text = " ".join(render(page, "markdown").split())
    assert f"Holm's correction for {said}" in text
    assert f"Holm's correction for {said} (" not in text


def test_seeds_that_no_look_takes_first_decide_nothing_unless_the_first_are_recorded(
    tmp_path: Path, shell: Shell
) -> None:
    def answers() -> tuple[set[int], str]:
        (suite,) = shell.json("plan table3_mask --seeds 4,5,6")["suites"]
        (text,) = {claim["answer"] for claim in suite["claims"]}
        return {claim["seeds"] for claim in suite["claims"]}, text

    assert answers() == ({0}, "3 seeds")
    said = shell("plan table3_mask --seeds 4,5,6").words
    assert "seeds 1, 2, 3 are judged first" in said
    for cell, expected in (("local", ({0}, "3 seeds")), ("encoder-decoder", ({6}, "6 are enough"))):
        for seed in (1, 2, 3):
            factory.finish(tmp_path, suite_under("table3_mask"), cell, seed, 5.0)
        assert answers() == expected


@pytest.mark.parametrize(
    ("seeds", "needed", "sought", "said"),
    [
        (5, 3, 0.4, "5 are enough"),
        (5, 5, 0.4, "5 are enough"),
        (5, 8, 0.4, "8 seeds"),
        (5, None, 0.4, "more than 8 seeds"),
        (5, None, 0.0, "not in the published numbers"),
        (5, None, None, "no published size"),
    ],
)
def test_the_answer_names_the_seeds_that_decide(
    seeds: int, needed: int | None, sought: float | None, said: str
) -> None:
    power = powers()["arl-beats-nal-56"]
    assert answer(replace(power, seeds=seeds, seeds_needed=needed, sought_pp=sought)) == said


def test_the_time_of_one_run_is_that_of_one_from_its_start() -> None:
    expanded, cells = declared(load_suite("table3_mask")), (("table3_mask", "local"),)
    started, fresh = (
        PlannedTime(cells, seed, None, epochs, left_s, measured=True)
        for seed, epochs, left_s in ((1, 9, 7.0), (2, 0, 50.0))
    )
    page = render(plan_document([expanded], [started, fresh], [CPU], {}, "x"), "markdown")
    (row,) = (line for line in page.splitlines() if line.startswith("| local "))
    cells_of_row = [cell.strip() for cell in row.replace("\xa0", " ").strip("|").split("|")]
    assert cells_of_row == ["local", "0", "2 (1 started)", "50 s", "57 s"]


def test_a_budget_adds_to_what_is_recorded_and_one_estimate_marks_a_sum(tmp_path: Path) -> None:
    expanded = declared(load_suite("table3_mask"))
    cells = [cell.id for cell in expanded.cells if cell.spec]
    record = factory.finish(tmp_path, expanded, cells[0], 1, 5.0)
    runs = [PlannedTime((("table3_mask", cells[0]),), 1, record, 0, 0.0)]
    runs += [
        PlannedTime((("table3_mask", cell),), 2, None, 0, 60.0, measured=cell != cells[1])
        for cell in cells
    ]

    def page(budget_s: float) -> str:
        found = plan_document([expanded], runs, [CPU], {}, "resbench run", budget_s)
        return " ".join(render(found, "markdown").split())

    assert f"{len(cells)} runs to do, 1 recorded; 1 worker on CPU. Time: \\~" in page(60)
    assert "is enough for 1 run: each cell then has 0 to 2 seeds." in page(60)
    assert "is enough for 1 run, 1 more in part: each" in page(90)
    assert "no run would finish; 1 run would start." in page(30)


def test_fewer_than_three_seeds_detect_nothing() -> None:
    for power in claim_powers(suite_under(SUITE, tier="tiny"), {}):
        assert power.seeds == 2
        assert math.isinf(power.detectable_pp)


def runs_of(
    results: Path, expanded: Expanded, errors: dict[str, tuple[float, ...]]
) -> dict[str, list[RunRecord]]:
    """Finished runs by their cells."""
    return {
        cell: factory.finish_all(results, expanded, {cell: own}) for cell, own in errors.items()
    }


def test_the_sd_is_measured_once_a_cell_has_two_runs(tmp_path: Path) -> None:
    expanded = declared(load_suite(SUITE))
    errors = {ARL: (5.0, 5.2, 5.4), NAL: (6.0, 6.8, 7.6), "attention-92/arl": (5.0,)}
    runs = runs_of(tmp_path, expanded, errors)
    found = {power.claim.id: power.spread for power in claim_powers(expanded, runs)}
    pooled = math.sqrt((2 * 0.2**2 + 2 * 0.8**2) / 4)
    for claim, whose in (("arl-beats-nal-56", "the claim's"), ("arl-beats-nal-92", "this table's")):
        assert found[claim].measured
        assert found[claim].sd_pp == pytest.approx(pooled)
        assert found[claim].source == f"measured on {whose} cells"


def test_runs_that_are_close_by_luck_do_not_promise_that_any_difference_is_found(
    tmp_path: Path,
) -> None:
    expanded = declared(load_suite(SUITE))
    runs = runs_of(tmp_path, expanded, {ARL: (5.0, 5.1)})
    luck, assumed = (claim_powers(expanded, known)[0] for known in (runs, {}))
    assert luck.spread.measured
    assert luck.spread.sd_pp == pytest.approx(math.sqrt((2 * 0.2**2 + 0.1**2 / 2) / 3))
    assert "on this table's cells, raised because so few runs may be alike" in luck.spread.source
    assert 0.8 * assumed.detectable_pp < luck.detectable_pp < assumed.detectable_pp


def test_four_runs_of_the_cells_of_a_claim_are_too_few_for_an_sd_of_their_own(
    tmp_path: Path,
) -> None:
    expanded = declared(load_suite(SUITE))
    errors = {ARL: (5.0, 5.4), NAL: (6.0, 6.4), "attention-92/arl": (5.0, 6.0, 7.0)}
    spread = claim_powers(expanded, runs_of(tmp_path, expanded, errors))[0].spread
    assert spread.source == "measured on this table's cells"
    assert spread.sd_pp == pytest.approx(math.sqrt((2 * 0.08 + 2 * 1.0) / 4))


def test_an_assumed_sd_says_so_and_grows_with_a_small_test_set() -> None:
    paper = powers()["arl-beats-nal-56"].spread
    small = claim_powers(suite_under(SUITE, tier="tiny"), {})[0].spread
    assert (paper.sd_pp, paper.measured, small.measured) == (0.2, False, False)
    assert small.sd_pp == pytest.approx(100 * 0.5 / math.sqrt(128), rel=0.01)
    assert "assumed" in paper.source
    assert "assumed, what chance alone gives on 128 test images; seeds may" in small.source
    departed = claim_powers(declared(load_suite("ladder")), {})[0].spread
    assert departed.sd_pp == pytest.approx(100 * 0.5 / math.sqrt(10_000))
    assert "assumed, what chance alone gives on 10,000 test images" in departed.source
    report = suite_under("table6_arl_vs_nal_report", tier="tiny")
    training = claim_powers(report, {})[0].spread
    assert training.sd_pp == pytest.approx(100 * 0.5 / math.sqrt(256), rel=0.01)
    assert "on 256 training images" in training.source


@pytest.mark.parametrize("tier", ["paper", "tiny"])
def test_how_far_sizes_spread_is_not_known_before_it_is_measured(tmp_path: Path, tier: str) -> None:
    claim = {"id": "a", "text": "Fades.", "place": "b", "claim": "error(nal) < error(arl)"}
    sizes = [claim | {"metric": "value_at_end", "published_pp": "1.5"}]
    path = str(write_suite(tmp_path, suite_of(seeds=(1, 2, 3)) | {"claims": sizes}))
    expanded = suite_under(path, tier=tier)
    (power,) = claim_powers(expanded, {})
    assert (power.spread.measured, answer(power)) == (False, "not known yet")
    page = render(plan_document([expanded], [], [CPU], {}, ""), "markdown")
    row = next(line for line in page.splitlines() if line.startswith("| Fades."))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == ["Fades.", "×31.6", "3" if tier == "paper" else "2", "unknown", "unknown",
                     "not known yet"]  # fmt: skip
    assert "Sd of one run: unknown before two runs of a cell measure it." in page
    table = judge(empty(load_suite(path)))
    assert "(b; published ×31.6)" in render(Document([*table_blocks(table)]), "markdown")
    (judged,) = table.claims
    assert (judged.published_pp, judged.published_z) == (1.5, None)


def test_a_run_that_serves_two_tables_is_counted_and_timed_once() -> None:
    suites, runs, _ = plan_request((SUITE, "table3_mask"), devices="cpu")
    estimates = [PlannedTime(tuple(run.cells), run.spec.seed, None, 0, 60.0) for run in runs]
    page = plan_document(suites, estimates, [CPU] * 2, {}, "resbench run")
    assert page.data["runs"] == {"done": 0, "todo": 30}  # 8 and 3 cells, one of them in both
    assert page.data["left_s"] == 30 * 60.0
    assert sum(len(c["todo"]) for suite in page.data["suites"] for c in suite["cells"]) == 33


def test_a_measured_rate_gives_a_time(tmp_path: Path, shell: Shell) -> None:
    expanded = suite_under("table3_mask")
    here = {"device": "cpu", "device_name": cpu_name()}
    plant(tmp_path, expanded, "local", 1, test=[9.0, 6.0], environment=here)
    page = shell.json("plan table3_mask --devices cpu")
    local = page["suites"][0]["cells"][0]
    seconds = 160_000 * 64 / 900 * (1 + 60 / 1200)  # steps x batch, images/s, evaluation on top
    assert [run["left_s"] for run in local["todo"]] == pytest.approx([seconds, seconds])
    assert page["estimated_runs"] == 6


def test_data_that_no_run_needs_any_more_is_not_asked_for(tmp_path: Path, shell: Shell) -> None:
    plant(tmp_path, suite_under("table3_mask"), "local", 1, test=[9.0, 6.0])
    for seeds, asked in (("1", False), ("2", True)):
        outcome = shell(f"plan table3_mask --cell local --devices cpu --seeds {seeds}")
        assert ("not available" in outcome.out) == asked


def test_data_that_is_not_available_is_said_and_no_error(tmp_path: Path, shell: Shell) -> None:
    nowhere = tmp_path / "none"
    outcome = shell("plan table2_depth --format markdown --results", nowhere)
    assert outcome.code == 0
    for name in ("cifar10", "cifar100"):
        assert f"{name}: not available. Run `resbench data fetch {name}`" in outcome.out
    assert not nowhere.exists()


def test_the_command_that_is_shown_runs_this_plan(tmp_path: Path, shell: Shell) -> None:
    plan, folder = (
        "plan table3_mask --format markdown --tier cpu --seeds 5 --results",
        tmp_path / "a b",
    )
    said = f"$ resbench run table3_mask --tier cpu --seeds 5 --results '{folder}'"
    assert said in shell(plan, folder).out


def test_a_counted_table_has_nothing_to_plan(shell: Shell) -> None:
    for words in ("", " --cell attention-56"):
        assert "Nothing to train" in shell(f"plan table5_architecture{words}").out


def test_a_plan_for_other_data_names_it(tmp_path: Path) -> None:
    expanded = suite_under("table3_mask", data={"cifar10": JPEG})
    page = plan_document([expanded], [], [CPU], {}, "resbench run")
    assert "not the published data set" in page.data["setting"]
