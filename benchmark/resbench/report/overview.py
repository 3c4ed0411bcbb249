"""The replication report of one page: what was run, and what became of the claims.

Every number in it is computed. What a tier, a data set or the number of seeds does not allow is not
said: the verdicts decide that, not the prose.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from resbench.analysis.claims import JudgedClaim
from resbench.analysis.judge import JudgedTable, Report, Run, Setting
from resbench.analysis.names import SPLITS, data_label, listed, tier_label
from resbench.analysis.values import JudgedValue
from resbench.datasets import DATA_SETS
from resbench.report import text
from resbench.report.document import (
    Block,
    Cell,
    Document,
    Figure,
    Heading,
    Items,
    Link,
    Number,
    Paragraph,
    Prose,
    Strong,
    Table,
    Verdict,
    parts,
)
from resbench.report.tables import EFFECTS, claims_table, measured, published
from resbench.stats.power import MIN_SEEDS
from resbench.words import count

JUDGED = ("replicated", "better", "worse", "undecided")
"""Verdicts on a published error at its own setting."""


@dataclass(frozen=True)
class Overview:
    """A report grouped by setting, and its figures."""

    report: Report
    figures: Mapping[tuple[str, str, str], Figure]
    """By kind, suite and id of the setting; those of all suites have neither."""
    method: str = ""
    """Path of the page about the method, relative to the pages; empty where there is none."""

    @cached_property
    def tables(self) -> list[JudgedTable]:
        """The tables with runs."""
        return [table for table in self.report.tables if table.cost.runs]

    @cached_property
    def runs(self) -> dict[str, Run]:
        """Every run behind the tables by its key."""
        return {key: run for table in self.tables for key, run in table.runs.items()}

    @cached_property
    def settings(self) -> dict[str, list[JudgedTable]]:
        """The tables with runs by setting, the closest to the source's first."""
        found: dict[str, list[JudgedTable]] = {}
        for table in sorted(self.tables, key=lambda table: _closeness(table.setting)):
            found.setdefault(self.name(table), []).append(table)
        order = [table.suite for table in self.report.tables]
        for tables in found.values():
            tables.sort(key=lambda table: order.index(table.suite))
        return found

    def name(self, table: JudgedTable) -> str:
        """Return what tells a table's setting from the others here: its tier if that suffices."""
        setting, others = table.setting, [other.setting for other in self.tables]
        if len({other.id for other in others if other.tier == setting.tier}) == 1:
            return tier_label(setting.tier, setting.scale)
        same = {other.id for other in others if other.label == setting.label}
        return setting.label if len(same) == 1 else f"{setting.label} {setting.id}"

    def claims(self, *, closest: bool = False) -> Iterator[tuple[JudgedTable, JudgedClaim]]:
        """Yield every claim with runs, as judged in each setting with enough seeds to decide it.

        Only the ``closest`` of these settings to the source's, if so asked. Where none has enough
        seeds, the one with most.
        """
        for tables in self.report.by_suite.values():
            for i in range(len(tables[0].claims)):
                judged = [(table, table.claims[i]) for table in tables if table.claims[i].has_runs]
                enough = [pair for pair in judged if pair[1].n >= MIN_SEEDS]
                # max keeps the first of equals, and the tables are sorted
                most = judged and [max(judged, key=lambda pair: pair[1].n)]
                yield from enough[: 1 if closest else None] or most


def overview_document(overview: Overview) -> Document:
    """Return the whole page."""
    sections: dict[str, Iterable[Block]] = {
        "": [Paragraph(sources(overview)), *abstract(overview)],
        "Scope": scope(overview),
        "Claims": _claims(overview),
        "Published and measured": _tables(overview),
        "Numbers published as another error than they are": misprints(overview),
        "Where the runs come from": provenance(overview),
        "Every suite": [
            Items(tuple(
                (page_link(suite), f": {tables[0].title}")
                for suite, tables in overview.report.by_suite.items()
            ))
        ],
    }  # fmt: skip
    blocks: list[Block] = [Heading(1, "Replication report")]
    for title, found in sections.items():
        body = list(found)
        blocks += [Heading(2, title)] if title and body else []
        blocks += body
    return Document(tuple(blocks), overview.report)


