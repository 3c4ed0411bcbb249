"""``spec.json``, written first, and ``record.json``, written last: the run's whole story.

A record is believed only when its hash, its key, its folder and its files fit each other, else it
is an EnvironmentFault; its numbers are recomputed by :mod:`resbench.store.verify`.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from resbench.errors import EnvironmentFault
from resbench.store.atomic import dump_json, load_object, read_file, write_atomic
from resbench.store.layout import FORMAT, RunFolder
from resbench.store.metrics import Percent, first_error
from resbench.suite.spec import NUMERICS, Frozen, NonNegative, PositiveInt, Seed, key_of, plain_to

Count = Annotated[int, Meta(ge=0)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
RecordedFile = Literal["spec.json", "metrics.jsonl", "predictions.npz", "weights.safetensors"]
MAX_WEIGHTS = 4 << 30
"""Bytes; the largest network here has 0.3 GB."""


class Result(Frozen):
    """The numbers of the last epoch; None for what a diverged run never measured."""

    epoch: Count
    step: Count
    test_top1_err: Percent | None
    test_loss: float | None
    train_top1_err: Percent | None
    train_loss: float | None
    val_in_train_err: Percent | None
    best_test_top1_err: Percent | None
    """Of all epochs, so chosen on the test set: shown for comparison, never used."""
    best_epoch: PositiveInt | None


class ModelFacts(Frozen):
    """Size of the network; ``macs`` for one image, in multiply-accumulates."""

    parameters: PositiveInt
    macs: PositiveInt


class StageSignals(Frozen):
    """The last Attention Module of a stage, over images, channels and positions."""

    trunk_rms: NonNegative
    mask_mean: float
    mask_std: NonNegative
    product_rms: NonNegative
    """Of what the module hands on, ``M * T`` or ``(1 + M) * T``."""


class Signals(Frozen):
    """Sizes of features, masks and gradients; see :mod:`resbench.train.masks`."""

    stem_grad_norm: NonNegative
    """Euclidean norm of the loss's gradient in the weights of the first convolution."""
    stages: dict[str, StageSignals]


class DataFacts(Frozen):
    """Which images the run really saw."""

    name: str
    label: str
    """How tables name it when it is not the published data set."""
    id: str
    fingerprint: str
    """sha256 of decoded pixels and labels."""
    published: bool = msgspec.field(name="printed")
    """Whether the source's number was measured on these images."""
    train_images: PositiveInt
    test_images: PositiveInt
    noise_hash: str | None
    """Of the labels corrupted with the run's seed; ``noise: redrawn`` draws others every epoch."""
    noise_transition: tuple[NonNegative, ...] | None
    """Measured transition matrix of those labels, by row (true class), num_classes**2 values."""


class Environment(Frozen):
    """Where the run was trained."""

    python: str
    torch: str
    device: str
    device_name: str
    cuda: str | None
    threads: PositiveInt
    cpu: str
    os: str
    engine_notes: tuple[str, ...]
    cpu_model: str
    """Vendor, family and model."""
    cpu_capability: str
    """The instruction sets that torch uses, as below those that oneDNN uses."""
    onednn_isa: str | None
    cudnn: int | None
    kernel_variables: dict[str, str]
    """Variables that make libraries choose other kernels, where set."""


class Code(Frozen):
    """The resbench that trained; commit and dirty are None outside a checkout."""

    version: str
    commit: str | None
    dirty: bool | None
    source_sha256: Sha256
    """Digest of the modules that can change a number."""

    @property
    def label(self) -> str:
        """The version, with the commit or the digest of the source."""
        if self.commit is None:
            return f"{self.version} source {self.source_sha256[:10]}"
        return f"{self.version} {self.commit[:10]}{' and changes' if self.dirty else ''}"


class Timing(Frozen):
    """Cost; durations in seconds of a monotonic clock, summed over all pieces."""

    started: str
    """UTC, ISO 8601."""
    train_s: NonNegative
    eval_s: NonNegative
    total_s: NonNegative
    images_per_s: NonNegative
    resumed: Count
    """How often training went on from a checkpoint."""
    pieces: PositiveInt
    """How many processes worked on the run."""
    packed: PositiveInt = 1
    """The most runs that trained on the device at once."""
    gpu_peak_bytes: Count | None = None
    """The most memory that torch held on the GPU at once, for all runs of a pack."""

    def __post_init__(self) -> None:
        started = datetime.fromisoformat(self.started)
        if started.tzinfo is None or started.timestamp() < 0:
            raise ValueError("started is no time in UTC since 1970")


class _SpecData(msgspec.Struct):
    name: str
    id: str


class _Spec(msgspec.Struct):
    """What is read of the specification of any version; the rest may differ between them."""

    data: _SpecData
    tier: str
    engine: str
    precision: str
    seed: Seed


class RunRecord(Frozen, kw_only=True):
    """One finished run. ``files`` and ``record_hash`` are filled in by :func:`write_record`."""

    format: Literal[1] = 1
    key: Sha256
    numerics: PositiveInt = NUMERICS
    spec: dict[str, Any]
    """Canonical run specification; it has at least the fields of :class:`_Spec`."""
    context: dict[str, Any]
    """Who asked for the run (suite, cell, ...); no part of its identity."""
    status: Literal["done", "diverged"]
    result: Result
    reason: str | None
    """Why a diverged run stopped, with its step."""
    model: ModelFacts
    data: DataFacts
    environment: Environment
    code: Code
    seeds: dict[str, Count]
    """Derived seed of each purpose."""
    timing: Timing
    signals_at_start: Signals | None = None
    """With the initial weights; None without attention, or where a number was not finite."""
    signals_at_end: Signals | None = None
    files: dict[RecordedFile, Sha256] = msgspec.field(default_factory=dict)
    record_hash: str = ""
    """sha256 of the canonical JSON of everything else."""

    def __post_init__(self) -> None:
        if self.status == "diverged" and not self.reason:
            raise ValueError("a diverged run needs its reason")
        if self.status == "done":
            numbers = msgspec.structs.asdict(self.result).items()
            missing = [n for n, value in numbers if value is None and n != "val_in_train_err"]
            if missing or self.reason:
                raise ValueError(f"a run that is done has every result and no reason ({missing})")


