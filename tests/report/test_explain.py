from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from resbench.analysis.findings import Finding
from resbench.analysis.results import read_results
from resbench.errors import UsageError
from resbench.report.explain import explain, sentence_of
from resbench.suite.catalog import load_suite, suite_folder
from tests.cli.invoke import imported_by, invoke
from tests.report import records
from tests.report.planted import plant
from tests.report.records import JPEG, suite_under

Capture = pytest.CaptureFixture[str]
SUITE, CELL = "table3_mask", "encoder-decoder"
NOISE, NOISY = "table4_noise", "noise-30/attention-92"
FLAT = [9.0, 7.0, 6.5, 6.0, 6.0, 6.0, 6.0, 6.0]


def findings(
    results: Path, suite: str = SUITE, cell: str = CELL, context: int = 0
) -> dict[str, Finding]:
    found = explain(load_suite(suite), cell, read_results(results))[context].findings
    return {finding.about: finding for finding in found}


def transition(clean: float, spread: float) -> tuple[float, ...]:
    """A 10 x 10 matrix with ``clean`` on the diagonal; one other rate is ``spread`` too high."""
    rates = [clean if i % 11 == 0 else (1 - clean) / 9 for i in range(100)]
    rates[1] += spread
    rates[2] -= spread
    return tuple(rates)


def test_with_nothing_run_it_says_so_and_tells_what_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "explain", SUITE, CELL, "--results", tmp_path)
    assert outcome.code == 0
    assert "Not run yet" in outcome.out
    found = findings(tmp_path)
    assert found["size of the network"].weight == "ruled_out"
    assert "1,030,362 parameters, 1,030,362 expected" in found["size of the network"].evidence
    assert any(about.endswith("inferred settings") for about in found)
    assert "fit" not in found
    line = f"resbench run {SUITE} --cell {CELL} --results {tmp_path}"
    assert "".join(line.split()) in "".join(outcome.out.split())
    assert "--engine" not in outcome.out  # nothing has fixed it


def test_an_underfitted_network_is_named_with_what_it_can_explain(tmp_path: Path) -> None:
    plant(tmp_path, suite_under(SUITE), CELL, 1, test=FLAT, train=[12.0] * 8)
    fit = findings(tmp_path)["fit"]
    assert fit.why.startswith("Underfitted")
    assert fit.points == pytest.approx(12.0 - 5.52)


def test_an_overfitted_network_is_named_with_its_gap(tmp_path: Path) -> None:
    plant(tmp_path, suite_under(SUITE), CELL, 1, test=[20.0] * 8, train=[0.1] * 8)
    fit = findings(tmp_path)["fit"]
    assert fit.why.startswith("Overfitted")
    assert fit.points == pytest.approx(20.0 - 5.52)


def test_a_network_that_fits_as_print_does_is_ruled_out(tmp_path: Path) -> None:
    plant(tmp_path, suite_under(SUITE), CELL, 1, test=[5.6] * 8, train=[0.1] * 8)
    assert findings(tmp_path)["fit"].weight == "ruled_out"


def test_corrupted_labels_learnt_by_heart_are_seen_in_the_training_error(tmp_path: Path) -> None:
    plant(tmp_path, suite_under(NOISE), NOISY, 1, test=[25.0] * 8, train=[12.0] * 8)
    fit = findings(tmp_path, NOISE, NOISY)["fit"]
    assert "18 points of corrupted labels were learnt by heart" in fit.why
    assert fit.points == pytest.approx(25.0 - 5.79)


def test_training_error_on_corrupted_labels_alone_is_not_underfitting(tmp_path: Path) -> None:
    plant(tmp_path, suite_under(NOISE), NOISY, 1, test=[6.0] * 8, train=[31.0] * 8)
    assert findings(tmp_path, NOISE, NOISY)["fit"].weight == "ruled_out"


@pytest.mark.parametrize(
    ("rates", "weight"),
    [(transition(0.7, 0.0), "ruled_out"), (transition(0.7, 0.03), "unknown"),
     (transition(0.8, 0.0), "unknown")],
    ids=["as Q", "one rate off", "another r"],
)  # fmt: skip
def test_another_label_noise_than_q_is_found(
    tmp_path: Path, rates: tuple[float, ...], weight: str
) -> None:
    facts = {"noise_transition": rates, "noise_hash": "ab" * 32}
    plant(tmp_path, suite_under(NOISE), NOISY, 1, test=FLAT, data=facts)
    found = findings(tmp_path, NOISE, NOISY)["label noise"]
    assert found.weight == weight
    assert f"{100 * rates[0]:.1f} % of training labels kept, r = 0.7" in found.evidence
    assert "of 100 rates from class to class the furthest" in found.evidence
    assert "Q" not in found.evidence + found.why