def results_blocks(overview: Overview, folder: str) -> list[Block]:
    """Return the claims, their figure and the way on, for a README above the pages' ``folder``."""
    first, *rest = abstract(overview)
    assert isinstance(first, Paragraph)
    told = (Strong("What the runs show."), " ", *parts(first.text))
    blocks: list[Block] = [Paragraph(told), *rest]
    blocks += _claims_table(overview, closest=True)
    figure = overview.figures.get(("claims", "", ""))
    blocks += [Figure(f"{folder}/{figure.path}", figure.alt, figure.svg)] if figure else []
    way = Link(f"{folder}/", f"{folder}/README.md")
    more = " has the tables, what differs from the published setting, and the runs behind it all."
    return [*blocks, Paragraph((f"{EFFECTS} ", way, more))]


def page_link(suite: str) -> Link:
    """Return a link to the page of a suite."""
    return Link(suite, f"{suite}.md")


def abstract(overview: Overview) -> list[Block]:
    """Return what was run, setting by setting, and what it says."""
    if not overview.runs:
        return [Paragraph("No run is recorded yet.")]
    settings = count(len(overview.settings), "setting")
    parts = [f"{count(len(overview.runs), 'run')} in {settings}."]
    if not any(table.setting.published for table in overview.tables):
        parts.append(
            "No run is at the published setting: nothing here confirms or refutes a published "
            "number, and a verdict on a claim holds for its tier only."
        )
    if overview.report.problems:
        refused = count(len(overview.report.problems), "run")
        parts.append(f"{refused} refused as damaged, in no table (`resbench status` lists them).")
    asked = sum(len(tables[0].claims) for tables in overview.report.by_suite.values())
    lines: list[Prose] = []
    for name, tables in overview.settings.items():
        where, data = text.sentence(name), listed(dict.fromkeys(map(data_of, tables)))
        what = f"{tables[0].tier_title}. " if tables[0].tier_title else ""
        judged = [claim for table in tables for claim in table.claims if claim.has_runs]
        counts = Counter(claim.verdict for claim in judged)
        first = {claim.verdict: claim for claim in judged}
        told: list[str | Verdict] = []
        for kind in (kind for kind in text.CLAIMS if counts[kind]):
            words = f"{text.verdict_of(first[kind])} {counts[kind]}"
            told += [", " if told else " (", Verdict(words, text.TONES.get(kind, "open"))]
        told.append(")." if told else ".")
        lead = f"{where}, on {data}: {what}{len(judged)} of {asked} claims have runs"
        lines.append((lead, *told))
    return [Paragraph(" ".join(parts)), Items(tuple(lines))]


def data_of(table: JudgedTable) -> str:
    """Return the data sets of a table, each with a warning where it is not the published one."""
    return listed(data_label(choice.label, choice.published) for choice in table.setting.data)


def sources(overview: Overview) -> Prose:
    """Return what is replicated, each document with its link where it has one."""
    tables = overview.report.tables
    cited = {source.title: source.link for table in tables for source in table.sources}
    parts: list[str | Link] = []
    for title, link in cited.items():
        parts += [", " if parts else "Tables of ", Link(title, link) if link else title]
    return (
        *parts,
        ", run by `resbench` and compared with the published numbers; every number is computed "
        "from the records of runs.",
    )


def scope(overview: Overview) -> Iterator[Block]:
    """Yield what was run in which setting, and what it can be compared with."""
    header = (
        "setting",
        "suites",
        "runs",
        "seeds\na cell",
        "images\ntraining + test",
        "device\nhours",
    )
    rows = tuple(_scope_row(name, tables) for name, tables in overview.settings.items())
    if rows:
        yield Table(header, rows, "llrrrr")
    kinds = Counter(_best_verdict(values) for values in _published_errors(overview))
    judged = sum(kinds[kind] for kind in JUDGED)
    verdicts = listed(f"{kinds[kind]} {kind}" for kind in JUDGED if kinds[kind])
    yield Paragraph(
        f"Of {sum(kinds.values())} published errors {judged} were run at the published setting"
        + (f" ({verdicts})" if verdicts else "")
        + f", {kinds['not_comparable']} in another one, {kinds['not_run']} not at all. The "
        "published setting is the source's own: its data set, network, schedule and batch size."
    )
    counted = [(t, v) for t in overview.report.tables for v in _counted(t)]
    if counted:
        same = sum(value.verdict == "equal" for _, value in counted)
        yield Paragraph(
            f"{same} of {len(counted)} published sizes, layers and depths are those of the "
            "networks as built, after rounding."
        )