def write_spec(run: RunFolder, spec: dict[str, Any], context: dict[str, Any]) -> None:
    """Start a run: store the canonical specification; a run started before keeps its context."""
    run.create()
    if read_spec(run) is None:
        head = {"format": FORMAT, "key": key_of(spec), "numerics": NUMERICS, "context": context}
        write_atomic(run.spec, _pretty({**head, "spec": spec}))


def read_spec(run: RunFolder) -> dict[str, Any] | None:
    """Return the content of ``spec.json`` (key, numerics, context, spec); None without one."""
    data = read_file(run.spec, limit=1 << 20)
    if data is None:
        return None
    try:
        stored = load_object(data)
        if not all(isinstance(stored[name], dict) for name in ("spec", "context")):
            raise TypeError
        _check_spec(run, run.spec, stored["key"], stored["spec"], stored["numerics"])
    except KeyError as error:
        raise _refused(run.spec, f"it has no {error}") from error
    except TypeError as error:
        raise _refused(run.spec, "a value in it has another type") from error
    except ValueError as error:
        raise _refused(run.spec, first_error(error)) from error
    return stored


def write_record(run: RunFolder, record: RunRecord) -> RunRecord:
    """Commit a run: hash its files, write ``record.json`` and return it as written.

    ValueError where a value is not valid or a file that the record needs is missing.
    """
    paths = (*_recorded(run), run.weights)
    found = {path.name: read_file(path, MAX_WEIGHTS) for path in paths}
    files = {name: _sha256(data) for name, data in found.items() if data is not None}
    checked = plain_to(RunRecord, msgspec.to_builtins(record) | {"files": files})
    fields = msgspec.to_builtins(checked)
    fields["record_hash"] = _record_hash(fields)
    written = plain_to(RunRecord, fields)
    _check_spec(run, run.record, written.key, written.spec, written.numerics)
    _check_files(run, written)
    write_atomic(run.record, _pretty(fields))
    return written


def read_record(run: RunFolder) -> RunRecord:
    """Return the record of a committed run after checking that everything fits."""
    data = read_file(run.record, limit=4 << 20)
    if data is None:
        raise EnvironmentFault(f"{run.record}: missing; the run is not finished.")
    try:
        fields = load_object(data)
        if fields.get("record_hash") != _record_hash(fields):
            raise ValueError("its content does not fit its record_hash: it was edited or damaged")
        record = msgspec.json.decode(data, type=RunRecord)
        _check_spec(run, run.record, record.key, record.spec, record.numerics)
        _check_files(run, record)
    except ValueError as error:
        raise _refused(run.record, first_error(error)) from error
    return record


def read_weights(run: RunFolder, record: RunRecord) -> bytes | None:
    """Return the recorded weights as safetensors; None where none were kept or the file is gone.

    Not part of :func:`read_record`: they are large, and a record is whole without them.
    """
    recorded = record.files.get("weights.safetensors")
    data = None if recorded is None else read_file(run.weights, MAX_WEIGHTS)
    if data is not None and _sha256(data) != recorded:
        raise EnvironmentFault(
            f"{run.weights}: not the weights that were recorded. Restore the file, or remove it."
        )
    return data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _recorded(run: RunFolder) -> tuple[Path, ...]:
    return (run.spec, run.metrics, run.predictions)


def _pretty(fields: dict[str, Any]) -> bytes:
    return f"{dump_json(fields, indent=1)}\n".encode()


def _record_hash(fields: dict[str, Any]) -> str:
    rest = {name: value for name, value in fields.items() if name != "record_hash"}
    return _sha256(dump_json(rest, sort_keys=True).encode())


def _check_spec(run: RunFolder, path: Path, key: str, spec: dict[str, Any], numerics: int) -> None:
    msgspec.convert(spec, _Spec)
    if key_of(spec, numerics) != key:
        raise ValueError("its key is not the key of its specification")
    if not key.startswith(run.key):
        raise EnvironmentFault(
            f"{path}: refused, it belongs to run {key[:16]}, not to this folder: was it copied? "
            f"Remove {run.path}, or rename it to {key[:16]} if there is no such folder."
        )


def _check_files(run: RunFolder, record: RunRecord) -> None:
    for path in _recorded(run):
        data, recorded = read_file(path), record.files.get(path.name)  # type: ignore[call-overload]
        if recorded is None and (record.status == "done" or path == run.spec):
            raise ValueError(f"{path.name} is missing from it")
        if data is None and recorded is not None:
            raise ValueError(f"{path.name} next to it is missing")
        if data is None or _sha256(data) == recorded:
            continue
        if _sha256(data.replace(b"\r\n", b"\n")) == recorded:
            raise EnvironmentFault(
                f"{run.record}: refused, {path.name} next to it has CRLF line endings, which were "
                "not recorded; git writes them with core.autocrlf. Nothing else differs. Clone "
                "again with `git clone -c core.autocrlf=false`, or copy the file as it was written."
            )
        raise ValueError(f"{path.name} next to it is not the file that was recorded")


def _refused(path: Path, why: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"{path}: refused, {why}. Restore it, or remove {path.parent} to train this run again."
    )
