"""What a report says, on the document; and one golden a format, which shows how it says it.

RESBENCH_UPDATE_GOLDEN=1 writes the golden files anew, to be read.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resbench.analysis.declared import declared
from resbench.analysis.judge import report
from resbench.analysis.results import read_results
from resbench.report.document import Document, Items, Table
from resbench.report.render import FORMATS, render
from resbench.report.report_page import report_document, summary_document
from resbench.report.text import CLAIMS, VALUES
from resbench.store import scan
from resbench.store.layout import RunFolder
from resbench.store.records import RunRecord, read_record
from resbench.suite.expand import DataChoice, expand
from resbench.suite.load import load_suite, load_tier
from tests import factory
from tests.factory import JPEG, suite_under
from tests.mini import suite_of, write_suite

Patch = pytest.MonkeyPatch
HERE = Path(__file__).parent
SUITE = "arms.yaml"
RESULTS = Path("results")
ARL, NAL = "attention-56/arl", "attention-56/nal"


@pytest.fixture(autouse=True)
def in_the_folder_of_the_suite(tmp_path: Path, monkeypatch: Patch) -> None:
    """Relative paths, so that documents are the same on every machine."""
    shutil.copytree(HERE.parent / "analysis" / "suites", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("resbench.analysis.judge.__version__", "0")


def half() -> None:
    """Two of five seeds of one cell, a diverged run, one seed of another, one just started."""
    suite = suite_under(SUITE)
    for seed, error in ((1, 5.4), (2, 5.8)):
        factory.finish(RESULTS, suite, ARL, seed, error, best=error - 0.2)
    factory.diverge(RESULTS, suite, ARL, 3)
    factory.finish(RESULTS, suite, NAL, 1, 6.1, train=9.2)
    factory.begin(RESULTS, suite, "attention-92/arl", 1)


def document() -> Document:
    return report_document(report([SUITE], read_results(RESULTS)))


def shown(found: Document) -> str:
    """A document as Markdown, with one blank between words."""
    return re.sub("[ \xa0]+", " ", render(found, "markdown"))


def test_the_words_the_tone_and_the_sign_of_a_verdict_are_its_own() -> None:
    others = {"smaller": "smaller than published", "not_learnt": "order at this stage of training"}
    tones = dict.fromkeys(("confirmed", "holds_here"), "for")
    tones |= dict.fromkeys(("contradicted", "reversed_here"), "against")
    for kind, verdict in CLAIMS.items():
        words = others.get(kind, kind.replace("_", " "))
        assert (verdict.text, verdict.tone) == (words, tones.get(kind, "open")), kind
    for value, (_, meaning) in VALUES.items():
        assert meaning.startswith(value.replace("_", " ")), value
    signs = {"better": "↓", "worse": "↑", "equal": "=", "differs": "≠"}
    assert {value: VALUES[value][0] for value in VALUES if value in signs} == signs


def test_with_nothing_run_a_table_shows_what_is_published_and_what_would_train_it() -> None:
    text = shown(document())
    assert "| Attention-56 | 5.50 | not run |" in text
    assert text.count("$ resbench run") == text.count(f"$ resbench run {SUITE}\n") == 1


def test_a_claim_about_several_networks_says_which_of_them_still_lack_runs() -> None:
    factory.finish(RESULTS, suite_under("table1_arl_vs_nal"), ARL, 1, 6.0)
    text = shown(report_document(report(["table1_arl_vs_nal"], read_results(RESULTS))))
    assert "1.21 pp; without runs: attention-164/arl, attention-128/arl, attention-92/arl)" in text
    assert text.count("; without runs: ") == 2  # the others have none at all


def test_a_table_says_when_its_verdicts_stand_on_fewer_seeds_than_have_run() -> None:
    suite, said = suite_under(SUITE), "a judged difference uses the first 3, 5 or 8 seeds only"

    def claim() -> list[str]:
        (row,) = (line for line in shown(document()).splitlines() if line.startswith("| One arm"))
        return [cell.strip() for cell in row.strip("|").split("|")]

    for seeds, told in (((1, 2, 3), False), ((4,), True)):
        for seed in seeds:
            factory.finish(RESULTS, suite, ARL, seed, 5 + seed / 10)
            factory.finish(RESULTS, suite, NAL, seed, 9 + seed / 10, train=9.0)
        assert (said in shown(document())) == told
        assert claim()[6] == "3"


def test_a_published_error_counts_at_home_in_whichever_table_its_run_is() -> None:
    for engine, cell in (("eager", ARL), ("graph", "attention-92/nal")):
        factory.finish(RESULTS, suite_under(SUITE, engine=engine), cell, 1, 5.5)
    assert len(report([SUITE], read_results(RESULTS)).tables) == 2
    assert ", 2 have runs at the published setting" in shown(document())


def test_a_run_that_changed_on_its_way_is_told_apart_from_the_others() -> None:
    suite, said = suite_under(SUITE), "an uninterrupted run may give other numbers"
    factory.finish(RESULTS, suite, NAL, 1, 9.0, train=9.0)
    assert said not in shown(document())
    changes = ("epoch 1: torch: 2.13 -> 9.9",)
    record = factory.plant(
        RESULTS, suite, ARL, 1, test=[5.0, 5.0], environment={"engine_notes": changes}
    )
    text = shown(document())
    assert said in text
    assert f"- {record.key[:16]}, after epoch 1: torch: 2.13 -\\> 9.9" in text
    assert "1 run resumed with other code or in another environment" in text


def test_an_undecided_effect_the_other_way_shows_the_p_against_the_claim() -> None:
    suite = suite_under("table3_mask")
    errors = {"encoder-decoder": (6.1, 6.2, 6.3), "local": (6.0, 6.1, 6.2)}
    factory.finish_all(RESULTS, suite, errors)
    found = report(["table3_mask"], read_results(RESULTS))
    (claim,) = (claim for claim in found.tables[0].claims if claim.has_runs)
    assert claim.verdict == "undecided"
    assert claim.p_against is not None
    assert claim.p is not None
    assert claim.p > 0.5 > claim.p_against
    said = f"p = {claim.p_against:.2g} ({claim.p_against_adjusted:.2g} adjusted"
    assert said in shown(report_document(found))


def test_every_note_number_leads_to_a_note() -> None:
    blocks = document().blocks
    rows = [row for block in blocks if isinstance(block, Table) for row in block.rows]
    numbers = {n for row in rows for cell in row for n in getattr(cell, "notes", ())}
    notes = next(b.items for b in blocks if isinstance(b, Items) and b.numbered)
    assert numbers == set(range(1, len(notes) + 1))
    assert "From a log." in notes


def test_a_table_has_its_own_notes_where_they_are_not_those_above() -> None:
    """At tier cpu, rungs of the ladder are the same experiment; each has a note that says so."""
    for tier in ("paper", "cpu"):
        suite = suite_under("ladder", tier=tier)
        factory.finish(RESULTS, suite, "epochs-5/half/arl", 1, 40.0)
    numbers, lists = list[set[int]](), list[Items]()
    for block in report_document(report(["ladder"], read_results(RESULTS))).blocks:
        if isinstance(block, Items) and block.numbered:
            lists.append(block)
        elif isinstance(block, Table):
            cells = (cell for row in block.rows for cell in row)
            found = {n for cell in cells for n in getattr(cell, "notes", ())}
            numbers += [found] if found else []
    assert numbers == [set(range(1, len(notes.items) + 1)) for notes in lists]
    said = ["the same experiment as" in str(notes.items) for notes in lists]
    assert said == [False, True]


def test_claims_are_confirmed_at_the_published_setting_and_hold_here_in_another() -> None:
    verdicts = re.compile(r"\| (confirmed|contradicted|holds here|undecided) \|")
    suite = suite_under(SUITE)
    for seed in suite.seeds:
        factory.finish(RESULTS, suite, ARL, seed, 5.2 + seed / 10)
        factory.finish(RESULTS, suite, NAL, seed, 9.0 + seed / 10, train=8.9 + seed / 10)
        factory.finish(RESULTS, suite, "attention-92/arl", seed, 7.5 + seed / 10)
    text = shown(document())
    assert verdicts.findall(text) == ["confirmed", "contradicted"]
    assert "One arm beats the other. Confirmed: 3.8" in text
    shutil.rmtree(RESULTS)
    suite = suite_under(SUITE, tier="cpu", data={"cifar10": JPEG})
    factory.finish_all(RESULTS, suite, {ARL: (20.3, 20.4, 20.5), NAL: (36.3, 36.4, 36.5)})
    text = shown(document())
    assert verdicts.findall(text) == ["holds here"]
    assert not re.search("confirmed|contradicted|replicated", text, re.IGNORECASE)


def written(folder: str, name: str, claims: list[dict[str, Any]], **more: Any) -> str:
    """A suite of the user's own about digits, without published numbers."""
    said = {"text": f"Claim of {name}.", "place": "section 1"}
    claims = [{"id": f"c{i}", **said, **claim} for i, claim in enumerate(claims)]
    Path(folder).mkdir()
    return str(write_suite(Path(folder), suite_of(name, **more) | {"claims": claims}))


