"""What stands below a table: claims, every cell in full, cost, provenance, runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence

from resbench.analysis.judge import JudgedTable
from resbench.analysis.names import (
    bounds,
    cell_label,
    code_label,
    listed,
    p_value,
    percent,
    place_label,
    signed,
)
from resbench.analysis.results import seed_of
from resbench.analysis.tables import later_seeds
from resbench.report.document import Block, Folded, Grid, Heading, Items, Text
from resbench.stats.claims import ClaimVerdict
from resbench.words import count

EFFECTS = (
    "Effects are in percentage points; positive means as claimed. For a chain of networks they are "
    "those of its weakest step, which is named, ours and print's; for a growing gap, the rise of a "
    "fitted line from the first level to the last."
)


def with_step(text: str, verdict: ClaimVerdict) -> str:
    """Return a claim's text with the step of a chain that its numbers are about."""
    return f"{text} (Weakest step: {verdict.evidence.where}.)" if verdict.evidence.where else text


def later_seeds_note(tables: Sequence[JudgedTable], where: str) -> str | None:
    """Say which verdicts rest on seeds that no suite or tier declares; None if there are none."""
    later, changed = set[int](), []
    for table in tables:
        later |= later_seeds(table.table)
        for item, before in zip(table.claims, table.on_declared, strict=True):
            was = before.verdict.kind
            if was not in (item.verdict.kind, "not_run"):
                kinds = f"{was}, now {item.verdict.kind}".replace("_", " ")
                changed.append(f"{item.claim.text.rstrip('.')}: {kinds}")
    if not later:
        return None
    verdicts = f": {'; '.join(changed)}" if changed else " every verdict is the same"
    return (
        f"{where} has seeds beyond the declared ones ({listed(sorted(later))}), which nothing "
        f"keeps from being run after a look. On the declared seeds alone{verdicts}."
    )


def claims_blocks(judged: JudgedTable) -> Iterator[Block]:
    """Yield the claims that have runs as a grid, and name the others."""
    rows = []
    for claim, verdict in ((item.claim, item.verdict) for item in judged.claims):
        if verdict.kind == "not_run":
            continue
        rows.append((
            f"{with_step(claim.text, verdict)} ({claim.place})",
            percent(verdict.evidence.printed_difference),
            signed(verdict.effect_pp),
            bounds(verdict.interval),
            verdict.kind.replace("_", " "),
            str(verdict.evidence.estimate.n),
            p_value(verdict.raw_p),
            p_value(verdict.adjusted_p),
        ))  # fmt: skip
    if judged.claims:
        yield Heading(4, "Claims")
    if rows:
        levels = listed(sorted({f"{1 - 2 * item.claim.alpha:.0%}" for item in judged.claims}))
        header = ("claim", "printed\npp", "ours\npp", f"interval\n{levels}", "verdict")
        yield Grid((*header, "seeds", "p", "p\nHolm"), tuple(rows), "lrrrlrrr", (4, 3))
        yield Text(EFFECTS)
        if note := later_seeds_note([judged], "This table"):
            yield Text(note)
    waiting = [
        f"{item.claim.text} ({item.claim.place}"
        + (f"; printed {item.claim.printed_pp} pp)" if item.claim.printed_pp else ")")
        for item in judged.claims
        if item.verdict.kind == "not_run"
    ]
    if waiting:
        yield Folded(f"Claims without runs here ({len(waiting)})", (Items(tuple(waiting)),))