def test_the_furthest_of_many_rates_may_lie_far_off(tmp_path: Path) -> None:
    """Of 300 rates one lies 3 sds off in every second cell; one rate alone would not."""
    sd = (0.3 / 9 * (1 - 0.3 / 9) / 5000) ** 0.5
    for seed in (1, 2, 3):
        rates = transition(0.7, 3 * sd if seed == 2 else 0.0)
        facts = {"noise_transition": rates, "noise_hash": "ab" * 32}
        plant(tmp_path, suite_under(NOISE), NOISY, seed, test=FLAT, data=facts)
    found = findings(tmp_path, NOISE, NOISY)["label noise"]
    assert found.weight == "ruled_out"
    assert "of 300 rates" in found.evidence
    p = re.search(r"3\.0 sds off, p = (\S+) for the furthest of so many", found.evidence)
    assert p is not None
    assert 0.3 < float(p[1]) < 0.7


def test_the_best_epoch_is_worth_what_it_is_lower(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        plant(tmp_path, suite_under(SUITE), CELL, seed, test=[9.0, 5.6, 6.0, 6.1])
    best = findings(tmp_path)["last epoch against best"]
    assert best.points == pytest.approx(0.5)
    assert "(2, 2, 2)" in best.evidence


def test_a_curve_that_still_falls_is_told_from_chance(tmp_path: Path) -> None:
    falling = [30.0 - 2 * i for i in range(10)]
    plant(tmp_path / "a", suite_under(SUITE), CELL, 1, test=falling)
    plant(tmp_path / "b", suite_under(SUITE), CELL, 1, test=[*FLAT[:-1], 5.8])
    assert findings(tmp_path / "a")["learning curve"].points == pytest.approx(2.0)
    assert findings(tmp_path / "b")["learning curve"].weight == "ruled_out"  # 2 of 1,000 images


def test_seeds_explain_as_much_as_one_more_run_may_differ(tmp_path: Path) -> None:
    for seed, error in enumerate((5.4, 5.6, 5.8), 1):
        plant(tmp_path, suite_under(SUITE), CELL, seed, test=[9.0, error])
    seeds = findings(tmp_path)["seeds"]
    assert seeds.points == pytest.approx(4.303 * 0.2 * (4 / 3) ** 0.5 + 0.005, abs=1e-3)


def test_one_seed_has_an_unknown_luck_and_a_diverged_one_is_counted(tmp_path: Path) -> None:
    plant(tmp_path, suite_under(SUITE), CELL, 1, test=[9.0, 6.0])
    records.diverge(tmp_path, suite_under(SUITE), CELL, 2)
    found = findings(tmp_path)
    assert found["seeds"].weight == "unknown"
    assert "1 of 2 runs, the first: the loss is nan at step 7" in found["diverged runs"].evidence


def test_another_tier_and_another_data_set_come_first(tmp_path: Path) -> None:
    expanded = suite_under(SUITE, tier="cpu", data={"cifar10": JPEG})
    plant(tmp_path, expanded, CELL, 1, test=[70.0] * 4, train=[65.0] * 4)
    found = list(findings(tmp_path).values())
    assert [finding.weight for finding in found[:2]] == ["not_comparable"] * 2
    symptoms = [finding for finding in found if finding.kind == "symptom"]
    assert [finding.about for finding in found[:2]] == ["tier cpu", "data cifar10-jpeg75"]
    assert "model.width 0.25 (source 1.0)" in found[0].evidence
    assert "29,440 images in all, 0.287 % of the source's 10,240,000" in found[0].evidence
    assert symptoms[0].about == "fit"
    assert found[-len(symptoms) :] == symptoms


def test_what_explains_more_comes_first_and_what_is_ruled_out_last(tmp_path: Path) -> None:
    for seed, error in enumerate((9.0, 9.4, 9.8), 1):
        plant(tmp_path, suite_under(SUITE), CELL, seed, test=[9.0, 8.0, error, error])
    found = list(findings(tmp_path).values())
    kinds = [finding.kind == "symptom" for finding in found]
    assert kinds == sorted(kinds)
    order = ["not_comparable", "explains", "unknown", "ruled_out", "same_in_all_runs"]
    for is_symptom in (False, True):
        weights = [f.weight for f in found if (f.kind == "symptom") == is_symptom]
        assert weights == sorted(weights, key=order.index)
    sizes = [finding.points for finding in found if finding.weight == "explains"]
    assert len(sizes) == 3
    assert sizes == sorted(sizes, key=lambda points: -(points or 0))


def test_runs_of_several_versions_and_images_are_named(tmp_path: Path) -> None:
    for seed, version in enumerate(("0.1.0", "0.2.0"), 1):
        facts: dict[str, Any] = {
            "code": {"version": version},
            "data": {"fingerprint": str(seed) * 64},
        }
        plant(tmp_path, suite_under(SUITE), CELL, seed, test=FLAT, **facts)
    found = findings(tmp_path)
    assert found["code"].weight == found["images"].weight == "unknown"
    assert "0.2.0" in found["code"].evidence


def test_a_network_of_another_size_is_not_ruled_out(tmp_path: Path) -> None:
    plant(tmp_path, suite_under(SUITE), CELL, 1, test=FLAT, model={"parameters": 1_030_361})
    size = findings(tmp_path)["size of the network"]
    assert size.weight == "unknown"
    assert "1,030,361 parameters, 1,030,362 expected" in size.evidence


def test_an_unlike_printed_error_is_never_a_difference_to_explain(tmp_path: Path) -> None:
    suite = "table6_arl_vs_nal_report"
    assert findings(tmp_path, suite, "attention-92/nal")["the printed number"].weight == (
        "not_comparable"
    )
    like = findings(tmp_path, suite, "attention-56/arl")["the printed number"]
    assert like.weight == "ruled_out"
    assert "is the training error under augmentation" in like.evidence


def test_every_context_with_runs_is_explained_the_closest_to_print_first(tmp_path: Path) -> None:
    for changes in ({"tier": "cpu", "data": {"cifar10": JPEG}}, {"scale": 0.1}, {}):
        plant(tmp_path, suite_under(SUITE, **changes), CELL, 1, test=FLAT)
    found = explain(load_suite(SUITE), CELL, read_results(tmp_path))
    contexts = [item.table.expanded.context for item in found]
    assert [(c.tier, c.scale) for c in contexts] == [("paper", 1), ("paper", 0.1), ("cpu", 1)]


def test_a_place_names_its_own_column_alone(tmp_path: Path) -> None:
    loaded = load_suite("table7_cifar10_report")
    whole, place = (
        explain(loaded, name, read_results(tmp_path))[0]
        for name in ("attention-56", "attention-56/val")
    )
    assert [p.column for p in whole.places] == ["train", "val", "time", "test"]
    assert [p.column for p in place.places] == ["val"]


def test_an_unknown_cell_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"unknown cell 'encoder' .* Did you mean 'encoder-decoder'"
    ):
        explain(load_suite(SUITE), "encoder", read_results(tmp_path))


