"""``reports/``: a page for every suite, figures and the replication report, from records alone.

The same records give the same bytes: nothing here knows the time, the machine or its own version.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from resbench.analysis.judge import JudgedTable, Report, report
from resbench.analysis.names import RESULTS
from resbench.errors import EnvironmentFault, UsageError
from resbench.report import figures
from resbench.report.document import Block, Document, Figure, Heading, Link, Paragraph
from resbench.report.overview import Overview, overview_document, results_blocks
from resbench.report.page import page
from resbench.report.render import render
from resbench.report.tables import sources_line, table_blocks
from resbench.store.atomic import fault, read_file, write_atomic

GENERATED = "<!-- Generated from records by `resbench report --site`: do not edit. -->"
DRAWN = "<!-- Generated from records by resbench report: do not edit. -->"
"""The same for figures; a comment in XML has no two hyphens."""
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
METHOD = Path("docs", "statistics.md")
"""Where the method is explained, next to the folder of the pages."""


def write_site(suites: Iterable[str], results: Path, folder: Path) -> list[Path]:
    """Write the pages of these suites, or of all shipped ones, and return the files that changed.

    Pages and figures of an earlier call that are no longer made are removed; every other file
    stays. A README.md next to the folder gets the claims and their figure between its
    `results:begin` and `results:end` marks, where it has them.

    Raises:
        UsageError: a file that this did not write is in the way.
        EnvironmentFault: the folder cannot be written.
    """
    above = folder.absolute().parent
    method = f"../{METHOD}" if (above / METHOD).is_file() else ""
    overview = draw(report(tuple(suites), results, to_keep=True), method)
    files = build_site(overview)
    stale = _generated(folder) - files.keys()
    _refuse_to_overwrite(folder, files)
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        for name in stale:
            (folder / name).unlink()
    except OSError as error:
        raise fault(folder, error) from error
    changed = [folder / name for name, content in files.items() if _write(folder / name, content)]
    readme = folder.parent / "README.md"
    before, begin, rest = (read_file(readme) or b"").partition(f"{BEGIN}\n".encode())
    _, end, after = rest.partition(END.encode())
    if begin and end:
        block = render(Document(tuple(results_blocks(overview, quote(folder.name)))), "markdown")
        if _write(readme, b"".join((before, begin, block.encode(), end, after))):
            changed.append(readme)
    return changed


def draw(found: Report, method: str = "", *, claims: bool = True) -> Overview:
    """Return a report with its figures; that of the claims only where no format draws them."""
    bare = Overview(found, {}, method)
    drawn: dict[tuple[str, str, str], Figure] = {}
    kinds = {
        "curves": (figures.learning_curves, "Errors over epochs and the time of a run"),
        "noise": (figures.noise, "Test error over label noise"),
    }
    for table in bare.tables:
        setting = table.setting
        for kind, (make, what) in kinds.items():
            if (figure := make(table, found.results)) is not None:
                path = f"figures/{table.suite}-{setting.tier}-{setting.id}-{kind}.svg"
                alt = f"{what}: {table.suite}, {bare.name(table)}"
                drawn[kind, table.suite, setting.id] = Figure(path, alt, figures.svg(figure))
    if claims and (figure := figures.claims(bare.settings)) is not None:
        alt = f"Effects of the claims, published and measured: {'; '.join(bare.settings)}"
        drawn["claims", "", ""] = Figure("figures/claims.svg", alt, figures.svg(figure))
    return Overview(found, drawn, method)


def build_site(overview: Overview) -> dict[str, bytes]:
    """Return every file by its path below the folder."""
    files = {figure.path: _marked(figure.svg) for figure in overview.figures.values()}
    pages = {"README": overview_document(overview)}
    for suite, tables in overview.report.by_suite.items():
        pages[suite] = _suite_document(tables, overview)
    for name, document in pages.items():
        files[f"{name}.md"] = f"{GENERATED}\n\n{render(document, 'markdown')}".encode()
    files["index.html"] = _page(overview)
    return files


def _page(overview: Overview) -> bytes:
    """Return everything on one page, whose data name neither this machine nor this version."""
    document = page(overview, f"../{RESULTS}/runs")
    data = replace(overview.report, resbench="", results=str(RESULTS))
    declared, rest = render(replace(document, data=data), "html").split("\n", 1)
    return f"{declared}\n{GENERATED}\n{rest}".encode()


def _suite_document(tables: list[JudgedTable], overview: Overview) -> Document:
    blocks: list[Block] = [
        Heading(1, f"{tables[0].suite}: {tables[0].title}"),
        Paragraph(sources_line(tables[0])),
        Paragraph((Link("All tables", "README.md"),)),
    ]
    for i, table in enumerate(tables):
        blocks += table_blocks(table, first=i == 0)
        blocks += [
            figure for (_, suite, setting), figure in overview.figures.items()
            if (suite, setting) == (table.suite, table.setting.id)
        ]  # fmt: skip
    return Document(tuple(blocks), tables)


def _marked(svg: bytes) -> bytes:
    head, declared, rest = svg.partition(b"?>\n")
    return b"".join((head, declared, DRAWN.encode(), b"\n", rest))


def _generated(folder: Path) -> set[str]:
    """Return the pages and figures in a folder that this wrote."""
    found = [*folder.glob("*.md"), *folder.glob("*.html"), *folder.glob("figures/*.svg")]
    return {path.relative_to(folder).as_posix() for path in found if _is_own(path)}


def _is_own(path: Path) -> bool:
    """Say whether this wrote a file; what cannot be read as a file is somebody else's."""
    try:
        start = (read_file(path) or b"")[:256]
    except EnvironmentFault:
        return False
    return GENERATED.encode() in start or DRAWN.encode() in start


def _refuse_to_overwrite(folder: Path, files: Iterable[str]) -> None:
    folders = [path for path in (folder, folder / "figures") if os.path.lexists(path)]
    strange = [path for path in folders if not path.is_dir()] or [
        path for path in map(folder.joinpath, files) if os.path.lexists(path) and not _is_own(path)
    ]
    if strange:
        raise UsageError(
            f"{strange[0]}: not written by resbench; `--site {folder}` would overwrite it. Move it "
            "away, or choose another folder."
        )


def _write(path: Path, content: bytes) -> bool:
    if read_file(path) == content:
        return False
    write_atomic(path, content)
    return True
