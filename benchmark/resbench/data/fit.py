"""Whether runs and networks fit their data sets, known before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from resbench.datasets import DATA_SETS
from resbench.models import family_of
from resbench.suite.expand import Cell
from resbench.suite.spec import RunSpec
from resbench.suite.yaml import DocumentError, Problem


def check_fit(cells: Iterable[Cell]) -> None:
    """Refuse, before anything is trained, cells that ask too much of their data set.

    Raises:
        DocumentError: at each such setting.
    """
    problems = []
    for cell in cells:
        for path, text in () if cell.spec is None else _misfits(cell.spec):
            leaf = cell.leaves[path]
            problems.append(Problem(leaf.position, f"{'.'.join(path)} ({leaf.layer}): {text}"))
    if problems:
        raise DocumentError(problems)


def _misfits(spec: RunSpec) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield the settings that do not fit the data set, and why."""
    data, known = spec.data, DATA_SETS[spec.data.name]
    train, test = known.balanced
    if data.image_px is not None and known.px % data.image_px:
        text = f"{data.image_px} px do not divide the {known.px} px of {data.name}."
        yield ("data", "image_px"), text
    px, network = data.image_px or known.px, spec.model
    if needed := family_of(network).needs(network, px):
        text = f"{network.name} of {network.family} needs image sides of {needed}, not of {px} px."
        yield ("data", "image_px"), text
    if data.first is not None and data.first > known.train_images:
        yield ("data", "first"), f"{data.name} has {known.train_images:,} training images."
    for name, most in (("train_images", min(train, data.first or train)), ("test_images", test)):
        asked = getattr(data, name)
        if asked is not None and asked > most:
            text = f"{data.name} does not have {asked:,} such images. Take at most {most:,}."
            yield ("data", name), text
    images = data.train_size
    for name in ("batch_size", "val_in_train"):
        asked = getattr(spec.training, name)
        if asked > images:
            text = f"{asked:,} is more than the {images:,} training images."
            yield ("training", name), text
