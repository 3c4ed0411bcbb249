"""``reports/`` is made from records alone: same bytes, true links, no more than the runs allow."""

from __future__ import annotations

import html
import re
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from resbench.analysis.judge import Report, report
from resbench.analysis.names import data_label
from resbench.analysis.results import read_results
from resbench.report.document import Document
from resbench.report.figures import claims, published_and_measured
from resbench.report.render import render
from resbench.report.report_page import readme_blocks, report_document
from resbench.report.site import BEGIN, DRAWN, END, GENERATED, build_site, draw, write_site
from resbench.suite.expand import DataChoice
from resbench.suite.load import load_tier, suite_names
from tests import factory
from tests.cli.invoke import Shell
from tests.committed import ROOT, changed, copy_of
from tests.factory import JPEG, plant, suite_under
from tests.mini import edited_suite

SUITE, SUITE_OF_DEPTHS = "table4_noise", "table1_arl_vs_nal"
README = f"# Ours\n\n{BEGIN}\nstale words\n{END}\n\nrest\n"


@dataclass(frozen=True)
class Site:
    """Made reports, the results behind them, and what was shown on the way."""

    results: Path
    reports: Path
    first: int
    again: list[Path]

    def page(self, name: str) -> str:
        return (self.reports / name).read_text()


def shipped() -> list[str]:
    """The suites that are reported without a run."""
    return [name for name in suite_names() if name != "smoke"]


def built(results: Path, *suites: str) -> tuple[Report, dict[str, bytes]]:
    found = report(suites, read_results(results, finished=True), folder=Path("results"))
    return found, build_site(found, draw(found), Path("results"), "../results/runs")


def readme(found: Report) -> str:
    """What the README says of a report, without figures."""
    return render(Document(readme_blocks(found, {}, "reports")), "markdown")


