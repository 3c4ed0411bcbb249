"""``reports/``: every suite's page, the figures and the replication report, from records alone.

The same records give the same bytes: nothing here knows the time, the machine or its own version.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from resbench.analysis.judge import JudgedTable, judge
from resbench.analysis.names import sentence, source_label
from resbench.analysis.results import Results, read_results
from resbench.analysis.tables import chosen, empty, finished
from resbench.errors import EnvironmentFault, UsageError
from resbench.report import figures
from resbench.report.details import EFFECTS
from resbench.report.document import Block, Heading, Text
from resbench.report.page import table_blocks
from resbench.report.render.markdown import escape, markdown
from resbench.report.replication import (
    Drawn,
    Replication,
    as_markdown,
    figure_links,
    page_link,
    trained_on,
)
from resbench.report.summary import abstract, claims_grid, claims_notes, replication_report
from resbench.store.atomic import fault, read_file, write_atomic

GENERATED = "<!-- Generated from records by `resbench report --site`: do not edit. -->"
DRAWN = "<!-- Generated from records by resbench report: do not edit. -->"
"""The same for figures; a comment in XML has no two hyphens."""
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
METHOD = Path("docs", "statistics.md")
"""Where the method is explained, beside the folder of the pages."""


def write_site(
    suites: Sequence[str], results: Path, folder: Path, readme: Path | None = None
) -> list[Path]:
    """Write the pages of these suites, or of all shipped ones, and return the files that changed.

    Pages and figures of an earlier run that are no longer made are removed; every other file stays.
    ``readme`` gets the claims and their figure between its `results:begin` and `results:end` marks.

    Raises:
        UsageError: a file that this did not write is in the way, or ``readme`` has no marks.
        EnvironmentFault: the folder cannot be written.
    """
    if readme is not None:
        _parts(readme)
    method = folder.absolute().parent / METHOD
    way = f"../{METHOD}" if method.is_file() else ""
    replication, files = build_site(suites, read_results(results), way)
    stale = _generated(folder) - files.keys()
    _refuse_to_overwrite(folder, files)
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        for name in stale:
            (folder / name).unlink()
    except OSError as error:
        raise fault(folder, error) from error
    changed = [folder / name for name, content in files.items() if _write(folder / name, content)]
    if readme is None:
        return changed
    before, after = _parts(readme)
    way = quote(Path(os.path.relpath(folder, readme.parent)).as_posix())
    block = f"{readme_block(replication, way)}\n".encode()
    return changed + ([readme] if _write(readme, before + block + after) else [])


def build_site(
    suites: Sequence[str], results: Results, method: str = ""
) -> tuple[Replication, dict[str, bytes]]:
    """Return what the pages are made of, and every file by its path below the folder.

    ``method`` is the way from there to the page about the method; without one it is named only.
    """
    results = replace(results, begun={})  # what is training now is for `status`
    tables = {
        loaded.suite.name: [judge(table) for table in finished(loaded, results)]
        for loaded in chosen(suites, results)
    }
    bare = {name: found[0] for name, found in tables.items()}
    bare = {name: table if not table.cost.runs else _bare(table) for name, table in bare.items()}
    replication = Replication(results, tables, bare, method=method)
    drawn = tuple(_draw(replication))
    replication = replace(replication, figures=drawn)
    files = {figure.path: _marked(figure.svg) for figure in drawn}
    files |= {f"{name}.md": _suite_page(found, drawn).encode() for name, found in tables.items()}
    index = f"{GENERATED}\n\n{replication_report(replication)}\n{_contents(tables)}"
    return replication, files | {"README.md": index.encode()}


def _marked(svg: bytes) -> bytes:
    head, declared, rest = svg.partition(b"?>\n")
    return b"".join((head, declared, DRAWN.encode(), b"\n", rest))


def _bare(table: JudgedTable) -> JudgedTable:
    return judge(empty(table.table.expanded.loaded))


def readme_block(replication: Replication, folder: str) -> str:
    """Return the claims, a figure and the way on, for the README above the folder."""
    parts = [f"**What the runs show.** {abstract(replication)}"]
    grid = claims_grid(replication, closest=True)
    if grid is not None:
        parts += [as_markdown(grid), *claims_notes(replication, closest=True)]
    parts += figure_links(replication.drawn("claims"), f"{folder}/")
    parts.append(
        f"{EFFECTS} [{folder}/]({folder}/README.md) has the tables, what differs from print and "
        "why, and the runs behind every number."
    )
    return "\n\n".join(parts)


def _suite_page(tables: Sequence[JudgedTable], figures: Sequence[Drawn]) -> str:
    loaded = tables[0].table.expanded.loaded
    head: list[Block] = [
        Heading(1, f"{loaded.suite.name}: {loaded.suite.title}"),
        Text(f"{sentence(source_label(loaded))}."),
    ]
    parts = [GENERATED, markdown(head).rstrip("\n"), "[All tables](README.md)"]
    for i, table in enumerate(tables):
        blocks = table_blocks(table, ledger=True, notes_above=i > 0)
        parts.append(markdown(blocks).rstrip("\n"))
        parts += figure_links(figure for figure in figures if figure.table is table)
    return "\n\n".join(parts) + "\n"


def _contents(tables: Mapping[str, Sequence[JudgedTable]]) -> str:
    lines = [
        f"- {page_link(name)}: {escape(found[0].table.expanded.loaded.suite.title)}"
        for name, found in tables.items()
    ]
    return "\n".join(["## Every suite", "", *lines]) + "\n"


def _draw(replication: Replication) -> Iterator[Drawn]:
    """Yield every figure."""
    kinds = {
        "curves": (figures.learning_curves, "Errors over epochs and the time of a run"),
        "printed": (figures.printed_cells, "Printed errors and ours"),
        "noise": (figures.noise, "Test error over label noise"),
    }
    for table in replication.with_runs:
        for kind, (draw, text) in kinds.items():
            figure = draw(table)
            if figure is not None:
                alt = f"{text}: {table.suite}, {replication.setting(table)}"
                path = f"figures/{table.suite}-{_slug(replication, table)}-{kind}.svg"
                yield Drawn(kind, table, path, alt, figures.svg(figure))
    name = replication.short if len(replication.settings) > 1 else replication.setting
    figure = figures.claims(
        {name(tables[0]): tables for tables in replication.settings.values()}, replication.shared
    )
    if figure is not None:
        alt = f"Effects of the claims, printed and ours: {'; '.join(replication.settings)}"
        yield Drawn("claims", None, "figures/claims.svg", alt, figures.svg(figure))


def _slug(replication: Replication, table: JudgedTable) -> str:
    """Return a table's setting as a part of a file name, distinct for distinct settings."""
    context = table.table.expanded.context
    parts = [context.tier, *([f"x{context.scale:g}"] if context.scale != 1 else [])]
    parts += [f"{c.label}{replication.told_apart(c)}".replace(" ", "-") for c in trained_on(table)]
    parts += [context.precision, context.engine.replace("+", "-")]
    if context.overrides:
        text = json.dumps([list(pair) for pair in context.overrides], sort_keys=True)
        parts.append(f"set-{hashlib.sha256(text.encode()).hexdigest()[:6]}")
    return "-".join(parts)