def _scope_row(name: str, tables: Sequence[JudgedTable]) -> tuple[Cell, ...]:
    runs = {key: run for table in tables for key, run in table.runs.items()}.values()
    seeds = {len(cell.done) for table in tables for cell in table.cells} - {0} or {0}
    sizes = sorted({(run.train_images, run.test_images) for run in runs})
    hours = sum(run.total_s for run in runs) / 3600
    return (
        name,
        listed(table.suite for table in tables),
        str(len(runs)),
        " to ".join(map(str, sorted({min(seeds), max(seeds)}))),
        listed(f"{train:,} + {test:,}" for train, test in sizes),
        Number(f"{hours:.1f}", hours),
    )


def _published_errors(overview: Overview) -> Iterator[list[JudgedValue]]:
    """Yield every published error of a trained table, as judged in each setting."""
    for tables in overview.report.by_suite.values():
        for values in zip(*(table.values for table in tables), strict=True):
            if values[0].verdict != "skipped" and values[0].is_error and values[0].number:
                yield list(values)


def _best_verdict(values: Sequence[JudgedValue]) -> str:
    """Return the verdict on a value in the setting that says most about it."""
    order = (*JUDGED, "not_comparable", "not_run")
    return min((value.verdict for value in values), key=order.index)


def _claims(overview: Overview) -> Iterator[Block]:
    yield from _claims_table(overview)
    if figure := overview.figures.get(("claims", "", "")):
        yield figure
    waiting = sum(
        not any(table.claims[i].has_runs for table in tables)
        for tables in overview.report.by_suite.values()
        for i in range(len(tables[0].claims))
    )
    yield Paragraph(EFFECTS)
    method = (
        Link("docs/statistics.md", overview.method) if overview.method else "docs/statistics.md"
    )
    yield Paragraph((
        f"{count(waiting, 'claim')} without runs in any setting: see the pages of the suites. "
        "A claim is judged at 3, 5 and 8 seeds; p is adjusted for these looks and for the number "
        "of a suite's claims. The last epoch counts, never the best on the test set. What each "
        "verdict means and how often it is wrong: ", method, ".",
    ))  # fmt: skip


def _claims_table(overview: Overview, *, closest: bool = False) -> Iterator[Block]:
    """Yield the claims with runs, a row for each setting that can decide it, and what to mind."""
    several, claims = len(overview.settings) > 1, list(overview.claims(closest=closest))
    if not claims:
        return
    settings = [overview.name(table) for table, _ in claims] if several else []
    yield claims_table([claim for _, claim in claims], settings)
    if several:
        other = "; the figure shows the other settings too" if closest else ""
        which = "the setting closest" if closest else "every setting with three seeds, the closest"
        yield Paragraph(f"Each claim is judged in {which} to its source's{other}.")
    yield from map(Paragraph, cautions(overview))


def cautions(overview: Overview) -> Iterator[str]:
    """Say how far errors are from the published ones."""
    ranges = []
    for tables in overview.settings.values():
        far = [table for table in tables if not table.setting.published]
        if errors := _error_range(far):
            ranges.append(f"{errors} in {overview.name(tables[0])}")
    if ranges:
        yield (
            f"Test errors of these networks are {', '.join(ranges)}; the published ones are of "
            "networks trained to their end. An order here may only be one of how fast networks "
            "learn."
        )