def readme_claims(found: Report) -> list[list[str]]:
    """The claims in the README: words, published, measured, interval, verdict, seeds."""
    rows = re.findall(r"^\| (?!claim )(.*)\|$", readme(found), re.M)
    return [[" ".join(cell.split()) for cell in row.split("|")] for row in rows]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Reports of a suite with three seeds at two noise levels and one at a third, written twice.

    The second time there is an unfinished run besides.
    """
    folder = tmp_path_factory.mktemp("site")
    expanded = suite_under(SUITE, tier="cpu", data={"cifar10": JPEG})
    for number, (level, seeds) in enumerate({10: (1, 2, 3), 30: (1, 2, 3), 70: (1,)}.items()):
        for network, better in (("attention-92", 5.1), ("resnet-164", 0.0)):
            for seed in seeds:
                error = 60 + 4 * number - round(better - seed * better / 50, 1) + seed / 10
                test = [80.0, 70.0, round(error, 1)]
                plant(folder / "results", expanded, f"noise-{level}/{network}", seed, test=test)
    (folder / "README.md").write_text(README)
    first = write_site((), folder / "results", folder / "reports")
    unfinished = factory.begin(folder / "results", expanded, "noise-30/attention-92", 9)
    again = write_site((), folder / "results", folder / "reports")
    shutil.rmtree(unfinished.path)
    return Site(folder / "results", folder / "reports", len(first), again)


def test_a_second_time_changes_no_byte_nor_does_an_unfinished_run(site: Site) -> None:
    # and their index, one page of all, 5 figures, the README above
    assert site.first == len(shipped()) + 8
    assert site.again == []


def test_every_link_leads_to_a_file_and_every_figure_stands_on_a_page(site: Site) -> None:
    pages = [*site.reports.glob("*.md"), site.reports.parent / "README.md"]
    for page in pages:
        for target in re.findall(r"\]\(((?!https:)[^)#]+)\)", page.read_text()):
            assert (page.parent / target).is_file(), f"{page.name}: {target}"
    text = "".join(page.read_text() for page in pages)
    drawn = sorted(path.name for path in site.reports.glob("figures/*.svg"))
    assert [name for name in drawn if f"figures/{name}" not in text] == []
    # curves, noise, confusions, the claims, and the README's picture
    assert len(drawn) == 5


def test_a_claim_is_shown_in_every_setting_that_can_decide_it_the_closest_first(
    tmp_path: Path,
) -> None:
    near = suite_under(SUITE, tier="cpu", data={"cifar10": JPEG})
    far = suite_under(SUITE, tier="tiny", data={"cifar10": JPEG})
    for expanded, level, seeds in (
        (far, 10, 3), (near, 10, 3), (far, 30, 3), (near, 30, 1), (far, 50, 1), (near, 50, 2),
    ):  # fmt: skip
        for seed in range(1, seeds + 1):
            for network, error in (("attention-92", 30.0), ("resnet-164", 31.0)):
                error += 30 * (expanded is far) + seed / 10
                plant(tmp_path, expanded, f"noise-{level}/{network}", seed, test=[error])
    cpu, tiny = (f"tier {name} · {data_label(JPEG)}" for name in ("cpu", "tiny"))
    found, files = built(tmp_path)
    page = files["README.md"].decode()
    shown = [row.split("|") for row in page.splitlines() if "% label noise." in row]
    assert [(row[1].split()[4], row[7].strip(), row[-2].strip()) for row in shown] == [
        ("10%", "3", f"{SUITE}, {cpu}"), ("10%", "3", f"{SUITE}, {tiny}"),
        ("30%", "3", f"{SUITE}, {tiny}"), ("50%", "2", f"{SUITE}, {cpu}"),
    ]  # fmt: skip
    assert list(found.by_setting) == [cpu, tiny]
    words = r"^Tier (\w+) · cifar10-jpeg75|^\| Attention-92 .* at (\d+%) label noise"
    assert re.findall(words, readme(found), re.M) == [
        ("cpu", ""), ("", "10%"), ("", "50%"), ("tiny", ""), ("", "30%"),
    ]  # fmt: skip
    assert "26 runs in 2 settings." in page


def test_runs_of_other_settings_are_told_apart_and_have_figures_of_their_own(
    tmp_path: Path,
) -> None:
    alike = (DataChoice("cifar10", f"mine-{digit * 4}", f"sha256:{digit * 64}") for digit in "12")
    settings: tuple[dict[str, Any], ...] = (
        {}, {"engine": "graph"}, {"engine": "graph+compile"},
        {"overrides": (("training.optim.lr", 0.05),)},
        *({"data": {"cifar10": choice}} for choice in alike),
    )  # fmt: skip
    for changes in settings:
        expanded = suite_under("table3_mask", **{"data": {"cifar10": JPEG}, **changes})
        for seed in (1, 2):
            for cell in ("encoder-decoder", "local"):
                plant(tmp_path, expanded, cell, seed, test=[9.0, 5.0 + seed / 10])
    files = built(tmp_path, "table3_mask")[1]
    page = files["README.md"].decode()
    assert "24 runs in 6 settings" in page
    assert "graph+compile engine" in page
    rows = [row for row in page.splitlines() if row.startswith("| [table3_mask]")]
    assert len(set(rows)) == len(rows) == 6
    sections = re.split(r"\n### Tier ", files["table3_mask.md"].decode(), flags=re.I)
    figures = [re.findall(r"\]\((figures/[^)]+-curves\.svg)\)", part) for part in sections]
    assert [len(found) for found in figures if found] == [1] * 6
    assert len({name for found in figures for name in found}) == 6


def test_a_suite_of_another_data_set_shares_the_setting_and_an_override_stands_in_its_name(
    tmp_path: Path,
) -> None:
    cifar100 = suite_under("table2_depth", tier="cpu")
    plant(tmp_path, cifar100, "attention-56/cifar100", 1, test=[60.0])
    plant(tmp_path, suite_under("table3_mask", tier="cpu"), "local", 1, test=[30.0])
    short = suite_under("mechanism", overrides=(("training.batch_size", 32),))
    plant(tmp_path, short, "attention-56/arl", 1, test=[80.0])
    plant(tmp_path, suite_under("mechanism"), "attention-56/arl", 1, test=[70.0])
    assert list(built(tmp_path)[0].by_setting) == [
        "suite mechanism's own setting",
        "tier cpu",
        "suite mechanism's own setting · --set training.batch_size=32",
    ]


def test_no_page_has_a_time_a_path_or_an_empty_place(site: Site) -> None:
    for page in site.reports.glob("*.md"):
        text = page.read_text()
        assert text.startswith(GENERATED)
        assert str(site.reports.parent) not in text
        assert not re.search(r"\b20\d\d-\d\d-\d\d|\bnan\b|\binf\b", text), page.name


def test_the_page_says_what_was_run_and_that_no_published_number_is_judged(site: Site) -> None:
    text = site.page("README.md")
    assert "14 runs in 1 setting" in text
    assert "nothing here confirms or refutes any of the 67 published errors" in text
    assert "Tier cpu · cifar10-jpeg75 (not the published data set): 14 runs, 4.9 dev" in text
    said = "5 claims have runs: order at this stage of training 2, undecided 1. Setting: "
    assert f"{said}{load_tier('cpu')[0].title}." in text
    assert "published errors, 0 have runs at the published setting" in text
    for verdict in ("✓", "↓", "↑", "replicated", "confirmed"):
        assert verdict not in text
    far = r"the claims are \d\d\.\d to \d\d\.\d % \(guessing gives 90 %\) in tier cpu · cifar10-jp"
    for page in (text, (site.reports.parent / "README.md").read_text()):
        assert re.search(far, page)


def test_the_prose_counts_what_the_records_hold(site: Site) -> None:
    text = site.page("README.md")
    assert "Code: 0.1.0 c0ffeec0ff (14 runs)." in text
    assert re.search(r"\d\d of \d\d published sizes, layers and depths agree with the", text)
    part = text.partition("name the wrong kind of error, or none")[2]
    assert len(re.findall(r"\n\| \w+: ", part.partition("\n## ")[0])) == 10


def test_a_suite_page_has_its_figures_its_ledger_and_its_runs(site: Site) -> None:
    text = site.page(f"{SUITE}.md")
    for kind in ("curves", "noise"):
        assert re.search(rf"\(figures/{SUITE}-cpu-[0-9a-f]{{8}}-{kind}\.svg\)", text)
    assert "Ledger" in text
    keys = {path.name for path in site.results.glob("runs/*")}
    assert [key for key in keys if key not in text] == []


def test_the_readme_is_refreshed_between_its_marks_alone(site: Site) -> None:
    text = (site.reports.parent / "README.md").read_text()
    before, _, rest = text.partition(BEGIN)
    block, _, after = rest.partition(END)
    assert (before, after) == ("# Ours\n\n", "\n\nrest\n")
    assert "stale words" not in block
    assert "| Attention-92 beats ResNet-164 at 70% label noise. " in block
    assert "(reports/figures/headline.svg)" in block


def test_a_published_size_is_a_factor_as_the_measured_one_is(tmp_path: Path) -> None:
    claimed = "error(attention-164/nal) < error(attention-164/arl)\n  - id: values-fade-with-depth"
    path = edited_suite(
        tmp_path / "mechanism.yaml", "mechanism",
        {claimed: claimed.replace("\n", '\n    published_pp: "0.50"\n', 1),
         "values-fade\n    ours: true\n": "values-fade\n"},  # as if a source made it
    )  # fmt: skip
    for cell, size in (("attention-164/arl", 10.0), ("attention-164/nal", 1.0)):
        factory.with_signals(tmp_path / "results", cell, 1, size, 1.0)
    found = report([str(path)], read_results(tmp_path / "results"))
    assert ["×3.16", "×10", "", "undecided", "1"] in [row[1:] for row in readme_claims(found)]
    page = re.sub("[ \xa0]+", " ", render(report_document(found), "markdown"))
    assert "| ×3.16 | ×10 |" in page


def test_verdicts_on_claims_of_ours_are_counted_apart_from_those_of_the_sources(
    tmp_path: Path,
) -> None:
    for cell, size in (("attention-164/arl", 10.0), ("attention-164/nal", 1.0)):
        for seed in (1, 2, 3):
            factory.with_signals(tmp_path, cell, seed, size, 20.0 / size)
    found = report(["mechanism", "table3_mask"], read_results(tmp_path))
    said = readme(found)
    assert "The sources make 1 claim, 0 with runs so far. We add 5 claims, 3 with runs" in said


def test_what_two_tables_or_two_settings_share_is_counted_once_and_what_is_decided_comes_first(
    tmp_path: Path,
) -> None:
    """Attention-56 with ARL is also a cell of attention_type."""
    cpu = suite_under(SUITE_OF_DEPTHS, tier="cpu")
    seeds = {
        "arl": {56: 1, 92: 4, 164: 2},
        "nal": {56: 3, 92: 4, 128: 3, 164: 3},  # worse with depth: a claim of ours
    }
    for learning, each in seeds.items():
        for depth, n in each.items():
            for seed in range(1, n + 1):
                error = round(20 + seed / 10 + (depth / 12 if learning == "nal" else 0), 1)
                factory.finish(tmp_path, cpu, f"attention-{depth}/{learning}", seed, error)
    factory.finish(tmp_path, suite_under(SUITE_OF_DEPTHS), "attention-92/nal", 1, 6.0)
    found = report([SUITE_OF_DEPTHS, "attention_type"], read_results(tmp_path))
    assert [[row[0].split(".")[0].split()[-1], *row[4:]] for row in readme_claims(found)] == [
        ["Attention-92", "holds here", "3"], ["worse", "holds here", "3"],
        ["Attention-164", "undecided", "2"], ["Attention-56", "undecided", "1"],
    ]  # fmt: skip
    page = render(report_document(found), "markdown")
    assert "Tier cpu, on cifar10: 20 runs, 7.0 device hours; 4 of 9 claims have runs" in page
    assert "9 claims in all; those without runs" in page
    assert "1 have runs at the published setting (1 undecided), 7 only in another setting" in page
    assert "No run is at the published setting" not in page


def test_runs_at_the_published_setting_that_answer_nothing_published_are_not_taken_for_answers(
    tmp_path: Path,
) -> None:
    suite, caution = suite_under("optimizer"), "nothing here confirms or refutes the one published"
    factory.diverge(tmp_path, suite, "nesterov-sgd/lr-1e-1", 1)
    found = report(["optimizer"], read_results(tmp_path))
    there = "What was trained at the published setting, 1 run, belongs to no published error and "
    assert f"{there}to no whole claim: {caution} error, and a verdict" in readme(found)
    for cell, answers in (("nesterov-sgd/lr-1e-3", False), ("adam/lr-1e-4", True)):
        plant(tmp_path, suite, cell, 1, test=[9.0, 6.0])
        page = readme(report(["optimizer"], read_results(tmp_path)))
        assert (caution in page) != answers


def test_two_claims_of_the_same_words_name_their_suites(tmp_path: Path) -> None:
    names = ("table7_cifar10_report", "table8_cifar100_report")
    for name in names:
        suite = suite_under(name, tier="cpu")
        for network, error in (("attention-56", 30.0), ("attention-92", 60.0)):
            plant(tmp_path, suite, network, 1, test=[90.0, error])
    found = report(names, read_results(tmp_path))
    said = readme_claims(found)
    figure = claims(found)
    assert figure is not None
    rows = [" ".join(row.get_text().split()) for row in figure.axes[0].get_yticklabels()]
    for name in names:
        assert sum(row[0].endswith(f"(Suite {name}.)") for row in said) == 2
        assert sum(f" ({name})" in row for row in rows) == 2
    plant(tmp_path, suite_under(names[0], tier="tiny"), "attention-56", 1, test=[90.0, 30.0])
    found = report(names[:1], read_results(tmp_path))
    assert "(Suite " not in readme(found), "one suite in two tiers is one suite"


def test_a_chain_in_the_readme_names_the_step_that_its_numbers_are_of(tmp_path: Path) -> None:
    suite = suite_under(SUITE_OF_DEPTHS)
    for error, depth in enumerate((164, 128, 92, 56), 4):
        plant(tmp_path, suite, f"attention-{depth}/arl", 1, test=[9.0, error])
    found = report([SUITE_OF_DEPTHS], read_results(tmp_path))
    ((words, published, *measured),) = readme_claims(found)
    step = r"\(Step: Attention-\d+, ARL below Attention-\d+, ARL\.\)"
    assert re.search(step, words)
    assert re.fullmatch(r"\+0\.\d\d", published)
    assert measured == ["+1.00", "", "undecided", "1"]
    figure = claims(found)
    assert figure is not None
    assert "Of a chain: one of its steps." in figure.get_suptitle()


def test_a_run_of_a_cell_that_departs_from_its_source_is_not_at_the_published_setting(
    tmp_path: Path,
) -> None:
    network = "set: {model.name: attention-164}"
    path = edited_suite(
        tmp_path / "table1.yaml", SUITE_OF_DEPTHS,
        {
            f"name: {SUITE_OF_DEPTHS}": "name: table1",
            network: network.replace("}", ", training.batch_size: 32}"),
            "provenance:\n": "provenance:\n  training.batch_size: {origin: deviation, place: here, "
            "reason: a smaller batch}\n",
        },
    )  # fmt: skip
    results, nowhere = tmp_path / "results", "No run is at the published setting"

    def outcomes() -> str:
        found = report([str(path)], read_results(results))
        page = render(report_document(found), "markdown")
        assert (nowhere in page) == (nowhere in readme(found)) == ("0 have runs at" in page)
        assert (nowhere in page) == ("Setting: a smaller batch." in page)
        (said,) = re.findall(r"published errors, (.*?)\. The published setting", page)
        return str(said)

    suite = suite_under(str(path))
    plant(results, suite, "attention-164/arl", 1, test=[9.0, 6.0])
    factory.diverge(results, suite, "attention-164/nal", 1)
    only = "2 only in another setting and"
    assert outcomes() == f"0 have runs at the published setting, {only} 6 in none"
    plant(results, suite, "attention-56/arl", 1, test=[9.0, 6.0])
    assert outcomes() == f"1 have runs at the published setting (1 undecided), {only} 5 in none"


def test_the_range_of_test_errors_covers_only_cells_that_claims_about_errors_compare(
    tmp_path: Path,
) -> None:
    mask, sizes = (suite_under(name, tier="cpu") for name in ("table3_mask", "mechanism"))
    for cell, error in (("local", 40.0), ("encoder-decoder", 30.0), ("local-same-units", 50.0)):
        plant(tmp_path, mask, cell, 1, test=[80.0, error])
    plant(tmp_path, sizes, "attention-164/arl", 1, test=[89.0, 88.0])
    page = built(tmp_path)[1]["README.md"].decode()
    assert "networks behind the claims are 30.0 to 40.0 % (guessing gives 90 %)" in page


def test_sizes_within_networks_never_take_the_place_of_errors(tmp_path: Path) -> None:
    expanded = suite_under("table3_mask", tier="cpu")
    errors = {"local": (30.1, 30.2, 30.3), "encoder-decoder": (20.1, 20.2, 20.3)}
    factory.finish_all(tmp_path, expanded, errors)
    for cell, size in (("attention-164/arl", 10.0), ("attention-164/nal", 1.0)):
        for seed in (1, 2, 3, 4):  # more runs than the table of errors has
            factory.with_signals(tmp_path, cell, seed, size, 20.0 / size)
    found = report(["mechanism", "table3_mask"], read_results(tmp_path))
    assert found.headline is not None
    assert found.headline.suite == "table3_mask"
    text = render(Document(readme_blocks(found, draw(found), "reports")), "markdown")
    assert "figures/headline.svg" in text
    first, *rest = (row[0] for row in readme_claims(found))
    assert first == "The encoder-decoder mask beats local convolutions."
    assert [words.partition(".")[0] for words in rest[:2]] == [
        "At the start, the last features of Attention-164 are smaller under NAL than under ARL",
        "At the start, the gradient at the first convolution of Attention-164 is larger under NAL "
        "than under ARL",
    ]
    assert all("(A claim of ours.)" in words for words in rest)
    (far,) = re.findall(r"Test errors of the networks behind the claims are .*", text)
    assert "in tier cpu; the published ones" in far
    assert "mechanism" not in far


def test_the_picture_of_the_readme_is_of_the_setting_closest_to_the_source(tmp_path: Path) -> None:
    near, far = suite_under("table3_mask"), suite_under(SUITE, tier="tiny")
    for cell in ("encoder-decoder", "local"):
        plant(tmp_path, near, cell, 1, test=[9.0, 6.0])
    for network in ("attention-92", "resnet-164"):
        for seed in (1, 2, 3):
            plant(tmp_path, far, f"noise-10/{network}", seed, test=[80.0, 70.0])
    headline = report([], read_results(tmp_path)).headline
    assert headline is not None
    assert (headline.suite, headline.setting.tier) == ("table3_mask", "paper")


def test_of_one_setting_the_picture_is_of_the_table_with_most_runs(tmp_path: Path) -> None:
    mask, noise = suite_under("table3_mask"), suite_under(SUITE)
    cells = {
        "table3_mask": (mask, ("encoder-decoder", "local")),
        SUITE: (noise, ("noise-10/attention-92", "noise-10/resnet-164")),
    }
    for suite, seeds in (("table3_mask", (1,)), (SUITE, (1, 2)), ("table3_mask", (2, 3))):
        expanded, own = cells[suite]
        for cell in own:
            for seed in seeds:
                plant(tmp_path, expanded, cell, seed, test=[9.0, 6.0])
        headline = report([], read_results(tmp_path)).headline
        assert headline is not None
        assert headline.suite == suite


def test_all_runs_diverged_leave_no_errors_to_tell(tmp_path: Path) -> None:
    expanded = suite_under("table3_mask", tier="cpu")
    for cell in ("encoder-decoder", "local"):
        factory.diverge(tmp_path, expanded, cell, 1)
    pages = built(tmp_path)[1]
    for name in ("README.md", "table3_mask.md", "index.html"):
        page = pages[name].decode()
        assert "Test errors of the networks behind the claims" not in page
        assert "at the last epoch: ." not in page


def test_arms_without_a_common_seed_are_told_and_not_drawn(tmp_path: Path) -> None:
    suite = suite_under("table1_arl_vs_nal")
    factory.finish(tmp_path, suite, "attention-56/arl", 1, 5.5)
    factory.finish(tmp_path, suite, "attention-56/nal", 2, 5.9)
    found = report(["table1_arl_vs_nal"], read_results(tmp_path))
    assert draw(found)
    ((_, *numbers),) = readme_claims(found)
    assert numbers == ["+0.37", "", "", "undecided", "0"]


def test_an_effect_of_diverged_runs_says_so_and_has_no_interval(tmp_path: Path) -> None:
    suite = suite_under("table1_arl_vs_nal")
    for seed in (1, 2, 3):
        factory.finish(tmp_path, suite, "attention-164/arl", seed, 5 + seed / 10)
        factory.diverge(tmp_path, suite, "attention-164/nal", seed)
    factory.diverge(tmp_path, suite, "attention-128/arl", 1)
    found = report(["table1_arl_vs_nal"], read_results(tmp_path))
    (line,) = (row for row in readme_claims(found) if row[0].startswith("Attention residual"))
    assert "(3 runs diverged, counted as guessing.)" in line[0]
    assert (line[1], line[3], line[5]) == ("+2.87", "", "3")
    (row,) = (row for row in built(tmp_path)[1]["README.md"].decode().splitlines()
              if row.startswith("| Attention residual") and "Attention-164" in row)  # fmt: skip
    assert "(3 runs diverged, counted as guessing.)" in row
    (table,) = found.with_runs
    figure = published_and_measured(table)
    assert figure is not None
    labels = [label.get_text() for label in figure.axes[1].get_xticklabels()]
    assert "Attention-128\n(diverged)" in labels


def test_a_published_error_with_runs_at_its_own_setting_is_counted_there(tmp_path: Path) -> None:
    """Also where nothing can be compared, or every run diverged: a run that diverged is a run."""

    def told(results: Path, suite: str) -> str:
        page = built(results, suite)[1]["README.md"].decode()
        (said,) = re.findall(r"published errors, (.*?)\. The published setting", page)
        return str(said)

    own, other = suite_under("table3_mask"), suite_under("table3_mask", tier="cpu")
    factory.diverge(tmp_path / "far", other, "local", 1)
    far = "0 have runs at the published setting, 1 only in another setting "
    assert told(tmp_path / "far", "table3_mask").startswith(far)
    factory.diverge(tmp_path / "near", own, "local", 1)
    near = "1 have runs at the published setting (1 diverged), 0 only in another setting "
    assert told(tmp_path / "near", "table3_mask").startswith(near)
    unlike = "table6_arl_vs_nal_report"
    expanded = suite_under(unlike)
    for cell in expanded.cells:
        plant(tmp_path / "unlike", expanded, cell.id, 1, test=[60.0, 50.0])
    table = report([unlike], read_results(tmp_path / "unlike")).tables[0]
    assert table.setting.published
    assert "not_comparable" in {value.verdict for value in table.values}
    assert re.match(
        r"\d have runs at the published setting \(\d undecided, \d not comparable\), 0 only",
        told(tmp_path / "unlike", unlike),
    )


def test_pages_and_figures_that_are_no_longer_made_go_away(tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "gone.svg").write_text(f"<?xml?>\n{DRAWN}\n<svg/>")
    (folder / "figures" / "mine.svg").write_text("<svg/>")
    (folder / "notes.md").write_bytes("Größe\n".encode("latin-1"))
    (folder / "folder.md").mkdir()
    (folder / "link.md").symlink_to(folder / "gone.md")
    (folder / "gone.md").write_text(f"{GENERATED}\n")
    (folder / "mine.md").write_text("a note of my own\n")
    write_site(["table3_mask"], tmp_path / "none", folder)
    assert sorted(path.name for path in folder.glob("*.*")) == [
        "README.md", "folder.md", "index.html", "link.md", "mine.md", "notes.md", "table3_mask.md",
    ]  # fmt: skip
    assert [path.name for path in folder.glob("figures/*")] == ["mine.svg"]


def test_a_figure_of_masks_in_the_folder_is_shown_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    drawn = '<?xml version="1.0"?>\n<svg viewBox="0 0 9 9"><text>stage 1</text></svg>\n'
    (folder / "masks.svg").write_text(drawn)
    expanded = suite_under(SUITE)
    plant(tmp_path / "results", expanded, expanded.cells[0].id, 1, test=[9.0, 8.0])
    for _ in range(2):
        write_site([SUITE], tmp_path / "results", folder)
        assert "(masks.svg)" in (folder / "README.md").read_text()
        assert "<text>stage 1</text>" in (folder / "index.html").read_text()
        assert (folder / "masks.svg").read_text() == drawn


@pytest.mark.parametrize("name", ["README.md", "depth.md", "figures", ""])
def test_a_file_of_somebody_else_in_the_way_is_refused_before_anything_is_written(
    tmp_path: Path, shell: Shell, name: str
) -> None:
    folder = tmp_path / "reports"
    mine = folder / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_bytes("meine Größe\n".encode("latin-1"))
    (tmp_path / "none").mkdir()
    before = sorted(tmp_path.rglob("*"))
    outcome = shell("report depth --site", folder, "--results", tmp_path / "none")
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert outcome.err.startswith(f"{mine}: not written by resbench; `--site {folder}` would")
    assert sorted(tmp_path.rglob("*")) == before


def test_nothing_outside_the_folder_is_touched_but_a_readme_with_marks(
    tmp_path: Path, shell: Shell
) -> None:
    (tmp_path / "README.md").write_text("no marks\n")
    (tmp_path / "runs").mkdir()
    pages = tmp_path / "a b"
    assert shell("report --site", pages).code == 0
    assert (tmp_path / "README.md").read_text() == "no marks\n"
    assert "often it is wrong: docs/statistics.md of resbench." in (pages / "README.md").read_text()
    (tmp_path / "README.md").write_text(README)
    assert shell("report --site", pages).err.startswith("1 file changed for ")
    assert "(a%20b/README.md)" in (tmp_path / "README.md").read_text()
    assert shell("report --format csv --site", pages).code == 2


def test_a_site_of_named_suites_has_their_pages_and_counts_their_runs_alone(
    site: Site, tmp_path: Path, shell: Shell
) -> None:
    changes = {f"name: {SUITE}\n": "name: own\n", "30%": "30 %"}
    path = edited_suite(tmp_path / "own.yaml", SUITE, changes)
    pages = tmp_path / "pages"
    where = ("--results", site.results, "--site", pages)
    assert shell("report", path, "table3_mask", *where).code == 0
    assert {page.name for page in pages.glob("*.md")} == {"README.md", "own.md", "table3_mask.md"}
    assert "14 runs in 1 setting." in (pages / "README.md").read_text()
    assert shell("report table3_mask", *where).code == 0
    assert {page.name for page in pages.glob("*.md")} == {"README.md", "table3_mask.md"}
    told = "No run of these tables is recorded yet. The results folder has 14 runs"
    assert told in (pages / "README.md").read_text()


def test_results_elsewhere_are_linked_and_named_where_they_are(tmp_path: Path) -> None:
    expanded, results = suite_under("table3_mask", tier="cpu"), tmp_path / "shared" / "a b"
    plant(results, expanded, "local", 1, test=[30.0, 20.0])
    folder = tmp_path / "smith" / "report"
    write_site(["table3_mask"], results, folder)
    page = (folder / "index.html").read_text()
    links = set(re.findall(r'href="(\.\.[^"]*/runs/[0-9a-f]+/)"', page))
    assert links
    assert all((folder / unquote(link)).is_dir() for link in links)
    for text in (page, (folder / "table3_mask.md").read_text()):
        commands = re.findall(r"resbench (?:run|verify) .*", text)
        assert commands
        assert all(f"--results '{results}'" in html.unescape(line) for line in commands)


def test_committed_reports_are_those_of_the_committed_results(tmp_path: Path) -> None:
    """CI runs this in a clean checkout; while runs are being added there is nothing to compare.

    Other versions of matplotlib and NumPy than the pinned ones draw other bytes, but the pages must
    be the same.
    """
    results = copy_of("results", tmp_path)
    if changed("results", "reports"):
        pytest.skip("results/ or reports/ differ from the commit: `make reports`, then commit both")
    for name in ("reports", "docs", "README.md"):
        copy_of(name, tmp_path)
    found = write_site((), results, tmp_path / "reports")
    assert [path.name for path in found if path.suffix == ".md"] == []
    pins = (ROOT / "constraints.txt").read_text().split()
    if {f"{name}=={version(name)}" for name in ("matplotlib", "numpy")} <= {*pins}:
        assert found == []
