"""The report as documents: all of it, its index, a page for each suite, the finding for a README.

All are made of the same sections, so that they cannot contradict each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from resbench.analysis.claims import JudgedClaim
from resbench.analysis.judge import JudgedTable, Report
from resbench.analysis.names import SPLITS, data_label, listed
from resbench.analysis.rows import cell_rows
from resbench.analysis.values import JudgedValue
from resbench.datasets import DATA_SETS
from resbench.report import text
from resbench.report.document import (
    Block,
    Command,
    Document,
    Figure,
    Fold,
    Heading,
    Items,
    Link,
    Paragraph,
    Prose,
    Strong,
    Table,
    Verdict,
)
from resbench.report.tables import EFFECTS, claims_table, table_blocks
from resbench.suite.schema import SIGNAL_METRICS
from resbench.words import count

Figures = Mapping[tuple[str, str], tuple[Figure, ...]]
"""By suite and id of the setting; those of all suites have neither."""
ALL, README, MASKS = ("", ""), ("", "README"), ("", "masks")
JUDGED = ("replicated", "better", "worse", "undecided")
"""Verdicts on a published error at its own setting."""


def report_document(
    report: Report,
    figures: Figures | None = None,
    *,
    runs: str | None = None,
    method: str = "",
    index: bool = False,
) -> Document:
    """Return everything, or an ``index`` with links to the pages of the suites.

    Suites without runs are folded where others have some. ``runs`` is the path of the folder of
    runs from the document, for formats with links to runs; ``method`` that of the page on
    statistics.
    """
    figures, several = figures or {}, len(report.by_suite) > 1
    suites, waiting, again = list[Block](), list[Block](), list[Block]()
    for suite, tables in report.by_suite.items() if not index else ():
        title, own = f"{suite}: {tables[0].title}", list(_suite(report, suite, figures, runs))
        if report.with_runs and tables[0].trained and not tables[0].has_runs:
            waiting.append(Fold(title, tuple(own)))
        else:
            suites += [Heading(2, title), *own]
    if report.with_runs and not index:
        said = "Each command trains what the results folder lacks and skips what is recorded; the "
        said += "last ones recompute every record, and this report."
        commands = dict.fromkeys(table.command for table in report.with_runs)
        _, option, folder = next(iter(commands)).partition(" --results ")  # the last of its words
        last = ("resbench verify", "resbench report --output report.html")
        again = [Paragraph(said), *map(Command, commands)]
        again += [Command(f"{line}{option}{folder}") for line in last]
    # a page that draws the claims in their table has its picture below it
    drawn = figures.get(ALL if index else README, ())
    shown = list(report.claims())
    claims = [
        *_claims(report, shown, runs), *_how_far(report, shown), *drawn, *_method(report, method)
    ]  # fmt: skip
    sections: dict[str, Iterable[Block]] = {
        "Claims": claims if several or index else [],
        "Suites": [_suites_table(report, links=index)] if several or index else [],
        "": suites,
        "Without runs": waiting,
        "What the masks do": _masks(figures),
        "Published errors": _published(report),
        "Where the runs come from": _provenance(report),
        "Run it again": again,
    }
    blocks: list[Block] = [Heading(1, "Replication report"), *finding(report)]
    blocks += [Paragraph(_sources(report)), *(figures.get(README, ()) if index else ())]
    for section, found in sections.items():
        body = list(found)
        blocks += [Heading(2, section)] if section and body else []
        blocks += body
    return Document(tuple(blocks), report, cell_rows(report))


def suite_document(report: Report, suite: str, figures: Figures) -> Document:
    """Return the page of one suite."""
    heading = Heading(1, f"{suite}: {report.by_suite[suite][0].title}")
    way = Paragraph((Link("All tables", "README.md"),))
    blocks = (heading, way, *_suite(report, suite, figures, None))
    return Document(blocks, report.by_suite[suite])


def readme_blocks(report: Report, figures: Figures, folder: str) -> list[Block]:
    """Return what was found, in words and in one picture, for a README above the pages' ``folder``.

    The claims that are decided come first, then those with most seeds.
    """
    claims = list(report.claims(closest=True))
    asked = [claim.claim for tables in report.by_suite.values() for claim in tables[0].claims]
    ours = sum(claim.ours for claim in asked)
    kinds = Counter(text.CLAIMS[claim.verdict] for _, claim in claims)
    verdicts = listed(f"{n} {words}" for words, n in kinds.items())
    said = f" Of {count(len(asked) - ours, 'claim')} of the sources"
    said += f" and {ours} of our own, {len(claims)} have runs so far"
    said += f": {verdicts}." if claims else "."
    blocks: list[Block] = [Paragraph((Strong("What the runs show."), said, _elsewhere(report)))]
    claims.sort(key=lambda pair: (pair[1].verdict not in text.DECIDED, -pair[1].n))
    blocks += [Items(tuple(_claim_line(report, *pair) for pair in claims[:5]))] if claims else []
    blocks += _how_far(report, claims)
    for drawn in figures.get(README, ()):
        blocks.append(Figure(f"{folder}/{drawn.path}", drawn.alt, drawn.svg))
    table = list(_claims(report, claims))
    blocks += [Fold(f"All claims with runs ({len(claims)})", tuple(table))] if table else []
    way = Link(f"{folder}/", f"{folder}/README.md")
    more = " has the tables, what differs from the published setting, and the runs behind it all."
    return [*blocks, Paragraph((way, more))]


def _claim_line(report: Report, table: JudgedTable, claim: JudgedClaim) -> Prose:
    """Return what became of a claim: verdict, effect, interval, number of runs, setting."""
    known = f", 95 % interval {text.amounts(claim, claim.interval)}" if claim.look else ""
    unit = "" if claim.claim.metric in SIGNAL_METRICS else " pp"
    published = text.signed(claim.published_pp)
    seeds = count(claim.look or claim.n, "seed")
    return (
        f"{claim.claim.text.rstrip('.')}: ",
        Strong(text.CLAIMS[claim.verdict]),
        f" in {report.name(table)}. Measured {text.amount(claim, claim.effect_pp)}{unit}{known}, "
        f"{seeds}; published {published or 'without a number'}{' pp' if published else ''}.",
    )


def finding(report: Report) -> Iterator[Block]:
    """Yield what was run, setting by setting, with the verdicts; then what was refused."""
    if not report.runs:
        yield Paragraph("No run is recorded yet.")
    else:
        settings = count(len(report.by_setting), "setting")
        said = f"{count(len(report.runs), 'run')} in {settings}."
        yield Paragraph(said + _elsewhere(report))
        yield Items(tuple(_setting_line(name, found) for name, found in report.by_setting.items()))
    if report.problems:
        yield Paragraph(f"Refused as damaged, and in no table ({len(report.problems)}):")
        yield Items(report.problems)


def _elsewhere(report: Report) -> str:
    """Return the caution where no run is at the published setting."""
    if any(table.setting.published for table in report.with_runs):
        return ""
    return (
        " No run is at the published setting: nothing here confirms or refutes a published "
        "number, and a verdict on a claim holds for its setting only."
    )


def _setting_line(name: str, tables: Sequence[JudgedTable]) -> Prose:
    """Return what a setting is, what was run in it, and the verdicts on its claims."""
    runs = {key: run for table in tables for key, run in table.runs.items()}
    hours = sum(run.total_s for run in runs.values()) / 3600
    data = listed(dict.fromkeys(data_label(c) for table in tables for c in table.setting.data))
    changes = tables[0].setting.changes
    asked = sum(len(table.claims) for table in tables)
    judged = [claim for table in tables for claim in table.claims if claim.has_runs]
    with_runs = f"{len(judged)} of {count(asked, 'claim')} have runs"
    if not judged:
        with_runs = (
            f"none of {count(asked, 'claim')} has runs in all its cells" if asked else "no claims"
        )
    kinds = Counter(text.CLAIMS[claim.verdict] for claim in judged)
    tones = {text.CLAIMS[claim.verdict]: text.TONES.get(claim.verdict, "open") for claim in judged}
    said: list[str | Verdict] = [
        f"{text.sentence(name)}, on {data}: {count(len(runs), 'run')}, {hours:.1f} device hours; "
        + with_runs
    ]
    for i, (words, n) in enumerate(kinds.items()):
        said += [", " if i else ": ", Verdict(f"{words} {n}", tones[words])]
    return (*said, f". Setting: {changes}." if changes else ".")


def _sources(report: Report) -> Prose:
    """Return what is replicated, each document with its link where it has one."""
    cited = {source.title: source.link for table in report.tables for source in table.sources}
    linked: list[str | Link] = []
    for title, link in cited.items():
        linked += [", " if linked else "Tables of ", Link(title, link) if link else title]
    return (*linked, ". Every number is computed from the records of runs.")


def _suites_table(report: Report, *, links: bool = False) -> Table:
    """Return a row for each table: how much has run and what came of it."""
    rows = []
    for table in report.tables:
        kinds = Counter(value.verdict for value in table.values)
        signs = [f"{kinds[kind]} {text.VALUES[kind][0]}" for kind in text.VALUES if kinds[kind]]
        verdicts = Counter(text.CLAIMS[claim.verdict] for claim in table.claims if claim.has_runs)
        asked = sum(len(cell.seeds) for cell in table.cells)
        rows.append((
            Link(table.suite, f"{table.suite}.md") if links else table.suite,
            *([table.title] if links else []),
            report.name(table) if table.has_runs else "",
            f"{len(table.runs)}/{asked}" if table.trained else "counted",
            listed(signs),
            listed(f"{n} {words}" for words, n in verdicts.items())
            or (f"{len(table.claims)} not run" if table.claims else ""),
        ))  # fmt: skip
    header = ("suite", *(["table"] if links else []), "setting", "runs", "values", "claims")
    return Table(header, tuple(rows), "l" * (len(header) - 3) + "rll")


def _claims(
    report: Report,
    claims: Iterable[tuple[JudgedTable, JudgedClaim]],
    runs: str | None = None,
) -> Iterator[Block]:
    """Yield the claims with runs and their settings."""
    found = list(claims)
    if not found:
        return
    several = len(report.by_setting) > 1
    suites = [f"{t.suite}, {report.name(t)}" if several else t.suite for t, _ in found]
    yield claims_table(found, {"suite": suites}, runs)
    yield Paragraph(EFFECTS)


def _how_far(
    report: Report, claims: Iterable[tuple[JudgedTable, JudgedClaim]]
) -> Iterator[Paragraph]:
    """Yield how far the networks behind claims have come, away from the published setting."""
    found = list(claims)
    far = dict.fromkeys(report.name(t) for t, _ in found if not t.setting.published)
    if ranges := [f"{_error_range(report.by_setting[name])} in {name}" for name in far]:
        yield Paragraph(
            f"Test errors of these networks are {listed(ranges)}; the published ones are of "
            "networks trained to their end. An order here may only show which network learns "
            "faster."
        )


def _masks(figures: Figures) -> Iterator[Block]:
    """Yield the figure of masks, where somebody has drawn one."""
    for figure in figures.get(MASKS, ()):
        yield Paragraph(
            "Trunk, soft mask and output of every stage for test images, averaged over channels. "
            "Drawn by `resbench masks` from the final weights, which are not kept here; each block "
            "names its run."
        )
        yield figure


def _method(report: Report, path: str) -> Iterator[Block]:
    asked = [claim for tables in report.by_suite.values() for claim in tables[0].claims]
    yield Paragraph((
        f"{count(len(asked), 'claim')} in all; those without runs are in the tables of the suites. "
        "A claim is judged at 3, 5 and 8 seeds; p is adjusted for these looks and for the number "
        "of a suite's claims, those of its sources and our own apart. The last epoch counts, "
        "never the best on the test set. What each verdict means and how often it is wrong: ",
        Link("docs/statistics.md", path) if path else "docs/statistics.md", ".",
    ))  # fmt: skip


def _error_range(tables: Sequence[JudgedTable]) -> str:
    """Return the range of the test errors of tables with claims, with the error of guessing."""
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


def _published(report: Report) -> Iterator[Block]:
    """Yield what became of the published numbers, and which of them are mislabelled."""
    order = (*JUDGED, "not_comparable", "not_run")
    groups = [zip(*(t.values for t in own), strict=True) for own in report.by_suite.values()]
    errors = [
        # in the judged setting that is closest to the source's
        next((value.verdict for value in values if value.verdict in JUDGED), None)
        or min((value.verdict for value in values), key=order.index)
        for group in groups
        for values in group
        if values[0].verdict in order and values[0].is_error and values[0].number
    ]
    if errors:
        kinds = Counter(errors)
        verdicts = listed(f"{kinds[kind]} {kind}" for kind in JUDGED if kinds[kind])
        judged = f"{sum(kinds[kind] for kind in JUDGED)} have runs at the published setting"
        yield Paragraph(
            f"Of {len(errors)} published errors {judged}{f' ({verdicts})' if verdicts else ''}, "
            f"{kinds['not_comparable']} only in another setting, {kinds['not_run']} none. The "
            "published setting is the source's own: its data set, network, schedule and batch size."
        )
    counted = [v.verdict for tables in report.by_suite.values() for v in tables[0].values]
    same, other = counted.count("equal"), counted.count("differs")
    if same + other:
        yield Paragraph(
            f"{same} of {same + other} published sizes, layers and depths are those of the "
            "networks as built, after rounding."
        )
    rows = tuple(
        (
            f"{suite}: {tables[0].label_of(value)}",
            value.number,
            SPLITS[value.published.claims],
            SPLITS[value.published.really],
            value.published.note or "",
        )
        for suite, tables in report.by_suite.items()
        for value in tables[0].values
        if value.published and value.published.claims and value.published.really
        and _is_misprint(value)
    )  # fmt: skip
    if rows:
        yield Paragraph(
            "The authors' code, logs and notebooks show that these numbers are another kind of "
            "error than their table says. Measured errors are compared with what a number is, "
            "never a test error with a training error."
        )
        yield Table(("value", "number", "published as", "is", "note"), rows, "lrlll")


def _is_misprint(value: JudgedValue) -> bool:
    assert value.published is not None
    claims, really = value.published.claims, value.published.really
    return value.is_error and claims != really and (claims, really) != ("train", "train_aug")


def _provenance(report: Report) -> Iterator[Block]:
    """List the code, the data and the machines behind the records."""
    runs = report.runs.values()
    if not runs:
        return
    where = {
        "Code": Counter(run.code for run in runs),
        "Data": Counter(f"{run.data}, fingerprint {run.data_fingerprint[:16]}" for run in runs),
        "Devices": Counter(f"{run.device}, torch {run.torch}" for run in runs),
    }
    for what, found in where.items():
        each = [f"{name} ({count(n, 'run')})" for name, n in sorted(found.items())]
        yield Paragraph(f"{what}: {'; '.join(each)}.")
    yield Paragraph(
        "The tables of each suite name the run keys behind every number. `results/runs/KEY/` holds "
        "the specification, the metrics of every epoch and the prediction for every test image; "
        "`resbench verify` recomputes every record from them."
    )


def _suite(report: Report, suite: str, figures: Figures, runs: str | None) -> Iterator[Block]:
    """Yield the tables of a suite with their figures, and the runs that are in none of them."""
    tables = report.by_suite[suite]
    cited = "; ".join(f"{source.title}, {source.where}" for source in tables[0].sources)
    yield Paragraph(f"{text.sentence(cited)}.")
    if n := report.unfinished.get(suite):
        yield Paragraph(f"{count(n, 'unfinished run')}: `resbench status` lists them.")
    if n := report.outdated.get(suite):
        yield Paragraph(
            f"{count(n, 'finished run')} of this suite in none of its tables: its file, protocol "
            "or tier has changed since."
        )
    for i, table in enumerate(tables):
        results = report.results if runs is not None else ""
        yield from table_blocks(table, first=i == 0, results=results, runs=runs)
        yield from figures.get((suite, table.setting.id), ())
