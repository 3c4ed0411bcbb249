"""A results folder as pandas DataFrames: what :func:`resbench.load` returns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from msgspec.structs import asdict

from resbench.analysis.judge import Report, report
from resbench.analysis.results import Results, read_results
from resbench.analysis.rows import CLAIM_COLUMNS, RUN_COLUMNS, Row, cell_rows, claim_rows, run_rows
from resbench.errors import EnvironmentFault, UsageError
from resbench.store.layout import RunFolder, may_be_results
from resbench.store.metrics import EpochMetrics, EpochTiming, read_epochs
from resbench.store.predictions import read_predictions
from resbench.store.records import RunRecord

_EPOCH_FIELDS = (*EpochMetrics.__struct_fields__, *EpochTiming.__struct_fields__)
EPOCH_COLUMNS = tuple(dict.fromkeys(("run", *_EPOCH_FIELDS)))
IMAGE_COLUMNS = ("run", "image", "label", "pred", "prob_true")


@dataclass(frozen=True)
class Frames:
    """A results folder. Each frame is read when it is first asked for, and then kept.

    Errors are in percent, differences and effects in percentage points (of sizes within a network,
    powers of ten), times in seconds.
    """

    results: Path
    suites: tuple[str, ...] = ()
    """Names or files of the suites to judge; all shipped ones where there are none."""

    @cached_property
    def runs(self) -> pd.DataFrame:
        """A row for each finished run in each cell that it serves, with results and settings."""
        rows = run_rows(self._report, self._records, strays=not self.suites)
        return pd.DataFrame(rows, columns=None if rows else RUN_COLUMNS)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """A row for each value of each table: the published number, the measured one, a verdict."""
        frame = pd.DataFrame(cell_rows(self._report))
        frame["published"] = pd.to_numeric(frame["published"])
        return frame

    @cached_property
    def claims(self) -> pd.DataFrame:
        """A row for each claim of each table: effect, interval, p-values, verdict."""
        return pd.DataFrame(claim_rows(self._report), columns=CLAIM_COLUMNS)

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """A row for each epoch of each finished run: what it measured and how long it took."""
        rows = [row for key in self._records for row in self._epochs_of(key)]
        return pd.DataFrame(rows, columns=EPOCH_COLUMNS)

    def predictions(self, *runs: str) -> pd.DataFrame:
        """Return a row for each test image of these runs, or of all: classes and probability.

        Args:
            runs: names of runs, 16 hex digits, as in the column ``run`` of the other frames.

        Raises:
            UsageError: no run of this name ended with a result.
        """
        keys = {key[:16]: key for key, run in self._records.items() if run.status == "done"}
        if unknown := next((run for run in runs if run not in keys), None):
            raise UsageError(f"run '{unknown}': {self.results} has no predictions of such a run.")
        frames = [self._predictions_of(keys[run]) for run in runs or keys]
        if not frames:
            return pd.DataFrame(columns=IMAGE_COLUMNS)
        return pd.concat(frames, ignore_index=True)

    @cached_property
    def _results(self) -> Results:
        return read_results(self.results)

    @cached_property
    def _report(self) -> Report:
        return report(self.suites, self._results)

    @property
    def _records(self) -> dict[str, RunRecord]:
        return self._results.scan.records

    def _epochs_of(self, key: str) -> Iterable[Row]:
        run = RunFolder(self.results, key)
        times = {row.epoch: asdict(row) for row in read_epochs(run.timing, EpochTiming)}
        for row in read_epochs(run.metrics, EpochMetrics):
            yield {"run": key[:16], **asdict(row), **times.get(row.epoch, {})}

    def _predictions_of(self, key: str) -> pd.DataFrame:
        found = read_predictions(RunFolder(self.results, key).predictions)
        columns = {"label": found.label, "pred": found.pred, "prob_true": found.prob_true}
        return pd.DataFrame({"run": key[:16], "image": found.index, **columns})


def load(results: str | Path = "results", suites: Sequence[str] = ()) -> Frames:
    """Return a results folder as DataFrames; see :func:`resbench.load`."""
    path = Path(results)
    if not path.is_dir():
        raise EnvironmentFault(f"{path}: no such results folder.")
    if not may_be_results(path):
        raise EnvironmentFault(f"{path}: not a results folder: it has no runs/.")
    # frames are read later, perhaps from another working directory
    return Frames(path.absolute(), (suites,) if isinstance(suites, str) else tuple(suites))
