"""Feed resbench thousands of damaged files and see that it answers each with sense.

An input is an option, or a shipped or recorded file (suite, protocol, tier, record, metrics,
predictions, checkpoint, pack, Parquet file, a whole results folder) with a few random changes. What
may happen:
success, or one line with an exit code that says whose fault it is. What must not: a traceback, a
hang, more than 200 MB, or another number than the undamaged files give.

Usage: ``python -m tools.fuzz [--inputs 200] [--seed 1] [--keep DIR]``. Every input is a process of
its own. It prints a row a target for docs/reliability.md. Exit code 1 where something must not be.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from resbench.cli.main import main as resbench
from resbench.protocol import encode
from resbench.store.envelope import open_sealed, seal
from resbench.store.layout import RunFolder, open_for_writing
from resbench.train import serve
from resbench.train.attempt import Attempt
from tests.data.archives import make_parquet_folder
from tests.mini import job_of, outputs, spec_of

ROOT = Path(__file__).resolve().parents[1]
LIMIT_CPU_S, LIMIT_S = 30, 600
"""Of a command that computes for ever, and of one that waits for ever."""
HANGS = (signal.SIGPROF, signal.SIGALRM)
TRACEBACK = 99
LIMIT_BYTES = 200 << 20
FRAGMENTS = (
    b"", b"\x00", b"\xff\xfe", b"null", b"[]", b"{}", b"-1", b"1e999", b"nan", b"0x10", b"010",
    b"yes", b"~", b"!!python/object/apply:os.system ['true']", b"&a [*a, *a]", b"<<: *a", b"\t",
    b"../../../etc/passwd", "\u202e".encode(), b"9" * 400, b"[" * 2000, b"x" * 70_000, b"\r\n",
    b": ", b"- ", b"\n  ", b"---\n", b"%YAML 9.9\n", b'"', b"'", b"|", b">", b"#",
)  # fmt: skip
"""What parsers stumble over."""


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Return ``data`` with one to four random changes."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 2, 8, 64, 1024)))
        match rng.randrange(7):
            case 0:  # flip a bit
                if at < len(data):
                    data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
            case 1:  # leave out
                data = data[:at] + data[end:]
            case 2:  # repeat
                data = data[:end] + data[at:end] + data[end:]
            case 3:  # cut off
                data = data[:at] if rng.random() < 0.3 else data
            case 4:  # insert
                data = data[:at] + rng.choice(FRAGMENTS) + data[at:]
            case 5:  # replace a word by a fragment
                words = data.split(b" ")
                words[rng.randrange(len(words))] = rng.choice(FRAGMENTS)
                data = b" ".join(words)
            case 6:  # swap two lines
                lines = data.splitlines(keepends=True)
                if len(lines) > 1:
                    i, j = rng.sample(range(len(lines)), 2)
                    lines[i], lines[j] = lines[j], lines[i]
                    data = b"".join(lines)
    return data


@dataclass(frozen=True)
class Outcome:
    """What a command did with an input."""

    code: int
    output: str
    error: str
    peak_bytes: int


def execute(action: Callable[[], object], folder: Path) -> Outcome:
    """Run ``action`` in a process of its own, in ``folder``, and return how it ended."""
    out, err = folder / "stdout", folder / "stderr"
    child = os.fork()
    if child == 0:
        code = TRACEBACK
        try:
            for number in HANGS:
                signal.signal(number, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, LIMIT_CPU_S)
            signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
            os.chdir(folder)
            for path, descriptor in ((out, 1), (err, 2)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
            sys.stdout, sys.stderr = (
                os.fdopen(fd, "w", errors="backslashreplace", closefd=False) for fd in (1, 2)
            )
            action()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(code)
    _, status, usage = os.wait4(child, 0)
    peak = usage.ru_maxrss * 1024
    return Outcome(os.waitstatus_to_exitcode(status), out.read_text(errors="replace"),
                   err.read_text(errors="replace"), peak)  # fmt: skip


def judged(outcome: Outcome, base_bytes: int) -> str | None:
    """Return what must not be about an outcome, or None."""
    if "Traceback" in outcome.error + outcome.output or outcome.code == TRACEBACK:
        return f"traceback: {outcome.error.strip().splitlines()[-1:]}"
    if -outcome.code in HANGS:
        return f"hang: more than {LIMIT_CPU_S} s of computing, or {LIMIT_S} s"
    if outcome.code not in (0, 1, 2, 3):
        return f"exit code {outcome.code}"
    if outcome.peak_bytes > base_bytes + LIMIT_BYTES:
        return f"{(outcome.peak_bytes - base_bytes) >> 20} MB of memory"
    if outcome.code and not (outcome.error + outcome.output).strip():
        return "no word about what was wrong"
    return None


def called(*arguments: str) -> Callable[[], None]:
    """Return an action that is a command line."""

    def action() -> None:
        sys.argv = ["resbench", *arguments]
        resbench()

    return action


Input = tuple[Callable[[], object], Callable[[Outcome], str | None]]
Target = Callable[[Path, random.Random], Input]


def anything(_outcome: Outcome) -> str | None:
    """Accept every sane ending: there is no number to compare."""
    return None


def damage(files: Iterable[Path], rng: random.Random) -> Path:
    """Damage one of some files; return it."""
    path = rng.choice(sorted(files))
    path.write_bytes(mutate(path.read_bytes(), rng))
    return path


def suite(folder: Path, rng: random.Random) -> Input:
    """A damaged suite."""
    shutil.copytree(ROOT / "suites", folder / "suites")
    return called("validate", str(damage((folder / "suites").glob("*.yaml"), rng))), anything


def part(folder: Path, rng: random.Random) -> Input:
    """A damaged protocol, tier or list of sources below a suite that uses it."""
    shutil.copytree(ROOT / "suites", folder / "suites")
    damage([*(folder / "suites").glob("*/*.yaml"), folder / "suites" / "sources.yaml"], rng)
    return called("validate", str(folder / "suites" / "table1_arl_vs_nal.yaml")), anything


def setting(folder: Path, rng: random.Random) -> Input:
    """A damaged ``--set`` or ``--seeds`` or ``--budget``."""
    option, text = rng.choice([
        ("--set", "training.optim.lr=0.05"), ("--set", "model.width=0.5"),
        ("--set", "training.schedule.total=3"), ("--seeds", "1,5,9"),
        ("--budget", "1h30m"), ("--tier", "tiny"), ("--cell", "mixed/arl"),
    ])  # fmt: skip
    damaged = os.fsdecode(mutate(text.encode(), rng)[:4000].replace(b"\0", b""))
    return called("plan", "smoke", option, damaged, "--results", str(folder / "results")), anything


def _results(folder: Path) -> Path:
    shutil.copytree(
        ROOT / "results", folder / "results", ignore=shutil.ignore_patterns(".*", "*.db")
    )
    return folder / "results"


def _numbers(text: str) -> dict[str, float]:
    """Return every measured mean of a JSON report by table, cell, metric and number of runs.

    A run that is refused makes a mean one of fewer runs; what each run measured is in it too.
    """
    found = {}
    for table in json.loads(text)["tables"]:
        for value in table["values"]:
            if value["mean"] is not None and value["metric"] != "train_time_min":
                at = f"{table['suite']} {table['setting']} {value['cell']} {value['metric']}"
                found[f"{at}, {len(value['values'])} runs"] = value["mean"]
        for run in (run for cell in table["cells"] for run in cell["runs"]):
            found |= {f"run {run['key']} {name}": n for name, n in run["result"].items()}
    return found


@dataclass
class Undamaged:
    """What inputs are made of, and the numbers that they must give."""

    pack: Path
    parquet: Path
    stopped: Path
    outputs: dict[str, bytes]
    numbers: dict[str, float]


REPORT = ("report", "table1_arl_vs_nal", "mechanism", "--format", "json", "--results", "results")
READERS = (REPORT, REPORT, ("verify", "--results", "results"), ("status",))
undamaged = Undamaged(Path(), Path(), Path(), {}, {})


def same_numbers(outcome: Outcome) -> str | None:
    """Find a number that the undamaged folder does not give; one that is missing is all right."""
    if not outcome.output.startswith("{"):
        return None
    found = _numbers(outcome.output)
    wrong = [at for at, number in found.items() if undamaged.numbers.get(at, number) != number]
    return f"another number: {wrong[0]}" if wrong else None


def run_file(folder: Path, rng: random.Random) -> Input:
    """A damaged file of a recorded run; its times decide no number."""
    files = _results(folder).glob("runs/*/*")
    damage([file for file in files if file.name != "timing.jsonl"], rng)
    return called(*rng.choice(READERS)), same_numbers


def results_folder(folder: Path, rng: random.Random) -> Input:
    """A results folder whose files and folders are renamed, removed, linked or of another kind."""
    results = _results(folder)
    for _ in range(rng.randint(1, 3)):
        paths = sorted(path for path in results.rglob("*") if not path.is_symlink())
        path, other = rng.choice(paths), rng.choice(paths)
        if path.is_dir():
            path.rename(folder / f"away-{rng.randrange(1 << 30)}")
        else:
            path.unlink()
        match rng.randrange(5):
            case 0:
                path.symlink_to(rng.choice((other, Path("/dev/zero"), Path("nowhere"))))
            case 1:
                path.mkdir(parents=True, exist_ok=True)
            case 2 if other.is_file() and path.parent.is_dir():
                shutil.copy(other, path)
            case 3 if path.parent.is_dir():
                os.mkfifo(path)
    return called(*rng.choice(READERS)), same_numbers


def pack(folder: Path, rng: random.Random) -> Input:
    """A damaged pack."""
    path = folder / "runs.tar"
    path.write_bytes(mutate(undamaged.pack.read_bytes(), rng))

    def merge_and_report() -> None:
        try:
            called("merge", str(path), "--results", "results")()
        except SystemExit as end:
            if end.code:
                raise
        called(*REPORT)()

    def check(outcome: Outcome) -> str | None:
        report = outcome.output[outcome.output.find("{") :]
        return same_numbers(replace(outcome, output=report))

    return merge_and_report, check


SPEC = spec_of(data__train_images=16, data__test_images=10, training__batch_size=8)


def _worker(results: Path, *, dies: bool = False) -> Callable[[], None]:
    """Return an action that is a worker process with one job; it ``dies`` before its last epoch."""
    (results.parent / "stdin").write_bytes(encode([job_of(SPEC, results)]))
    checkpoint, last = Attempt.checkpoint, SPEC.training.schedule.total - 1

    def checkpoint_and_die(attempt: Attempt) -> None:
        if attempt.counters.epoch == last:
            checkpoint(attempt)
            os._exit(0)

    def action() -> None:
        if dies:
            Attempt.checkpoint = checkpoint_and_die  # type: ignore[method-assign, assignment]
        sys.stdin = (results.parent / "stdin").open()
        serve.main()

    return action


def checkpoint(folder: Path, rng: random.Random) -> Input:
    """A damaged checkpoint, or one whose damaged header has the right digest; a worker resumes."""
    results = shutil.copytree(undamaged.stopped, folder / "results")
    run = RunFolder(results, SPEC.key)
    shutil.copy(run.checkpoint, run.checkpoint_prev)
    path, forged = rng.choice((run.checkpoint, run.checkpoint_prev)), rng.random() < 0.5
    if forged:
        payload = open_sealed(path.read_bytes())
        end = 8 + int.from_bytes(payload[:8], "little")
        path.write_bytes(seal(mutate(payload[:end], rng) + payload[end:]))
    else:
        damage([path], rng)

    def check(_outcome: Outcome) -> str | None:
        if "Traceback" in run.log.read_text(errors="replace"):
            return "traceback in the run's log"
        if not forged and outputs(results) != undamaged.outputs:
            return "another result"
        return None

    return _worker(results), check


def parquet(folder: Path, rng: random.Random) -> Input:
    """A damaged data set of Parquet files."""
    shutil.copytree(undamaged.parquet, folder / "data")
    damage((folder / "data").rglob("*.parquet"), rng)
    return called("data", "list", "--data", f"cifar10={folder / 'data'}"), anything


TARGETS: dict[str, Target] = {
    "suite": suite,
    "protocol, tier, sources": part,
    "option": setting,
    "file of a run": run_file,
    "results folder": results_folder,
    "checkpoint": checkpoint,
    "pack": pack,
    "Parquet": parquet,
}


def campaign(folder: Path, inputs: int, seed: int, keep: Path | None) -> dict[str, list[str]]:
    """Try ``inputs`` inputs, a target in turn; return what must not be, by target."""
    undamaged.parquet = make_parquet_folder(folder / "parquet")
    undamaged.stopped, whole = folder / "stopped" / "results", folder / "whole" / "results"
    undamaged.stopped.mkdir(parents=True)
    open_for_writing(undamaged.stopped)
    _must(execute(_worker(undamaged.stopped, dies=True), folder))
    shutil.copytree(undamaged.stopped, whole)
    _must(execute(_worker(whole), folder))
    undamaged.outputs = outputs(whole)
    assert len(undamaged.outputs) == 3
    undamaged.pack = folder / "runs.tar"
    _must(execute(called("pack", str(undamaged.pack), "--results", str(ROOT / "results")), folder))
    (folder / "results").symlink_to(ROOT / "results")
    undamaged.numbers = _numbers(_must(execute(called(*REPORT), folder)).output)
    base = execute(lambda: None, folder).peak_bytes
    faults: dict[str, list[str]] = {name: [] for name in TARGETS}
    endings: Counter[str] = Counter()
    for number in range(inputs):
        name = list(TARGETS)[number % len(TARGETS)]
        rng = random.Random(f"{seed}/{number}")
        scratch = folder / "input"
        scratch.mkdir()
        action, check = TARGETS[name](scratch, rng)
        outcome = execute(action, scratch)
        endings[f"{name}: exit {outcome.code}"] += 1
        if fault := judged(outcome, base) or check(outcome):
            faults[name].append(f"input {number}: {fault}")
            print(f"{name}, seed {seed}, input {number}: {fault}", flush=True)
            if keep:
                shutil.copytree(scratch, keep / str(number), symlinks=True)
        shutil.rmtree(scratch)
    print("; ".join(f"{ending} {n}" for ending, n in sorted(endings.items())))
    return faults


def _must(outcome: Outcome) -> Outcome:
    assert outcome.code == 0, outcome.error
    return outcome


def main(arguments: Sequence[str]) -> int:
    """Run a campaign and print its rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for the inputs that went wrong")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        faults = campaign(Path(temporary).resolve(), chosen.inputs, chosen.seed, chosen.keep)
    for number, name in enumerate(TARGETS):
        tried = len(range(number, chosen.inputs, len(TARGETS)))
        print(f"| {name} | {tried} | {len(faults[name])} |")
    return any(faults.values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
