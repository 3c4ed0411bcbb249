from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from resbench.analysis.explain import Finding, explain
from resbench.analysis.results import read_results
from resbench.errors import UsageError
from resbench.report.explain_page import finding_sentence
from resbench.stats.spread import moderated
from resbench.suite.load import load_suite
from tests import factory, mini
from tests.cli.invoke import Shell
from tests.factory import JPEG, plant, suite_under
from tests.mini import edited_suite

SUITE, CELL = "table3_mask", "encoder-decoder"
EXPLAIN = f"explain {SUITE} {CELL}"
NOISE, NOISY = "table4_noise", "noise-30/attention-92"
FITS = {"underfitted", "overfitted", "memorised"}
FLAT = [9.0, 7.0, 6.5, 6.0, 6.0, 6.0, 6.0, 6.0]


def findings(results: Path, suite: str = SUITE, cell: str = CELL) -> dict[str, Finding]:
    found = explain(load_suite(suite), cell, read_results(results))[0].findings
    return {finding.code: finding for finding in found}


def test_with_nothing_run_it_says_so_and_tells_what_is_known(tmp_path: Path, shell: Shell) -> None:
    outcome = shell(EXPLAIN)
    assert outcome.code == 0
    assert "Not run yet" in outcome.out
    found = findings(tmp_path)
    assert list(found) == ["deviation", "inferred"]
    assert "training.optim.decay" in found["inferred"].facts["settings"]
    line = f"resbench run {SUITE} --cell {CELL} --results {tmp_path}"
    assert "".join(line.split()) in "".join(outcome.out.split())
    assert "--engine" not in outcome.out  # nothing has fixed it


@pytest.mark.parametrize(
    ("suite", "cell", "test", "train", "code", "points"),
    [
        (SUITE, CELL, 6.0, 12.0, "underfitted", 12.0 - 5.52),
        (SUITE, CELL, 20.0, 0.1, "overfitted", 20.0 - 5.52),
        (SUITE, CELL, 20.0, 6.0, "overfitted", 20.0 - 6.0),  # the rest, training too shows
        ("ladder", "epochs-5/half/arl", 60.0, 50.0, None, None),  # no source to fit as
        (SUITE, CELL, 5.6, 0.1, None, None),  # fits as published
        (NOISE, NOISY, 25.0, 12.0, "memorised", 25.0 - 5.79),
        (NOISE, NOISY, 5.0, 12.0, "memorised", None),  # and yet it is better than published
        (NOISE, NOISY, 6.0, 29.5, None, None),  # by less than a point
        (NOISE, NOISY, 6.0, 31.0, None, None),  # wrong on the corrupted labels alone
    ],
)
def test_a_network_that_fits_too_little_or_too_much_is_named_with_what_that_can_explain(
    tmp_path: Path, suite: str, cell: str, test: float, train: float,
    code: str | None, points: float | None,
) -> None:  # fmt: skip
    plant(tmp_path, suite_under(suite), cell, 1, test=[test] * 8, train=[train] * 8)
    found = findings(tmp_path, suite, cell)
    assert FITS & found.keys() == ({code} if code else set())
    if code:
        assert found[code].points == pytest.approx(points)
    if code == "memorised":
        said = "At least 18 % of the training labels are corrupted and were memorised"
        assert said in finding_sentence(found[code])