def _error_range(tables: Sequence[JudgedTable]) -> str:
    """Return the range of the test errors by data set, with that of guessing."""
    errors: dict[str, list[float]] = {}
    for cell in (cell for table in tables if table.claims for cell in table.cells):
        known = [r.result.test_top1_err for r in cell.done if r.result.test_top1_err is not None]
        errors.setdefault(cell.data or "", []).extend(known)
    return " and ".join(
        f"{min(found):.1f} to {max(found):.1f} % (guessing gives "
        f"{100 * (1 - 1 / DATA_SETS[name].classes):.0f} %)"
        for name, found in errors.items()
        if found
    )


def _tables(overview: Overview) -> Iterator[Block]:
    """Yield each suite in its source's shape, errors only, and the figure of its label noise."""
    for suite, tables in overview.report.by_suite.items():
        own = [table for table in tables if any(value.values for value in table.values)]
        if not own:
            continue
        yield Paragraph((Strong(own[0].title), " (", page_link(suite), "):"))
        yield _compact_table(overview, own)
        drawn = (overview.figures.get(("noise", suite, table.setting.id)) for table in own)
        yield from (figure for figure in drawn if figure)
    if overview.tables:
        yield Paragraph(
            "Measured: mean ± sd over seeds (how many; 2/3: one is missing), last epoch."
        )


def _compact_table(overview: Overview, tables: Sequence[JudgedTable]) -> Table:
    """Return a column of errors as published, then as measured in each setting."""
    several, first = len(overview.settings) > 1, tables[0]
    header, columns = [first.row_header], [list[Cell](first.rows.values())]
    for name, column in first.columns.items():
        values = [value for value in first.values if value.column == name]
        if not any(value.is_error for value in values):
            continue
        header.append(f"{column.label}\npublished")
        columns.append([published(value) for value in values])
        for table in tables:
            own = [value for value in table.values if value.column == name]
            if any(value.mean is not None or value.diverged for value in own):
                header.append(f"measured\n{overview.name(table)}" if several else "measured")
                columns.append([measured(v) if v.values or v.diverged else "" for v in own])
    rows = tuple(zip(*columns, strict=True))
    return Table(tuple(header), rows, "l" + "r" * (len(header) - 1))


def misprints(overview: Overview) -> Iterator[Block]:
    """List the published errors that are not what their source calls them."""
    rows = tuple(
        (
            page_link(suite),
            tables[0].label_of(value),
            value.number,
            SPLITS[value.published.claims],
            SPLITS[value.published.really],
            value.published.note or "",
        )
        for suite, tables in overview.report.by_suite.items()
        for value in tables[0].values
        if value.is_error and value.published and value.published.claims and value.published.really
        and value.published.really != value.published.claims
        and (value.published.claims, value.published.really) != ("train", "train_aug")
    )  # fmt: skip
    if rows:
        yield Paragraph(
            "By the authors' published code, logs and notebooks. Measured errors are compared with "
            "what a number is, never a test error with a training error."
        )
        yield Table(("suite", "value", "number", "published as", "is", "note"), rows, "llrlll")


def _counted(table: JudgedTable) -> list[JudgedValue]:
    return [value for value in table.values if value.verdict in ("equal", "differs")]


def provenance(overview: Overview) -> Iterator[Block]:
    """List the code, the data and the machines behind the records."""
    runs = list(overview.runs.values())
    if not runs:
        return
    where = {
        "Code": [run.code for run in runs],
        "Data": [f"{run.data}, fingerprint {run.data_fingerprint[:16]}" for run in runs],
        "Devices": [f"{run.device}, torch {run.torch}" for run in runs],
    }
    yield Items(tuple(f"{what}: {_counts(found)}." for what, found in where.items()))
    yield Paragraph(
        "Every number leads to a run key on its suite's page; `results/runs/KEY/` holds the "
        "specification, the epochs and the prediction for every test image, and `resbench verify` "
        "recomputes every record from them."
    )


def _counts(found: Sequence[str]) -> str:
    numbers = Counter(found)
    return "; ".join(f"{name} ({count(numbers[name], 'run')})" for name in sorted(numbers))


def _closeness(setting: Setting) -> tuple[object, ...]:
    """Sort key: the source's own setting first, then what trains longest."""
    changed = setting.tier != "paper" or bool(setting.overrides)
    return not setting.published, changed, -setting.images_seen, setting.label