def test_a_report_of_suites_without_claims_speaks_of_none() -> None:
    suites = [written(name, name, []) for name in ("one", "two")]
    factory.finish(RESULTS, suite_under(suites[1]), "arl", 1, 20.0)
    for chosen in (suites, suites[1:]):
        text = shown(report_document(report(chosen, read_results(RESULTS))))
        assert "No run is at the published setting." in text
        assert "## Claims" not in text
        assert "A claim is judged" not in text


def test_a_brief_report_without_runs_says_whether_there_are_others() -> None:
    factory.finish(RESULTS, suite_under(written("one", "one", [])), "arl", 1, 20.0)
    text = shown(summary_document(report(["table1_arl_vs_nal"], read_results(RESULTS))))
    assert "No run of these tables is recorded yet. The results folder has 1 run for other" in text
    # the runs of other suites are not read here
    assert "No run is at the published setting" not in text


def test_two_tiers_of_one_name_are_two_settings_and_nothing_unpublished_is_compared() -> None:
    suites, claim = [], {"claim": "error(arl) < error(nal)"}
    for name, epochs in (("one", 1), ("two", 2)):
        suites.append(written(name, name, [claim]))
        tier = Path(name, "tiers", "mine.yaml")
        tier.parent.mkdir()
        schedule = {"unit": "epoch", "total": epochs}
        made = {"version": 1, "name": "mine", "title": f"{epochs} in all", "description": "Mine.",
                "families": {"wang2017": {}}, "schedule": schedule}  # fmt: skip
        tier.write_text(json.dumps(made))
        loaded = declared(load_suite(suites[-1]))
        context = replace(loaded.context, tier="mine")
        suite = expand(loaded.loaded, context, load_tier("mine", Path(suites[-1])))
        factory.finish(RESULTS, suite, "arl", 1, 20.0)
        factory.finish(RESULTS, suite, "nal", 1, 30.0)
    found = report(suites, read_results(RESULTS))
    brief, whole = (render(make(found), "markdown") for make in (summary_document, report_document))
    for epochs, name in ((1, "one"), (2, "two")):
        _, _, below = brief.partition(f"Tier mine · digits (not the published data set): {epochs} ")
        rows = [line for line in below.splitlines() if line.startswith("| Claim")]
        assert f"Claim of {name}." in rows[0]
    assert "4 runs in 2 settings." in whole
    assert "Test errors of the networks behind the claims are 20.0 to 30.0 %" in whole
    assert "fully trained" not in whole


