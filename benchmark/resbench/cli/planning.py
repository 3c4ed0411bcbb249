"""From command-line options to expanded suites, for `plan` and `run`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from resbench.cli.options import data_option, results_option
from resbench.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from resbench.data.sources import Source
    from resbench.runner.devices import Device
    from resbench.runner.plan import PlannedRun
    from resbench.suite.expand import Expanded

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Request:
    """What the user asked to run, and how."""

    suites: tuple[str, ...]
    data: tuple[str, ...] = ()
    tier: str = "paper"
    seeds: str | None = None
    cells: tuple[str, ...] = ()
    set_: tuple[str, ...] = ()
    devices: str = "auto"
    jobs: int | None = None
    engine: str | None = None
    precision: str | None = None


def planning_options(function: _F) -> _F:
    """Add the options of :class:`Request` and ``--budget``."""
    options = [
        click.option("--tier", default="paper", metavar="NAME",
                     help="Scale of the experiment: paper, tiny, cpu, ..."),
        click.option("--seeds", metavar="LIST", help="'3' for seeds 1 to 3, or '1,5,9'."),
        click.option("--cell", "cells", multiple=True, metavar="CELL",
                     help="Only this cell. Repeatable."),
        click.option("--set", "set_", multiple=True, metavar="KEY=VALUE",
                     help="Change a setting. Repeatable."),
        data_option,
        results_option,
        click.option("--devices", default="auto", metavar="LIST",
                     help="auto, cpu, cuda, or cuda:0,cuda:1,cpu."),
        click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N",
                     help="Workers; by default one per core on a CPU."),
        click.option("--engine", type=click.Choice(["eager", "graph", "graph+compile"]),
                     metavar="NAME", help="eager; on a GPU also graph or graph+compile."),
        click.option("--precision", type=click.Choice(["fp32", "bf16"]), metavar="NAME",
                     help="fp32, or bf16 on a GPU."),
        click.option("--budget", metavar="TIME",
                     help="Stop cleanly within this time: 9m, 1h30m."),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def expand_request(
    request: Request, *, here: bool = True
) -> tuple[list[Expanded], dict[str, Source], list[Device]]:
    """Load and expand the suites of a request on this machine's data and devices.

    Without ``here`` the devices are another machine's, and none is returned.

    Raises:
        ResbenchError: every problem that the user can fix.
    """
    from resbench.data.fit import check_fit
    from resbench.data.sources import identify, parse_locations
    from resbench.runner.devices import choose, need_compiler
    from resbench.suite.expand import Context, DataChoice, data_names, expand
    from resbench.suite.load import load_suites, load_tier

    loaded = load_suites(request.suites)
    tiered = [(suite, load_tier(request.tier, suite.document.path)) for suite in loaded]
    overrides = parse_overrides(request.set_)
    devices = choose(request.devices, request.jobs) if here else []
    engine, on_gpus = request.engine or "eager", all(device.is_gpu for device in devices)
    if engine != "eager" and not on_gpus:
        raise UsageError(
            f"--engine {engine}: CUDA graphs need a GPU. Use --engine eager, or --devices cuda."
        )
    if request.precision == "bf16" and not on_gpus:
        raise UsageError("--precision bf16: needs a GPU. Use --precision fp32, or --devices cuda.")
    if engine == "graph+compile" and here:
        need_compiler()
    locations = parse_locations(request.data)
    found = (data_names(suite, tier, overrides) for suite, (tier, _) in tiered)
    names = dict.fromkeys(name for names in found for name in names)
    sources = {name: identify(name, locations) for name in names}
    choices = {n: DataChoice(n, s.label, s.id) for n, s in sources.items()}
    context = Context(
        engine=engine,  # type: ignore[arg-type]
        precision=request.precision or "fp32",  # type: ignore[arg-type]
        data=choices,
        tier=request.tier,
        overrides=overrides,
    )
    seeds = None if request.seeds is None else parse_seeds(request.seeds)
    expanded = [expand(suite, context, tier, seeds) for suite, tier in tiered]
    for suite in expanded:
        check_fit(suite.cells)
    return expanded, sources, devices


def parse_overrides(pairs: Sequence[str]) -> tuple[tuple[str, Any], ...]:
    """Parse ``KEY=VALUE``; a value is a number, other JSON, or else text."""
    parsed = []
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {pair}: must be KEY=VALUE, like training.optim.lr=0.05.")
        parsed.append((key, _parse_value(value)))
    return tuple(parsed)


def _parse_value(text: str) -> Any:
    from resbench.suite.yaml import plain_value

    try:
        return json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):  # YAML takes more: .05, 1. and +0.1
        return plain_value(text) if text else ""


def parse_seeds(text: str) -> tuple[int, ...]:
    """Parse ``3`` (seeds 1 to 3), ``1,5,9``, or ``3,`` (seed 3 alone)."""
    if re.fullmatch(r"[1-9]\d{0,3}", text):
        return tuple(range(1, int(text) + 1))
    if "," in text and re.fullmatch(r"\d{1,9}(,\d{1,9})*,?", text):
        seeds = tuple(int(part) for part in text.rstrip(",").split(","))
        if len(set(seeds)) == len(seeds):
            return seeds
    raise UsageError(f"--seeds {text}: give how many ('3' for 1 to 3) or a list ('1,5,9').")


def parse_budget(text: str) -> float:
    """Parse ``90s``, ``9m``, ``1h30m`` into seconds."""
    match = re.fullmatch(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?", text)
    if match is None or not any(match.groups()):
        raise UsageError(f"--budget {text}: give a duration like 90s, 9m or 1h30m.")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = 3600 * hours + 60 * minutes + seconds
    if total == 0:
        raise UsageError(f"--budget {text}: must be longer than 0 s.")
    return float(total)


def chosen_runs(
    request: Request, suites: Sequence[Expanded], sources: dict[str, Source]
) -> list[PlannedRun]:
    """Return the planned runs, with ``--cell`` only those of these cells."""
    from resbench.runner.plan import plan

    runs = plan(suites, sources)
    known = dict.fromkeys(cell for run in runs for _, cell in run.cells)
    for cell in request.cells:
        if cell not in known:
            raise UsageError(f"--cell {cell}: unknown cell.{did_you_mean(cell, known)}")
    if not request.cells:
        return runs
    return [run for run in runs if any(cell in request.cells for _, cell in run.cells)]


def missing_data(sources: dict[str, Source], names: set[str]) -> dict[str, str]:
    """Return, for each needed data set that is not available, a line that says what to do."""
    from resbench.data.sources import how_to_get

    return {
        name: f"{name}: not available. {how_to_get(name)}"
        for name in sorted(names)
        if not sources[name].available
    }
