"""The plan: every run that suites need, each once, in the order in which they are trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from resbench.data.sources import Source
from resbench.models import FAMILIES
from resbench.suite.expand import Context, Expanded
from resbench.suite.spec import RunSpec


@dataclass
class PlannedRun:
    """One run: its specification, and the cells of tables that it fills."""

    key: str
    spec: RunSpec
    source: Source
    context: Context
    seed_rank: int
    """Position of the run's seed among the suite's, so that n grows evenly."""
    networks: Path | None = None
    """The user's file that declares the run's network, where it is none of resbench's."""
    cells: list[tuple[str, str]] = field(default_factory=list)
    """Suite and cell."""

    @property
    def label(self) -> str:
        """What progress shows: the first cell that it fills, and the seed."""
        more = f" +{len(self.cells) - 1}" if len(self.cells) > 1 else ""
        return f"{' '.join(self.cells[0])}{more} seed {self.spec.seed}"

    def stored_context(self) -> dict[str, Any]:
        """Return the context as it is stored with the run."""
        choice = self.context.data[self.spec.data.name]
        return {
            "tier": self.context.tier,
            "engine": self.context.engine,
            "precision": self.context.precision,
            "data": {choice.name: asdict(choice)},
            "overrides": [[key, value] for key, value in self.context.overrides],
            "cells": [list(cell) for cell in self.cells],
        }


def plan(suites: Sequence[Expanded], sources: dict[str, Source]) -> list[PlannedRun]:
    """Return the runs of all suites without repetition, seeds in rounds.

    Within a round the order is that of the suites and their cells, so that wherever the time ends
    all cells have as many seeds, but for one.
    """
    runs: dict[str, PlannedRun] = {}
    for expanded in suites:
        for seed_rank, cell_id, spec in _specs(expanded):
            key = spec.key
            if key not in runs:
                source = sources[spec.data.name]
                run = PlannedRun(key, spec, source, expanded.context, seed_rank)
                if spec.model.family not in FAMILIES:
                    run.networks = expanded.loaded.networks
                runs[key] = run
            runs[key].cells.append((expanded.loaded.suite.name, cell_id))
    return sorted(runs.values(), key=lambda run: run.seed_rank)


def _specs(expanded: Expanded) -> Iterator[tuple[int, str, RunSpec]]:
    for rank, seed in enumerate(expanded.seeds):
        for cell in expanded.cells:
            if cell.spec is not None:
                yield rank, cell.id, cell.at_seed(seed)