def test_a_difference_of_cells_that_are_claimed_to_be_alike_is_not_as_claimed() -> None:
    alike = {"claim": "error(arl) ~ error(nal)", "margin_pp": 0.5, "text": "Both are alike"}
    order: dict[str, Any] = {"claim": "error(arl) < error(nal)"}
    for name, claims, told in (("one", [order], False), ("two", [order, alike], True)):
        suite = written(name, name, claims)
        for cell in ("arl", "nal"):
            factory.finish(Path(name), suite_under(suite), cell, 1, 20.0)
        found = report([suite], read_results(Path(name)))
        for document in (report_document(found), summary_document(found)):
            assert ("claimed to be alike" in shown(document)) == told
        assert ("- Both are alike. Undecided" in shown(report_document(found))) == told


def test_a_table_for_each_setting_the_source_s_own_first_and_the_ledger_once() -> None:
    for number, suite in enumerate([
        suite_under(SUITE),
        suite_under(SUITE, data={"cifar10": JPEG}),
        suite_under(SUITE, tier="cpu"),
        suite_under(SUITE, tier="tiny"),
        suite_under(SUITE, engine="graph", precision="bf16",
                    overrides=(("training.optim.lr", 0.05), ("model.mask", "local"))),
    ]):  # fmt: skip
        factory.finish(RESULTS, suite, ARL, 1, 10 + number)
    text = shown(document())
    tiers = ["Tier paper", "Tier paper", "Tier paper", "Tier cpu", "Tier tiny"]
    assert re.findall("^### (.*?) · ", text, re.MULTILINE) == tiers
    assert text.count("Ledger of every setting") == 1
    assert text.count("Notes as above.") == 4