def _generated(folder: Path) -> set[str]:
    """Return the pages and figures that lie there, those of this writer only."""
    found = [*folder.glob("*.md"), *folder.glob("figures/*.svg")]
    return {path.relative_to(folder).as_posix() for path in found if _is_ours(path)}


def _is_ours(path: Path) -> bool:
    """Say whether this writer made a file; what cannot be read as a file is somebody else's."""
    try:
        start = (read_file(path) or b"")[:256]
    except EnvironmentFault:
        return False
    return GENERATED.encode() in start or DRAWN.encode() in start


def _refuse_to_overwrite(folder: Path, files: Iterable[str]) -> None:
    folders = [path for path in (folder, folder / "figures") if os.path.lexists(path)]
    strange = [path for path in folders if not path.is_dir()] or [
        path for path in map(folder.joinpath, files) if os.path.lexists(path) and not _is_ours(path)
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


def _parts(readme: Path) -> tuple[bytes, bytes]:
    """Return a README up to its first mark and from its second."""
    before, begin, rest = (read_file(readme) or b"").partition(f"{BEGIN}\n".encode())
    _, end, after = rest.partition(END.encode())
    if not (begin and end):
        raise UsageError(
            f"--readme {readme}: no such file with the lines {BEGIN} and {END}. Write them where "
            "the results shall stand."
        )
    return before + begin, end + after
