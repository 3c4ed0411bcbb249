"""``resbench masks``: draw what the soft masks of trained networks do to test images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from resbench.cli.options import NamedPath, data_option, results_to_read_option, write_output
from resbench.errors import EnvironmentFault, UsageError
from resbench.words import count, invocation

if TYPE_CHECKING:
    from resbench.data.images import Images
    from resbench.store.layout import RunFolder
    from resbench.store.records import RunRecord

SUFFIXES = (".svg", ".pdf", ".png")


@click.command("masks")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--images", default="0,7,42", show_default=True, metavar="LIST",
              help="Positions among the run's test images.")  # fmt: skip
@click.option("--output", type=NamedPath(path_type=Path), default=Path("masks.svg"),
              show_default=True, metavar="FILE", help="An .svg, .pdf or .png file.")  # fmt: skip
@data_option
@results_to_read_option(needed=True)
def command(
    runs: tuple[str, ...], images: str, output: Path, data: tuple[str, ...], results: Path
) -> None:
    """Draw input, trunk, soft mask and output of every stage for test images of trained runs.

    RUN is the name of a run's folder, or the first digits of that name; the run must have been
    trained with --keep-weights. Several runs, for instance ARL and NAL, are drawn one below the
    other. Features and masks are averaged over their channels. `resbench report --site DIR` shows a
    figure written to DIR/masks.svg.
    """
    if output.suffix not in SUFFIXES:
        raise UsageError(f"--output {output}: choose a name that ends in {', '.join(SUFFIXES)}.")
    rows = _rows(images)
    found = [_find(results, run) for run in runs]
    from resbench.report.masks import masks
    from resbench.train.masks import observe

    sets: dict[str, Images] = {}
    observed = []
    for folder, record in found:
        if (id_ := record.spec["data"]["id"]) not in sets:
            sets[id_] = _load(record, data)
        observed.append((record, observe(folder, record, sets[id_], rows)))
    write_output(output, masks(observed, output.suffix[1:]))
    click.echo(f"{count(len(rows), 'image')} of {count(len(found), 'run')} in {output}", err=True)


def _rows(text: str) -> list[int]:
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", text):
        raise UsageError(f"--images {text}: give positions like 0,7,42.")
    return [int(part) for part in text.split(",")]


def _find(results: Path, name: str) -> tuple[RunFolder, RunRecord]:
    """Return the finished run of a name or its beginning."""
    from resbench.store.layout import RunFolder
    from resbench.store.records import read_record
    from resbench.store.scan import run_names

    found = [run for run in run_names(results) if name and run.startswith(name[:16])]
    if len(found) != 1:
        what = f"{len(found)} runs begin so: {', '.join(found[:3])}" if found else "no such run"
        every = invocation("report", results, ("--format", "csv", "--rows", "runs"))
        raise UsageError(f"run '{name}': {what} in {results}. {every} lists them.")
    folder = RunFolder(results, found[0])
    folder.require()
    record = read_record(folder)
    if record.status != "done":
        raise UsageError(f"run {found[0]}: {record.status}, so it has no final weights.")
    if folder.weights.name not in record.files:
        raise EnvironmentFault(
            f"{folder.weights}: missing. The run was trained without --keep-weights: train it into "
            "another folder, with --results DIR --keep-weights."
        )
    return folder, record


def _load(record: RunRecord, locations: tuple[str, ...]) -> Images:
    """Load the data set that a run was trained on."""
    from resbench.data.sources import identify, load, parse_locations

    name, id_ = record.spec["data"]["name"], record.spec["data"]["id"]
    source = identify(name, parse_locations(locations))
    if source.id != id_:
        raise UsageError(
            f"run {record.key[:16]}: trained on {record.data.label}, and "
            f"{source.path or source.label} is another data set. Name it with --data {name}=PATH."
        )
    return load(source)