def test_hostile_words_of_suites_and_records_do_nothing_in_any_format() -> None:
    evil = "</td><script>alert(1)</script> | [x](http://evil) **b** `a|b` $x$ <!-- &lt; _i_ \\"
    quoted = {mark: json.dumps(f"{mark}{evil}") for mark in ("", "# ", "1. ", "- ")}
    text = Path(SUITE).read_text()
    for old, new in {
        "Error (%) of two arms": quoted[""],
        "{label: Attention-56,": f"{{label: {quoted['# ']},",
        "note: From a log.": f"note: {quoted['1. ']}",
        "text: One arm beats the other.": f"text: {quoted['- ']}",
    }.items():
        assert old in text
        text = text.replace(old, new)
    Path(SUITE).write_text(text)
    choice = DataChoice("cifar10", f"{evil}\nnext \x1b[31m\u202e", f"sha256:{'6' * 64}")
    suite = suite_under(SUITE, data={"cifar10": choice})
    device = "<b>GPU</b> | 1\x1b[31m"
    factory.finish(RESULTS, suite, NAL, 1, 12.0, train=9.2, device=device)
    factory.finish(RESULTS, suite, ARL, 1, 11.0, device=device)
    found = document()
    for name in FORMATS:
        assert not {"\x1b", "\u202e"} & set(render(found, name))
    # a fenced command shows anything as it is
    markdown = re.sub(r"```.*?```", "", render(found, "markdown"), flags=re.DOTALL)
    assert "<script>" not in markdown
    assert "http:" not in markdown.replace("http\\:", "")


# a page's bytes are mostly its style: test_html.py says what has to be in it; those of JSON are its
# numbers: analysis/test_shape.py has their names and types
@pytest.mark.parametrize(
    "name", [name for name, row in FORMATS.items() if not row.figures and name != "json"]
)
def test_the_report_looks_as_it_did_when_it_was_read_and_accepted(
    name: str, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    half()
    text = render(document(), name)
    if name == "text":
        assert max(map(len, text.splitlines())) <= 80
    golden = HERE / "golden" / f"half{FORMATS[name].suffix}"
    if os.environ.get("RESBENCH_UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_reports_of_many_runs_read_each_record_once(monkeypatch: Patch) -> None:
    suite = suite_under("table1_arl_vs_nal")
    for seed in range(1, 4):
        for number, cell in enumerate(suite.cells):
            factory.finish(RESULTS, suite, cell.id, seed, 5 + number + seed % 7 / 10)
    read: list[str] = []

    def counted(run: RunFolder, **options: Any) -> RunRecord:
        read.append(run.key)
        return read_record(run, **options)

    monkeypatch.setattr(scan, "read_record", counted)
    names = ("table1_arl_vs_nal", "table2_depth", "table3_mask", "table4_noise")
    found = report(names, read_results(RESULTS))
    assert "(3)" in render(report_document(found), "markdown")
    assert found.recorded == len(found.runs) == len(read) == len(set(read)) == 24