def test_json_has_every_finding_and_no_infinity(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expanded = suite_under(SUITE, tier="cpu", data={"cifar10": JPEG})
    plant(tmp_path, expanded, CELL, 1, test=FLAT)
    out = invoke(capsys, "explain", SUITE, CELL, "--results", tmp_path, "--format", "json").out
    (context,) = json.loads(out, parse_constant=pytest.fail)["contexts"]
    assert context["context"]["tier"] == "cpu"
    assert {"kind", "weight", "points", "about", "evidence", "why"} == context["findings"][0].keys()
    assert context["findings"][0]["points"] is None
    assert len(context["findings"]) == len(findings(tmp_path))


def test_explaining_imports_neither_torch_nor_mlflow(tmp_path: Path) -> None:
    assert not imported_by("explain", SUITE, CELL, cwd=tmp_path) & {"torch", "mlflow", "seaborn"}


def test_what_our_runs_have_in_common_rules_nothing_out(tmp_path: Path) -> None:
    for seed in (1, 2):
        plant(tmp_path, suite_under(SUITE), CELL, seed, test=FLAT)
    found = findings(tmp_path)
    assert found["images"].weight == found["code"].weight == "same_in_all_runs"
    assert sentence_of(found["code"]).startswith("same in all runs · code: 0.1.0")


def test_a_flat_end_rules_no_schedule_out_where_the_network_is_underfitted(tmp_path: Path) -> None:
    plant(tmp_path / "a", suite_under(SUITE), CELL, 1, test=FLAT, train=[12.0] * 8)
    plant(tmp_path / "b", suite_under(SUITE), CELL, 1, test=FLAT, train=[0.1] * 8)
    assert findings(tmp_path / "a")["learning curve"].weight == "unknown"
    assert findings(tmp_path / "b")["learning curve"].weight == "ruled_out"


def test_symptoms_stand_under_a_heading_of_their_own(tmp_path: Path, capsys: Capture) -> None:
    plant(tmp_path, suite_under(SUITE), CELL, 1, test=FLAT, train=[12.0] * 8)
    out = invoke(capsys, "explain", SUITE, CELL, "--results", tmp_path, "--format", "markdown").out
    _, causes, symptoms = re.split(r"### (?:Causes|Symptoms)\n", out)
    for about in ("fit", "seeds", "learning curve", "last epoch against best"):
        assert f" · {about}: " not in causes
        assert f" · {about}: " in symptoms
    assert "inferred settings" in causes


def test_another_name_for_a_row_is_a_note_and_no_reason(tmp_path: Path, capsys: Capture) -> None:
    plant(tmp_path, suite_under(SUITE), CELL, 1, test=FLAT)
    assert "the printed number" not in findings(tmp_path)
    out = invoke(capsys, "explain", SUITE, CELL, "--results", tmp_path, "--format", "markdown").out
    (line,) = (line for line in out.splitlines() if "The report calls it Mixed Attention." in line)
    assert "printed 5.52" in line


@pytest.mark.parametrize("cell", ["attention-164/arl", "attention-164/nal", "attention-92/nal"])
def test_a_narrow_network_is_set_beside_the_one_of_full_width(tmp_path: Path, cell: str) -> None:
    """No row of the zoo is that of a deep NAL network: NAL is as large as ARL."""
    suite = "table1_arl_vs_nal"
    plant(tmp_path, suite_under(suite, tier="cpu"), cell, 1, test=FLAT)
    size = findings(tmp_path, suite, cell)["size of the network"]
    whole = "3,463,002" if "164" in cell else "1,841,242"
    assert f"% of {whole} at full width" in size.evidence


def test_an_unmarked_setting_is_named(tmp_path: Path) -> None:
    path = tmp_path / f"{SUITE}.yaml"
    text = (suite_folder() / path.name).read_text()
    path.write_text(text.replace("{name: attention-56}", "{name: attention-56, width: 0.5}"))
    plant(tmp_path / "results", suite_under(str(path)), CELL, 1, test=FLAT)
    (found,) = (
        f for about, f in findings(tmp_path / "results", str(path)).items()
        if about.startswith(str(path))
    )  # fmt: skip
    assert found.evidence.startswith("model.width 0.5 is set here without saying")


def test_the_command_names_the_cell_the_folder_and_what_runs_have_fixed(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    explained = ("explain", SUITE, CELL, "--format", "markdown", "--results")
    for folder, end in (("results", ""), ("other", " --results other")):
        plant(Path(folder), suite_under(SUITE), CELL, 1, test=FLAT)
        out = invoke(capsys, *explained, folder).out
        wanted = f"resbench run {SUITE} --engine eager --precision fp32 --cell {CELL}{end}\n"
        assert wanted in out
        for seed in (2, 3):
            plant(Path(folder), suite_under(SUITE), CELL, seed, test=FLAT)
        assert "resbench run" not in invoke(capsys, *explained, folder).out
        report = ("report", SUITE, "--results", folder)
        assert f"--precision fp32{end}\n" in invoke(capsys, *report).out  # other cells


def test_a_count_of_parameters_has_no_luck_of_seeds(tmp_path: Path, capsys: Capture) -> None:
    expanded = suite_under("depth")
    for seed in (1, 2):
        plant(tmp_path, expanded, "attention-92/cifar100", seed, test=[9.0, 8.0])
    words = ("explain", "depth", "attention-92/params", "--results", tmp_path)
    assert "seeds:" not in invoke(capsys, *words).out


def test_a_cell_that_is_never_trained_says_so_once(tmp_path: Path, capsys: Capture) -> None:
    shown = invoke(capsys, "explain", "depth", "resnet-1001/cifar10", "--results", tmp_path).out
    text = " ".join(shown.split())
    assert "Not run yet" not in text
    assert text.count("not built here") == 1
