"""The schema of suite, protocol, sources and tier files (``version: 1``)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

from resbench.models.family import Origin
from resbench.suite.metrics import METRICS, of_kind
from resbench.suite.spec import Frozen, PositiveInt, PositiveNumber, Seed

IDENTIFIER = r"^[a-z0-9][a-z0-9_-]{0,63}$(?!\n)"
"""Without the last part Python would take a line break after it."""
Identifier = Annotated[
    str,
    Meta(
        pattern=IDENTIFIER, description="up to 64 of a-z, 0-9, - and _, the first a letter or digit"
    ),
]
Link = Annotated[str, Meta(pattern=r"^https?://\S+$(?!\n)", description="a link with https://")]
Number = Annotated[
    str, Meta(pattern=r"^[+-]?\d+(\.\d+)?$(?!\n)", description='a number like "0.37"')
]
Text = Annotated[str, Meta(min_length=1, max_length=2000)]
if TYPE_CHECKING:
    Metric = str
    ClaimMetric = str
else:
    Metric = Literal[tuple(METRICS)]
    ClaimMetric = Literal[of_kind("error", "signal")]
Split = Literal["test", "val", "train", "train_aug", "val_in_train", "unspecified", "unknown"]
Changes = dict[str, Any]
"""Dotted paths of the run specification and their values, for example ``model.width: 0.25``."""

ERROR_METRICS, TEXT_METRICS, SIGNAL_METRICS = map(of_kind, ("error", "text", "signal"))


Seeds = Annotated[tuple[Seed, ...], Meta(min_length=1)]


def _check_seeds(seeds: tuple[int, ...]) -> None:
    if len(set(seeds)) != len(seeds):
        raise ValueError("seeds must differ from each other", "seeds")


class Mark(Frozen):
    """Where a hyperparameter comes from."""

    origin: Origin
    place: Text
    reason: Text | None = None

    def __post_init__(self) -> None:
        if self.origin in {"inferred", "deviation"} and self.reason is None:
            raise ValueError(f"origin '{self.origin}' needs a reason")


class Citation(Frozen):
    """A document, by its key in ``sources.yaml``, and where in it the table is."""

    key: Identifier
    place: Text


class Publication(Frozen):
    """A document that publishes tables."""

    title: Text
    """As reports cite it, within a sentence."""
    origin: Literal["paper", "report"]
    """The mark of a setting that it states."""
    framework: Text
    """What its authors computed with; its defaults hold where the document states nothing."""
    link: Link | None
    """Where it can be read; null where it is not published."""


class Sources(Frozen):
    """The documents that suites name by key."""

    version: Literal[1]
    sources: Annotated[dict[Identifier, Publication], Meta(min_length=1)]


class Executors(Frozen):
    """Options of sbatch for every submitted worker."""

    slurm: dict[str, str | int | float | None]


class Level(Frozen):
    """One value of a matrix axis: a row or a column of the table."""

    label: Text
    set: Changes = {}
    provenance: dict[str, Mark] = {}
    """Marks of settings that come from elsewhere in this level; they precede all others."""


class Skip(Frozen):
    """Combinations that are not run, and why."""

    where: dict[Identifier, Identifier]
    reason: Text


class Column(Frozen):
    """One column of the table: which level of the other axes, and which number of the run."""

    label: Text
    where: dict[Identifier, Identifier] = {}
    metric: Metric = "test_top1_err"


class Layout(Frozen):
    """The table's shape in the source."""

    rows: Identifier
    columns: Annotated[dict[Identifier, Column], Meta(min_length=1)]
    row_header: Text = "network"


def half_width(published: str) -> float:
    """Return half a unit of the last digit of a published number."""
    return 0.5 * 10.0 ** -len(published.partition(".")[2])


class PaperValue(Frozen):
    """One published value: the number, where it is published, and what it really is."""

    value: Annotated[str, Meta(max_length=64)] | None
    """As published, in quotes, which keep its precision; null for a blank cell."""
    facts: tuple[str, ...] = ()
    """Identifiers of the collected facts; tests check that none is missing."""
    place: Text | None = None
    metric: Metric | None = None
    """The metric that is the same quantity, where it is not the column's."""
    claims: Split | None = None
    """The split that the source claims."""
    really: Split | None = None
    """The split that it is, by the authors' own logs; equal to ``claims`` when not given."""
    median_of: PositiveInt | None = None
    """The runs that it is the median of; null where the source does not say."""
    note: Text | None = None


class Claim(Frozen):
    """A sentence of a source as an inequality over cells.

    ``claim`` is ``error(CELL) < error(CELL)``, with ``<``, ``>`` or ``~`` (equivalent within
    ``margin_pp``), a chain for an order over levels, or ``gap(CELL, CELL) < gap(CELL, CELL)``.
    ``error`` stands for the claim's metric.
    """

    id: Identifier
    text: Text
    place: Text
    claim: Text
    metric: ClaimMetric = "test_top1_err"
    published_pp: Number | None = None
    """The published difference in percentage points; of a chain, that of its ends."""
    margin_pp: PositiveNumber | None = None
    ours: bool = False
    """No source makes this claim; it is counted separately."""

    def __post_init__(self) -> None:
        # \d takes digits of every script; a pattern without it would be another schema of answers
        if self.published_pp is not None and not self.published_pp.isascii():
            raise ValueError('must be a number like "0.37"', "published_pp")


class Suite(Frozen, kw_only=True):
    """One file, one table."""

    version: Literal[1]
    name: Identifier
    title: Text
    sources: Annotated[tuple[Citation, ...], Meta(min_length=1)]
    protocol: Identifier
    train: bool = True
    base: dict[str, Any] = {}
    seeds: Seeds
    matrix: Annotated[dict[Identifier, dict[Identifier, Level]], Meta(min_length=1)]
    skips: tuple[Skip, ...] = ()
    table: Layout
    published: dict[Identifier, dict[Identifier, PaperValue]] = {}
    footnotes: tuple[Text, ...] = ()
    claims: tuple[Claim, ...] = ()
    provenance: dict[str, Mark] = {}

    def __post_init__(self) -> None:
        _check_seeds(self.seeds)
        ids = Counter(claim.id for claim in self.claims)
        if len(ids) != len(self.claims):
            raise ValueError(f"two have the id '{ids.most_common(1)[0][0]}'; change one", "claims")


class Protocol(Frozen):
    """How the networks are trained: partial run specifications, each with its marks."""

    version: Literal[1]
    name: Identifier
    source: Identifier
    """The document that states it; in a suite of another one every setting is a deviation."""
    title: Text
    model: dict[str, Any]
    data: dict[str, Any]
    training: dict[str, Any]
    provenance: dict[str, Mark]


class Shrunk(Frozen):
    """A schedule of another length with its drops at the same fractions."""

    unit: Literal["step", "epoch"]
    total: PositiveNumber
    plateau: PositiveNumber | None = None
    """The shortest time before a drop; an earlier drop is left out."""


class Tier(Frozen):
    """A named departure from the paper's scale; part of every run key."""

    version: Literal[1]
    name: Identifier
    title: Text
    description: Text
    set: Changes = {}
    families: dict[Identifier, Changes] = {}
    schedule: Shrunk | None = None
    schedules: dict[Identifier, Shrunk] = {}
    """For families that need another length than ``schedule``."""
    seeds: Seeds | None = None

    def __post_init__(self) -> None:
        _check_seeds(self.seeds or ())
        if self.families and (unlisted := sorted(self.schedules.keys() - self.families.keys())):
            raise ValueError(f"families has no line for '{unlisted[0]}'", "schedules")
