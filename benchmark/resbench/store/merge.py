"""Moving packed runs into a results folder: all or nothing of each, and nothing lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from msgspec.structs import asdict

from resbench.errors import EnvironmentFault, ResbenchError
from resbench.store.archive import UNFINISHED, Refused, unpack
from resbench.store.atomic import fault, fsync_folder, read_file, temporary_in
from resbench.store.envelope import Damaged, open_sealed
from resbench.store.layout import ASIDE, ResultsFolder, RunFolder
from resbench.store.locks import try_lock
from resbench.store.metrics import EpochMetrics, EpochTiming, Stored, read_epochs
from resbench.store.records import RunRecord, read_record, read_spec
from resbench.words import one_line

_Kind = Literal["added", "identical", "refused"]
_Outcome = tuple[_Kind, str, str]


@dataclass(frozen=True)
class MergeReport:
    """Run names (16 hex digits); refused ones, or whole archives, with the reason in words."""

    added: tuple[str, ...]
    identical: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]


def merge(results: Path, archives: Sequence[Path]) -> MergeReport:
    """Add the runs of ``archives`` to ``results``.

    A finished run takes the place of an unfinished one of its key. Of two finished runs the one
    that is here stays: ``identical`` when its deterministic files are the same, else ``refused``.

    Raises:
        EnvironmentFault: an archive cannot be opened, ``results`` cannot be written, or another
            merge works there; what was added before stays added.
    """
    folder = ResultsFolder(results)
    folder.open_for_writing()
    lock = try_lock(folder.runs)
    if lock is None:
        raise EnvironmentFault(f"{results}: another merge works here. Wait for its end.")
    outcomes: list[_Outcome] = []
    with lock:
        try:
            for archive in archives:
                outcomes += _merge_one(results, archive)
        except OSError as error:
            raise fault(results, error) from error
    of_kind = {kind: tuple(o for o in outcomes if o[0] == kind) for kind in get_args(_Kind)}
    return MergeReport(
        added=tuple(name for _, name, _ in of_kind["added"]),
        identical=tuple(name for _, name, _ in of_kind["identical"]),
        refused=tuple((name, reason) for _, name, reason in of_kind["refused"]),
    )


def _merge_one(results: Path, archive: Path) -> list[_Outcome]:
    staging = temporary_in(results / "runs")
    outcomes: list[_Outcome] = []
    try:
        for name in unpack(archive, staging):
            try:
                kind = _admit(RunFolder(staging, name), RunFolder(results, name))
                outcomes.append((kind, name, ""))
            except (Refused, ResbenchError) as error:
                reason = str(error).replace(f"{staging}/runs", str(archive))
                outcomes.append(("refused", name, one_line(reason)))
    except Refused as error:
        outcomes.append(("refused", str(archive), one_line(error)))
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return outcomes


def _admit(staged: RunFolder, target: RunFolder) -> _Kind:
    """Move a checked run in; raise when it is unsound or differs from the one that is here."""
    theirs = _checked(staged)
    if not os.path.lexists(target.path):
        _move(staged.path, target.path)
        return "added"
    target.require()
    lock = try_lock(target.path)
    if lock is None:
        raise Refused("is being trained here now; merge again when it has ended")
    with lock:
        if os.path.lexists(target.record):
            _compare(target, staged, theirs)
            return "identical"
        if theirs is None:
            if all(_same(target.path / name, staged.path / name) for name in UNFINISHED):
                return "identical"
            raise Refused("is unfinished here too; finish it on one machine, then merge")
        aside = target.path.with_name(f"{ASIDE}{target.path.name}")
        os.rename(target.path, aside)
        _move(staged.path, target.path)
        shutil.rmtree(aside)
    return "added"


def _move(source: Path, target: Path) -> None:
    fsync_folder(source)
    os.rename(source, target)
    fsync_folder(target.parent)


def _checked(run: RunFolder) -> RunRecord | None:
    """Return the record of a staged run, None for an unfinished one; raise when it is unsound."""
    read_epochs(run.timing, EpochTiming)
    read_epochs(run.metrics, EpochMetrics)
    if run.record.exists():
        record = read_record(run)
        if run.checkpoint.exists() or run.checkpoint_prev.exists():
            raise Refused("is finished, yet brings a checkpoint")
        return record
    if read_spec(run) is None or run.predictions.exists():
        raise Refused("is neither a finished nor an unfinished run")
    for path in (run.checkpoint, run.checkpoint_prev):
        try:
            if path.exists():
                open_sealed(path.read_bytes())
        except Damaged as error:
            raise Refused(f"{path.name}: {error}") from error
    return None


def _compare(here: RunFolder, there: RunFolder, theirs: RunRecord | None) -> None:
    """Return when both hold the same run; raise Refused saying in words what differs."""
    mine = read_record(here)
    if theirs is None:
        raise Refused("is finished here; the unfinished copy is not needed")
    difference = _difference(here, there, mine, theirs)
    if difference:
        places = (
            f"{e.device_name}, torch {e.torch}" for e in (mine.environment, theirs.environment)
        )
        raise Refused(
            f"is here with other content: {difference} (trained here on {next(places)}; there on "
            f"{next(places)}). The one here stays; remove it first to take the other"
        )


def _difference(
    here: RunFolder, there: RunFolder, mine: RunRecord, theirs: RunRecord
) -> str | None:
    if mine.key != theirs.key:
        return f"two keys share their first digits, {mine.key} and {theirs.key}"
    if mine.status != theirs.status:
        return f"{mine.status} here, {theirs.status} there"
    if mine.files.get("metrics.jsonl") != theirs.files.get("metrics.jsonl"):
        return _metrics_difference(here, there)
    if mine.files.get("predictions.npz") != theirs.files.get("predictions.npz"):
        return _predictions_difference(here, there)
    return _field_difference("result", mine.result, theirs.result)


def _metrics_difference(here: RunFolder, there: RunFolder) -> str:
    ours, theirs = (read_epochs(run.metrics, EpochMetrics) for run in (here, there))
    for mine, other in zip(ours, theirs, strict=False):
        difference = _field_difference(f"metrics.jsonl, epoch {mine.epoch}", mine, other)
        if difference:
            return difference
    return f"metrics.jsonl has {len(ours)} epochs here, {len(theirs)} there"


def _field_difference(place: str, mine: Stored, other: Stored) -> str | None:
    there = asdict(other)
    for name, value in asdict(mine).items():
        if value != there[name]:
            return f"{place}: {name} is {value} here, {there[name]} there"
    return None


def _predictions_difference(here: RunFolder, there: RunFolder) -> str:
    # Only here, so that light verbs start without numpy.
    from resbench.store.predictions import read_predictions

    ours, theirs = (read_predictions(run.predictions) for run in (here, there))
    if len(ours.label) != len(theirs.label):
        return f"predictions.npz is of {len(ours.label)} images here, {len(theirs.label)} there"
    other = int((ours.pred != theirs.pred).sum())
    return f"predictions.npz: {other} of {len(ours.label)} images have another predicted class"


def _same(first: Path, second: Path) -> bool:
    return read_file(first, limit=1 << 36) == read_file(second, limit=1 << 36)