def test_the_best_epoch_is_worth_what_it_is_lower(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        plant(tmp_path, suite_under(SUITE), CELL, seed, test=[9.0, 5.6, 6.0, 6.1])
    best = findings(tmp_path)["best_epoch"]
    assert best.points == pytest.approx(0.5)
    assert best.facts["epochs"] == [2, 2, 2]


def test_a_curve_that_still_falls_is_told_from_chance(tmp_path: Path) -> None:
    falling = [60.0 - 4 * i for i in range(10)]
    plant(tmp_path / "a", suite_under(SUITE), CELL, 1, test=falling)
    plant(tmp_path / "b", suite_under(SUITE), CELL, 1, test=[*FLAT[:-1], 5.8])
    assert findings(tmp_path / "a")["still_falling"].points == pytest.approx(4.0)
    assert "still_falling" not in findings(tmp_path / "b")  # 2 of 1,000 images


def test_seeds_explain_as_much_as_one_more_run_may_differ(tmp_path: Path) -> None:
    factory.finish_all(tmp_path, suite_under(SUITE), {CELL: (5.4, 5.6, 5.8)})
    seeds = findings(tmp_path)["seeds"]
    chance = 1e4 * 0.056 * 0.944 / factory.IMAGES  # the images flip: they are drawn anew
    variance, df = moderated(0.04, 3, chance)
    most = stats.t.ppf(0.975, df) * (variance * 4 / 3) ** 0.5 + 0.005
    assert seeds.points == pytest.approx(most, rel=0.05)
    assert "by the first" not in finding_sentence(seeds)
    plant(tmp_path, suite_under(SUITE), CELL, 4, test=[30.0])
    later = findings(tmp_path)["seeds"]
    assert later.points == seeds.points
    assert "; by the first 3, one more run is expected" in finding_sentence(later)


def test_the_luck_of_a_median_is_compared_with_a_median(tmp_path: Path) -> None:
    suite, cell = "resnet164_he2016", "resnet-164/cifar10"
    factory.finish_all(tmp_path, suite_under(suite), {cell: (5.4, 5.6, 5.8)})
    said = finding_sentence(findings(tmp_path, suite, cell)["seeds"])
    assert "; the median of 5 more runs is expected within ±" in said


def test_where_nothing_is_published_no_luck_of_its_source_is_spoken_of(tmp_path: Path) -> None:
    suite = "table7_cifar10_report"
    plant(tmp_path, suite_under(suite), "attention-92", 1, test=[9.0, 6.0])
    for cell, expected in (("attention-92/test", False), ("attention-92/val", True)):
        said = finding_sentence(findings(tmp_path, suite, cell)["seeds"])
        assert ("The published number counts as one run" in said) == expected


def test_one_seed_has_no_spread_and_a_diverged_one_is_counted(tmp_path: Path) -> None:
    plant(tmp_path, suite_under(SUITE), CELL, 1, test=[9.0, 6.0])
    factory.diverge(tmp_path, suite_under(SUITE), CELL, 2)
    found = findings(tmp_path)
    assert found["seeds"].points is None
    said = "seeds: 1 run. The published number counts as one run"
    assert said in finding_sentence(found["seeds"])
    lost = {"diverged": 1, "runs": 2, "reason": "the loss is nan at step 7"}
    assert found["diverged"].facts == lost
    assert finding_sentence(found["diverged"]).endswith(
        "1 of 2 runs, the first: the loss is nan at step 7. The mean error is that of the others."
    )


def test_where_every_run_diverged_there_is_no_mean_of_others(tmp_path: Path) -> None:
    for seed in (1, 2):
        factory.diverge(tmp_path, suite_under(SUITE), CELL, seed)
    said = finding_sentence(findings(tmp_path)["diverged"])
    assert said.endswith("2 of 2 runs, the first: the loss is nan at step 7.")


def test_another_tier_and_another_data_set_come_first(tmp_path: Path) -> None:
    expanded = suite_under(SUITE, tier="tiny", data={"cifar10": JPEG})
    plant(tmp_path, expanded, CELL, 1, test=[70.0] * 4, train=[65.0] * 4)
    found = list(findings(tmp_path).values())
    first = {finding.code: finding for finding in found[:2]}
    assert first.keys() == {"other_setting", "other_data"}
    assert not any(finding.comparable for finding in found[:2])
    assert ["model.width", 0.25, 1.0] in first["other_setting"].facts["changes"]
    said = finding_sentence(first["other_setting"])
    assert "trains on 512 images in all, 0.005 % of the source's 10,240,000" in said
    symptoms = [finding for finding in found if finding.symptom]
    assert symptoms[0].code == "underfitted"
    assert found[-len(symptoms) :] == symptoms


def test_a_setting_that_changes_no_value_is_not_called_another_experiment(tmp_path: Path) -> None:
    same = suite_under(SUITE, overrides=(("training.batch_size", 64),))
    factory.finish(tmp_path, same, CELL, 1, 6.0)
    said = finding_sentence(findings(tmp_path)["other_setting"])
    assert said.startswith("not comparable · --set training.batch_size: changes no value")


def test_a_changed_list_is_shown_and_work_only_where_it_differs(tmp_path: Path) -> None:
    no_drops = suite_under(SUITE, overrides=(("training.schedule.drops", []),))
    plant(tmp_path, no_drops, CELL, 1, test=FLAT)
    said = finding_sentence(findings(tmp_path)["other_setting"])
    assert 'training.schedule.drops [] (source [{"at": 64000, "factor": 0.1}' in said
    assert "trains on" not in said


def test_drops_that_a_tier_leaves_out_and_what_it_switches_off_are_shown(tmp_path: Path) -> None:
    suite, cell = "table6_arl_vs_nal_report", "attention-56/arl"
    plant(tmp_path, suite_under(suite, tier="cpu"), cell, 1, test=FLAT)
    (setting,) = explain(load_suite(suite), cell, read_results(tmp_path))
    (other,) = (found for found in setting.findings if found.code == "other_setting")
    changed = {path: values for path, *values in other.facts["changes"]}
    assert [len(drops) for drops in changed["training.schedule.drops"]] == [1, 7]
    assert changed["training.early_stopping"] == [None, {"patience": 10}]
    plant(tmp_path, suite_under(SUITE, tier="cpu"), CELL, 1, test=FLAT)
    scaled = findings(tmp_path)["other_setting"].facts["changes"]  # as many drops as the source
    assert "training.schedule.drops" not in {path for path, *_ in scaled}


def test_causes_come_before_symptoms_and_what_explains_more_comes_first(tmp_path: Path) -> None:
    for seed, error in enumerate((9.0, 9.4, 9.8), 1):
        plant(tmp_path, suite_under(SUITE), CELL, seed, test=[9.0, 8.0, error, error])
    found = list(findings(tmp_path).values())
    kinds = [finding.symptom for finding in found]
    assert kinds == sorted(kinds)
    sizes = [finding.points for finding in found if finding.points]
    assert len(sizes) == 3
    assert sizes == sorted(sizes, reverse=True)
    order = [Finding("other_data", None, {}, comparable=False), Finding("size", 0.2, {}),
             Finding("size", 0.1, {}), Finding("inferred", None, {}), Finding("size", 0.09, {}),
             Finding("seeds", 0.3, {})]  # fmt: skip
    mixed = [order[i] for i in (5, 3, 1, 4, 0, 2)]
    assert sorted(mixed, key=lambda finding: finding.rank) == order


def test_runs_of_several_versions_and_images_are_named(tmp_path: Path) -> None:
    for seed, version in enumerate(("0.1.0", "0.2.0"), 1):
        data = {"fingerprint": str(seed) * 64}
        facts: dict[str, Any] = {"code": {"version": version}, "data": data}
        plant(tmp_path, suite_under(SUITE), CELL, seed, test=FLAT, **facts)
    (setting,) = explain(load_suite(SUITE), CELL, read_results(tmp_path))
    images, versions = (f for f in setting.findings if f.code == "unlike_runs")
    assert len(images.facts["kinds"]) == len(versions.facts["kinds"]) == 2
    assert "0.2.0" in finding_sentence(versions)


def test_a_network_of_another_size_is_not_ruled_out(tmp_path: Path) -> None:
    plant(tmp_path, suite_under(SUITE), CELL, 1, test=FLAT, model={"parameters": 1_030_361})
    size = findings(tmp_path)["size"]
    assert size.points is None
    assert "1,030,361 parameters, 1,030,362 expected" in finding_sentence(size)


def test_an_unlike_published_error_is_never_a_difference_to_explain(tmp_path: Path) -> None:
    suite = "table6_arl_vs_nal_report"
    unlike = findings(tmp_path, suite, "attention-92/nal")["published_split"]
    assert (unlike.comparable, unlike.points) == (False, None)
    assert "published_split" not in findings(tmp_path, suite, "attention-56/arl")


def test_every_setting_with_runs_is_explained_the_closest_to_the_source_first(
    tmp_path: Path,
) -> None:
    for changes in ({"tier": "cpu", "data": {"cifar10": JPEG}}, {"tier": "tiny"}, {}):
        plant(tmp_path, suite_under(SUITE, **changes), CELL, 1, test=FLAT)
    found = explain(load_suite(SUITE), CELL, read_results(tmp_path))
    settings = [(item.setting or "").partition(" · ")[0] for item in found]
    assert settings == ["tier paper", "tier cpu", "tier tiny"]


def test_a_row_and_a_column_name_that_column_alone(tmp_path: Path) -> None:
    loaded = load_suite("table7_cifar10_report")
    whole, one = (
        explain(loaded, name, read_results(tmp_path))[0]
        for name in ("attention-56", "attention-56/val")
    )
    assert [v.column for v in whole.values] == ["train", "val", "time", "test"]
    assert [v.column for v in one.values] == ["val"]


def test_an_unknown_cell_is_refused_with_those_there_are(tmp_path: Path) -> None:
    refusal = r"unknown cell 'encoder' .* Did you mean 'encoder-decoder'"
    with pytest.raises(UsageError, match=refusal):
        explain(load_suite(SUITE), "encoder", read_results(tmp_path))


def test_json_has_every_finding_and_no_infinity(tmp_path: Path, shell: Shell) -> None:
    expanded = suite_under(SUITE, tier="cpu", data={"cifar10": JPEG})
    plant(tmp_path, expanded, CELL, 1, test=FLAT)
    out = shell(f"{EXPLAIN} --format json").out
    (setting,) = json.loads(out, parse_constant=pytest.fail)["settings"]
    assert setting["setting"].startswith("tier cpu")
    kinds = {f["code"]: (f["points"], f["comparable"]) for f in setting["findings"]}
    assert kinds["other_setting"] == (None, False)
    assert kinds["inferred"] == (None, True)  # of unknown size
    assert [found["code"] for found in setting["findings"]] == list(findings(tmp_path))


def test_symptoms_stand_under_a_heading_of_their_own(tmp_path: Path, shell: Shell) -> None:
    plant(tmp_path, suite_under(SUITE), CELL, 1, test=[*FLAT[:-1], 6.2], train=[12.0] * 8)
    out = shell(f"{EXPLAIN} --format markdown").out
    _, causes, symptoms = re.split(r"### (?:Causes|Symptoms)\n", out)
    for about in ("fit", "seeds", "last epoch against best"):
        assert f" · {about}: " not in causes
        assert f" · {about}: " in symptoms
    assert "inferred settings" in causes


def test_another_name_for_a_row_is_a_note_and_no_reason(tmp_path: Path, shell: Shell) -> None:
    plant(tmp_path, suite_under(SUITE), CELL, 1, test=FLAT)
    assert "published_split" not in findings(tmp_path)
    out = shell(f"{EXPLAIN} --format markdown").out
    (line,) = (line for line in out.splitlines() if "The report calls it Mixed Attention." in line)
    assert "published 5.52" in line


@pytest.mark.parametrize("cell", ["attention-164/arl", "attention-164/nal", "attention-92/nal"])
def test_a_narrow_network_is_compared_with_the_one_of_full_width(tmp_path: Path, cell: str) -> None:
    """No row of the zoo is that of a deep NAL network: NAL is as large as ARL."""
    suite = "table1_arl_vs_nal"
    plant(tmp_path, suite_under(suite, tier="tiny"), cell, 1, test=FLAT)
    size = findings(tmp_path, suite, cell)["size"]
    assert size.facts["expected"] == (3_463_002 if "164" in cell else 1_841_242)
    assert "at full width" in finding_sentence(size)


def test_an_unmarked_setting_is_named(tmp_path: Path) -> None:
    changes = {"{name: attention-56}": "{name: attention-56, width: 0.5}"}
    path = edited_suite(tmp_path / f"{SUITE}.yaml", SUITE, changes)
    suite = suite_under(str(path), data={"cifar10": JPEG})
    plant(tmp_path / "results", suite, CELL, 1, test=FLAT)
    (setting,) = explain(load_suite(str(path)), CELL, read_results(tmp_path / "results"))
    assert setting.findings[0].code == "other_data"  # what forbids a comparison comes first
    wheres = {finding.facts.get("where", ""): finding for finding in setting.findings}
    (found,) = (finding for where, finding in wheres.items() if where.startswith(str(path)))
    assert found.facts["changes"] == [["model.width", 0.5]]
    assert "without saying where it comes from" in finding_sentence(found)


def test_the_command_names_the_cell_the_folder_and_what_runs_have_fixed(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    explained = f"{EXPLAIN} --format markdown --results"
    for folder, end in (("results", ""), ("other", " --results other")):
        plant(Path(folder), suite_under(SUITE), CELL, 1, test=FLAT)
        out = shell(f"{explained} {folder}").out
        wanted = f"resbench run {SUITE} --engine eager --precision fp32 --cell {CELL}{end}\n"
        assert wanted in out
        for seed in (2, 3):
            plant(Path(folder), suite_under(SUITE), CELL, seed, test=FLAT)
        assert "resbench run" not in shell(f"{explained} {folder}").out
        other_cells = shell(f"report {SUITE} --results {folder}").out
        assert f"--precision fp32{end}\n" in other_cells


def test_a_count_of_parameters_has_no_luck_of_seeds(tmp_path: Path, shell: Shell) -> None:
    expanded = suite_under("depth")
    for seed in (1, 2):
        plant(tmp_path, expanded, "attention-92/cifar100", seed, test=[9.0, 8.0])
    assert "seeds:" not in shell("explain depth attention-92/params").out


def test_a_cell_that_is_never_trained_says_so_once(shell: Shell) -> None:
    text = shell("explain depth wrn-28-10/cifar10").words
    assert "Not run yet" not in text
    assert text.count("no network here") == 1


def cited(folder: Path, place: str, reasons: dict[str, str]) -> list[Finding]:
    """What is found of settings of a suite that are marked, with a reason each, at one place."""
    mark = {"origin": "deviation", "place": place}
    marks = {path: mark | {"reason": reason} for path, reason in reasons.items()}
    suite = mini.write_suite(folder, mini.suite_of() | {"provenance": marks})
    (found,) = explain(load_suite(str(suite)), "arl", read_results(folder / "results"))
    return [finding for finding in found.findings if finding.facts.get("where") == place]


def test_what_a_suite_cites_of_its_source_is_no_tier_of_ours(tmp_path: Path) -> None:
    (finding,) = cited(tmp_path, "tier 1 of Table 2", {"data": "fewer images"})
    assert (finding.code, finding.points) == ("deviation", None)


def test_settings_of_one_place_keep_their_own_reasons(tmp_path: Path) -> None:
    reasons = {"data.image_px": "small images", "training.batch_size": "small batches"}
    found = cited(tmp_path, "section 4", reasons)
    said = {path: f.facts["reason"] for f in found for path, *_ in f.facts["changes"]}
    assert (said, len(found)) == (reasons, 2)
