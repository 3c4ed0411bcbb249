"""The HTML report: one file that asks for nothing, escapes everything, and opens every number."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from resbench.report.document import (
    Block,
    Command,
    Document,
    Effect,
    Figure,
    Fold,
    Heading,
    Items,
    Link,
    Number,
    Paragraph,
    Table,
    Verdict,
)  # fmt: skip
from resbench.report.render import render
from tests.cli.invoke import Shell
from tests.factory import JPEG, diverge, plant, suite_under, with_signals

SUITE = "table3_mask"
VOID = {"meta", "link", "br", "path", "circle", "use", "input"}
RENDER = Path(__file__).parents[2] / "benchmark" / "resbench" / "report" / "render"


class Page(HTMLParser):
    """The elements of a page with the text in each; an element that is not closed is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.text[self.open[-1]] = self.text.get(self.open[-1], "") + data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.elements if t == tag and wanted.items() <= a.items()]


def page_of(*blocks: Block, data: Any = None) -> str:
    return render(Document((Heading(1, "Title"), *blocks), data), "html")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The page of a suite with two cells of three seeds, one of them with a diverged run."""
    folder = tmp_path_factory.mktemp("made")
    expanded = suite_under(SUITE, tier="cpu", data={"cifar10": JPEG})
    for i, cell in enumerate(expanded.cells[:2]):
        for seed in (1, 2, 3):
            error = 20.0 + 3 * i + seed / 10
            plant(folder / "results", expanded, cell.id, seed, test=[70.0, 40.0, error])
    diverge(folder / "results", expanded, expanded.cells[0].id, 4)
    path = folder / "out" / "report.html"
    path.parent.mkdir()
    command = [sys.executable, "-m", "resbench", "report", SUITE]
    command += ["--results", str(folder / "results"), "--output", str(path)]
    subprocess.run(command, check=True)
    return path, path.read_text()


def test_the_page_is_whole_and_asks_for_nothing(made: tuple[Path, str]) -> None:
    page = Page(made[1])
    sources = [a for _, a in page.elements for name in ("src", "srcset", "poster") if name in a]
    assert sources == []
    (icon,) = page.all("link")
    assert icon["href"] == "data:,"
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert str(policy["content"]).startswith("default-src 'none'")
    assert not re.search(r"@import|url\((?!#)", made[1])
    names = [a["id"] for _, a in page.elements if "id" in a]
    assert len(names) == len(set(names))


def test_links_within_the_page_and_popovers_lead_somewhere(made: tuple[Path, str]) -> None:
    page = Page(made[1])
    names = {a["id"] for _, a in page.elements if "id" in a}
    targets = [str(a["href"])[1:] for a in page.all("a") if str(a["href"]).startswith("#")]
    targets += [str(a["popovertarget"]) for a in page.all("button")]
    assert targets
    assert set(targets) <= names


def test_the_notes_of_a_table_are_those_of_its_own_suite() -> None:
    """Also where suites share a part of the page, and where a suite has two tables."""

    def noted(name: str) -> tuple[Block, ...]:
        table = Table(("a", "b"), ((name, Number("1", 1.0, notes=(1, 2))),), "lr")
        return table, Items((f"{name} one", f"{name} two"), numbered=True), table

    folds = (Fold(name, noted(name)) for name in ("third", "fourth"))
    blocks = (Heading(2, "first"), *noted("first"), Heading(2, "Without runs"), *folds)
    text = page_of(*blocks)
    notes = dict(re.findall(r'<li id="([^"]+)">\s*(\w+ \w+)', text))
    links = re.findall(r'<th scope="row">(\w+).*?</th>.*?href="#(.*?)".*?href="#(.*?)"', text, re.S)
    assert [name for name, *_ in links] == [n for n in ("first", "third", "fourth") for _ in "ab"]
    for name, one, two in links:
        assert [notes[one], notes[two]] == [f"{name} one", f"{name} two"]


def test_a_number_opens_the_note_of_its_own_table_or_else_the_one_above() -> None:
    table = Table(("row", "value"), (("a", Number("5", notes=(1,))),), "lr")
    parts: list[Block] = [Heading(3, "near"), table, Items(("own",), numbered=True)]
    parts += [Heading(3, "far"), table, Items(("other",), numbered=True)]
    text = page_of(Heading(2, "Suite"), *parts, Heading(3, "farther"), table)
    notes = dict(re.findall(r'<li id="([^"]+)">(\w+)', text))
    opened = [notes[name] for name in re.findall(r'<a href="#([^"]+)" aria-label="note', text)]
    assert opened == ["own", "other", "own"]


def test_two_numbered_lists_of_one_part_have_names_of_their_own() -> None:
    text = page_of(Heading(2, "Tier"), *[Items(("a", "b"), numbered=True)] * 2)
    assert len(set(re.findall(r'<li id="([^"]+)">', text))) == 4


def test_a_measured_number_opens_its_seeds_their_runs_and_its_command(
    made: tuple[Path, str],
) -> None:
    path, text = made
    (opened,) = re.findall(
        r">20\.20 ± 0\.10 \(3/4\), 1 diverged</button>\s*<div popover.*?</pre>", text, re.S
    )
    for seed, error in ((1, "20.10"), (2, "20.20"), (3, "20.30"), (4, "diverged")):
        assert re.search(rf'<th scope="row">{seed}\s*</th>.*?>{error}', opened, re.S)
    runs = re.findall(r'href="(\.\./results/runs/[0-9a-f]{16}/)"', opened)
    assert len(runs) == 4
    assert all((path.parent / run).is_dir() for run in runs)
    assert "Not comparable: tier cpu" in opened
    assert "--tier cpu" in opened
    assert "--cell local" in opened


def test_the_finding_comes_before_the_tables_and_the_claims(made: tuple[Path, str]) -> None:
    text = made[1]
    order = ["7 runs in 1 setting. No run is at the published setting", f'id="{SUITE}"']
    order += ['<svg class="strip', "Test error by class", 'id="run-it-again"']
    at = [text.index(part) for part in order]
    assert at == sorted(at)


def test_the_last_commands_are_about_the_folder_of_the_report(made: tuple[Path, str]) -> None:
    _, text = made
    last = text[text.index('id="run-it-again"') :]
    assert re.search(r"resbench verify --results \S*results\b", last)
    assert re.search(rf"report {SUITE} --output report\.html --results \S*results\b", last)


def test_the_data_inside_are_the_json_report(made: tuple[Path, str]) -> None:
    embedded = re.search(r'id="data">(.*?)</script>', made[1])
    assert embedded is not None
    found = json.loads(embedded[1])
    assert found["tables"][0]["suite"] == SUITE
    assert found["tables"][0]["values"][0]["mean"] == pytest.approx(20.2)


def test_curves_are_text_and_marks_with_names(made: tuple[Path, str]) -> None:
    _, figure, confusions = re.findall(r"<figure.*?</figure>", made[1], re.S)
    assert re.search(r"<text[^>]*>predicted class</text>", confusions)
    assert re.search(r"<text[^>]*>epoch</text>", figure)
    assert re.search(r'id="f\d+-curve-1-1-test"', figure)
    assert 'role="img"' in figure


def test_figures_of_all_widths_have_letters_of_one_size(made: tuple[Path, str]) -> None:
    drawn = re.findall(r'viewBox="0 0 (\S+) \S+" style="--width: (\S+)rem"', made[1])
    assert len(drawn) == 3
    assert len({width for width, _ in drawn}) > 1
    assert len({round(float(rem) / float(width), 3) for width, rem in drawn}) == 1


def opened(shell: Shell, folder: Path, suite: str, shown: str) -> tuple[str, str]:
    """The page of a suite, and of it the first table that a number opens."""
    page = folder / "page.html"
    assert shell("report", suite, "--output", page).code == 0
    text = page.read_text()
    found = re.search(rf">{shown}</button>\s*<div popover.*?</table>", text, re.S)
    assert found is not None
    return text, found[0]


def test_the_effect_of_a_claim_opens_its_runs(tmp_path: Path, shell: Shell) -> None:
    expanded = suite_under("table1_arl_vs_nal")
    errors = {"attention-56/arl": 5.0, "attention-56/nal": 6.0, "attention-92/arl": 5.0}
    runs = [plant(tmp_path, expanded, cell, 1, test=[9.0, error]) for cell, error in errors.items()]
    _, table = opened(shell, tmp_path, "table1_arl_vs_nal", r"\+1\.00")
    assert [f'"runs/{run.key[:16]}/' in table for run in runs] == [True, True, False]


def test_the_effect_of_a_claim_about_sizes_opens_the_size_of_every_run(
    tmp_path: Path, shell: Shell
) -> None:
    with_signals(tmp_path, "attention-164/arl", 1, 1000.0, 1.0)
    with_signals(tmp_path, "attention-164/nal", 1, 100.0, 1.0, diverged=True)
    page, table = opened(shell, tmp_path, "mechanism", "×10")
    rows = re.findall(r'<tr>\s*<th scope="row">.*?</tr>', table, re.S)
    assert [re.findall(r'data-value="([0-9.]+)"', row) for row in rows] == [["3.0"], ["2.0"]]
    assert re.search(r'class="dot hollow".*?<title>measured ×10</title>', page, re.S)
    assert re.search(r'class="axis".*?>×1</span>', page)


def test_a_size_that_was_not_finite_stands_empty_in_the_row_of_its_own_run(
    tmp_path: Path, shell: Shell
) -> None:
    for seed, size in ((1, 0.0), (2, 100.0), (3, 1000.0)):  # no power of ten is 0
        with_signals(tmp_path, "attention-164/arl", seed, size, 0.0)
    page, table = opened(shell, tmp_path, "mechanism", r"2\.50 ± 0\.71 \(2/\d\)")
    rows = re.findall(r'<tr>\s*<th scope="row">.*?</tr>', table, re.S)
    assert [re.findall(r'data-value="([0-9.]+)"', row) for row in rows] == [[], ["2.0"], ["3.0"]]
    assert "not measured" in page  # the gradients


def test_claims_are_grouped_by_their_table() -> None:
    effect = Effect("", 1.0, (0.5, 1.5), 9.0, (-2.0, 2.0))
    rows = tuple(
        (claim, effect, suite) for claim, suite in (("a", "one"), ("b", "two"), ("c", "one"))
    )
    text = page_of(Table(("claim", "effect", "suite"), rows, "lrl", (2,), by_last=True))
    bodies = re.findall(r"<tbody>.*?</tbody>", text, re.S)
    named = [re.findall(r"<th [^>]*>(\w+)\s*<", body) for body in bodies]
    assert named == [["one", "a", "c"], ["two", "b"]]
    assert len(Page(text).all("th", scope="col")) == 2


EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)> \"' & {{ 7*7 }}"


def test_no_text_becomes_markup_script_or_template() -> None:
    details = (Heading(5, EVIL), Paragraph(EVIL))
    cells = (Number(EVIL, 1.0, mark=EVIL, notes=(1,), details=details), Verdict(EVIL))
    effect = Effect(EVIL, 1.0, (0.5, 1.5), 9.0, (-2.0, 2.0))
    text = page_of(
        Heading(2, EVIL), Paragraph((EVIL, Link(EVIL, EVIL))), Items((EVIL,), numbered=True),
        Table((EVIL, EVIL, EVIL, EVIL), ((EVIL, *cells, effect),), "lrlr"), Command(EVIL),
        Fold(EVIL, (Paragraph(EVIL),)), Figure("", rf"\i {EVIL}", b'<svg viewBox="0 0 1 1"></svg>'),
        data={"evil": EVIL},
    )  # fmt: skip
    page = Page(text)
    assert len(page.all("script")) == 2
    assert page.all("img") == []
    assert "49" not in text
    assert not [name for _, a in page.elements for name in a if name.startswith("on")]
    embedded = re.search(r'id="data">(.*?)</script>', text)
    assert embedded is not None
    assert json.loads(embedded[1]) == {"evil": EVIL}


@pytest.mark.parametrize(
    "target", ["javascript:alert(1)", " JavaScript:alert(1)", "data:text/html,x"]
)
def test_a_link_that_could_run_something_leads_nowhere(target: str) -> None:
    links = Page(page_of(Paragraph((Link("go", target),)))).all("a")
    assert [link["href"] for link in links if "class" not in link] == ["#"]


def test_an_interval_beyond_its_axis_ends_in_an_arrow() -> None:
    def row(value: float, half: float) -> tuple[str, Effect]:
        return "claim", Effect("", value, (value - half, value + half), None, (-1.0, 3.0))

    text = page_of(Table(("claim", "interval"), (row(1.0, 0.5), row(2.0, 2.5)), "lr"))
    near, far = re.findall(r"<svg class=\"strip.*?</svg>", text, re.S)
    assert 'cx="100.0"' in near
    assert 'd="M75.0 11H125.0"' in near
    assert "arrow" not in near
    assert 'cx="150.0"' in far
    assert far.count("arrow") == 1


def test_an_effect_that_no_axis_can_show_is_text_alone() -> None:
    factor = Effect("×2 to ×3", None, None, None, (-1.0, 3.0))
    text = page_of(Table(("claim", "interval"), (("claim", factor),), "lr"))
    assert "×2 to ×3" in text
    assert 'class="strip' not in text


def test_groups_of_columns_have_a_title_above_them() -> None:
    header = ("network", "ARL\npublished", "measured", "NAL\npublished", "measured")
    text = page_of(Table(header, (("a", "1", "2", "3", "4"),), "lrrrr", (2, 2)))
    assert re.findall(r'colspan="2"[^>]*>(\w+)', text) == ["ARL", "NAL"]
    assert len(re.findall(r">(?:published|measured)</th>", text)) == 4


def test_own_script_is_small_and_the_policy_allows_it_alone() -> None:
    script = (RENDER / "page.js").read_bytes()
    assert len(script) <= 10_000
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page_of()