def cells_grid(judged: JudgedTable) -> Grid:
    """Return every cell with all its errors: like meets like, and best-on-test is named so."""
    validated = any(run.result.val_in_train_err is not None for run in judged.table.records)
    header = ["cell", "seeds", "test", "train\naugmented"]
    header += ["validation\nin train"] if validated else []
    header += ["best on test\n(not used for verdicts)", "parameters", "images/s", "hours"]
    rows = []
    for cell in judged.table.cells.values():
        if not cell.records:
            continue
        runs, results = cell.records, [run.result for run in cell.done]
        seeds = listed(seed_of(run) for run in cell.done)
        lost = listed(seed_of(run) for run in cell.diverged)
        row = [
            cell_label(judged.table.expanded.loaded, cell),
            "; ".join(filter(None, [seeds, f"diverged: {lost}" if lost else ""])),
            _mean([result.test_top1_err for result in results]),
            _mean([result.train_top1_err for result in results]),
        ]
        row += [_mean([result.val_in_train_err for result in results])] if validated else []
        row += [
            _mean([result.best_test_top1_err for result in results]),
            f"{runs[0].model.parameters:,}",
            f"{sum(run.timing.images_per_s for run in runs) / len(runs):,.0f}",
            f"{sum(run.timing.total_s for run in runs) / 3600:.2f}",
        ]
        rows.append(tuple(row))
    groups = (1,) * (len(header) - 1)
    return Grid(tuple(header), tuple(rows), "ll" + "r" * (len(header) - 2), groups)


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return percent(math.fsum(known) / len(known)) if known else ""


def cost_line(judged: JudgedTable) -> str:
    """Return what the table's runs took."""
    cost = judged.cost
    devices = ", ".join(f"{name} ({count(n, 'run')})" for name, n in cost.devices.items())
    parts = [count(cost.runs, "run"), f"{cost.device_hours:.2f} device hours", devices]
    if cost.images_per_s is not None:
        parts.append(f"{cost.images_per_s:,.0f} images/s (median)")
    if cost.resumed:
        parts.append(f"{cost.resumed} resumed")
    return f"Cost: {', '.join(parts)}."


def provenance_blocks(judged: JudgedTable, ledger: bool) -> Iterator[Block]:
    """Yield how many settings come from where, every deviation, and the whole ledger if asked."""
    if not judged.marks:
        return
    badges = " · ".join(f"{origin} {n}" for origin, n in judged.origins.items())
    yield Text(f"Where the settings come from: {badges}.")
    deviations: dict[str, list[str]] = {}
    for mark in judged.marks:
        if mark.origin == "deviation":
            known = deviations.setdefault(f"{mark.place}, {mark.reason}", [])
            known.append(f"{mark.path} = {json.dumps(mark.value)}")
    if deviations:
        yield Items(tuple(
            f"deviation, {reason}: {listed(dict.fromkeys(settings))}"
            for reason, settings in deviations.items()
        ))  # fmt: skip
    if ledger:
        rows = tuple(
            (
                mark.path,
                json.dumps(mark.value),
                mark.origin or "",
                mark.place or "",
                mark.reason or "",
                mark.layer,
            )
            for mark in judged.marks
        )
        header = ("setting", "value", "origin", "place", "reason", "set by")
        yield Folded("Ledger of every setting", (Grid(header, rows, "llllll"),))


def words_blocks(judged: JudgedTable) -> Iterator[Block]:
    """Yield the verdicts as sentences."""
    loaded = judged.table.expanded.loaded
    silent = ("not_run", "shown", "skipped", "equal", "not_comparable")
    words = [
        f"{place_label(loaded, place.row, place.column)}: {place.text}"
        for place in judged.places
        if place.kind not in silent
    ]
    words += [
        f"{item.claim.text} {item.verdict.text}"
        for item in judged.claims
        if item.verdict.kind != "not_run"
    ]
    if words:
        yield Folded("Verdicts in words", (Items(tuple(words)),))


def runs_block(judged: JudgedTable) -> Folded:
    """Return every run behind the table, with what leads to its files, code and images."""
    header = ("cell", "seed", "status", "test", "run", "code", "data fingerprint", "device")
    rows = [
        (
            cell_label(judged.table.expanded.loaded, cell),
            str(seed_of(run)),
            run.status,
            percent(run.result.test_top1_err),
            run.key[:16],
            code_label(run),
            run.data.fingerprint[:16],
            run.environment.device_name,
        )
        for cell in judged.table.cells.values()
        for run in cell.records
    ]
    return Folded(f"Runs ({len(rows)})", (Grid(header, tuple(rows), "lrlrllll"),))
