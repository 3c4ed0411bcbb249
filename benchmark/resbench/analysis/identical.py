"""Runs of one key on two sides: every number that a repetition gives again must agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from resbench.analysis.names import code_label
from resbench.store.difference import differences, unequal
from resbench.store.layout import RunFolder
from resbench.store.records import RunRecord


@dataclass(frozen=True)
class SameKey:
    """One run that both sides have."""

    key: str
    label: str
    differences: tuple[str, ...]
    """One phrase each, the numbers of A first; empty when all bits agree."""
    conditions: tuple[str, ...]
    """How the two were made, where that differs."""


def same_key(a: tuple[RunFolder, RunRecord], b: tuple[RunFolder, RunRecord], label: str) -> SameKey:
    """Compare two records of one key, then their files where the digests differ."""
    conditions = tuple(_conditions(a[1], b[1]))
    return SameKey(a[1].key, label, differences(a, b), conditions)


def _conditions(a: RunRecord, b: RunRecord) -> Iterator[str]:
    """Yield how two runs of one key were made differently."""
    if code_label(a) != code_label(b):
        yield f"code {code_label(a)} against {code_label(b)}"
    for name, x, y in unequal(a.environment, b.environment):
        yield f"{name} {x} against {y}"
