"""What a budget is spent by: how far the planned seeds go towards deciding a claim."""

from __future__ import annotations

from pathlib import Path

import pytest

from resbench.analysis.power import claim_powers
from resbench.analysis.results import read_results
from resbench.analysis.tables import filled
from resbench.analysis.worth import claim_shares
from tests.report import records
from tests.report.records import suite_under

SUITE = "table1_arl_vs_nal"
ARL, NAL = "attention-164/arl", "attention-164/nal"


def test_a_claim_counts_as_far_as_the_planned_seeds_can_decide_it(tmp_path: Path) -> None:
    expanded = suite_under(SUITE)
    powers = {power.claim.id: power for power in claim_powers(expanded, {})}
    large, small = powers["arl-beats-nal-164"], powers["deeper-is-better"]
    assert large.seeds_needed is not None
    assert large.seeds_needed <= large.seeds
    assert small.seeds_needed is None or small.seeds_needed > small.seeds
    assert large.decidable == 1
    assert 0 < small.decidable < 1
    shares = claim_shares(expanded, read_results(tmp_path))
    of_nal = {"arl-beats-nal-164", "gap-grows", "naive-degrades"}
    assert shares[NAL] == pytest.approx(sum(powers[id_].decidable for id_ in of_nal))
    assert shares[ARL] > shares["attention-56/arl"]


def test_a_decided_claim_counts_nothing_more(tmp_path: Path) -> None:
    expanded = suite_under(SUITE)
    for cell, errors in {ARL: (4.0, 4.1, 4.3), NAL: (7.0, 7.2, 7.2)}.items():
        for seed, error in enumerate(errors, 1):
            records.finish(tmp_path, expanded, cell, seed, error)
    results = read_results(tmp_path)
    done = {id_: cell.done for id_, cell in filled(expanded, results).cells.items()}
    powers = {power.claim.id: power for power in claim_powers(expanded, done)}
    left = {"gap-grows", "naive-degrades"}
    found = claim_shares(expanded, results)[NAL]
    assert found == pytest.approx(sum(powers[id_].decidable for id_ in left))


def test_an_effect_that_the_print_does_not_show_counts_nothing() -> None:
    powers = claim_powers(suite_under("table4_noise"), {})
    shown = [power for power in powers if (power.printed_pp or 0) > 0]
    reversed_ = [
        type(power)(**vars(power) | {"sought_pp": -1.0, "seeds_needed": None}) for power in shown
    ]
    assert [power.decidable for power in reversed_] == [0.0] * len(shown)


def test_a_claim_without_a_printed_size_counts_whole() -> None:
    powers = {power.claim.id: power for power in claim_powers(suite_under("optimizer"), {})}
    unknown = [power for power in powers.values() if power.printed_pp is None]
    assert unknown
    assert all(power.decidable == 1 for power in unknown)
