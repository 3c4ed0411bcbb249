"""Finding and loading suites, protocols, sources and tiers by path or by shipped name."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from resbench.errors import UsageError, did_you_mean
from resbench.models import Family, own_family
from resbench.suite.connections import sound_part, unconnected, unmarked
from resbench.suite.messages import validate
from resbench.suite.schema import Protocol, Publication, Sources, Suite, Tier
from resbench.suite.yaml import DocumentError, Problem, YamlDocument, load_document
from resbench.words import one_line

SOURCES, EXECUTORS = "sources.yaml", "executors.yaml"
"""The files next to suites that are none."""
YAML_FILES = "[!.]*.yaml"
"""The files of a folder; a Mac leaves ``._NAME.yaml`` next to each on other disks and in tars."""
PAPER = Tier(version=1, name="paper", title="Paper", description="As the source declares it.")


@dataclass(frozen=True)
class Loaded:
    """A suite with its protocol and sources, and the documents that know every value's position."""

    suite: Suite
    document: YamlDocument
    protocol: Protocol
    protocol_document: YamlDocument
    sources: tuple[Publication, ...]
    """Of the suite's ``sources``, in their order."""
    networks: Path | None
    """The user's ``networks.py`` next to the suite's file, where there is one."""

    @property
    def cited(self) -> str:
        """Where the sources publish the table, in words."""
        cited = zip(self.sources, self.suite.sources, strict=True)
        return "; ".join(f"{source.title}, {where.place}" for source, where in cited)


def suite_folder() -> Path:
    """Return the shipped suites: ``suites/`` of a checkout, or the copy inside the wheel."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parents[1] / "suites"
    in_checkout = package.parent.name == "benchmark" and checkout.is_dir()
    return checkout if in_checkout else package / "_suites"


def suite_names() -> list[str]:
    """Return the names of the shipped suites, the tables of the sources first."""
    names = (path.stem for path in _suites_in(suite_folder()))
    return sorted(names, key=lambda name: not name.startswith("table"))


def find_suite(name: str) -> Path:
    """Return the file of a suite given by path, or by the name of a shipped suite."""
    path = Path(name)
    is_path = path.suffix in {".yaml", ".yml"} or len(path.parts) > 1
    if is_path and path.is_file():
        if path.name in (SOURCES, EXECUTORS):  # of smith/*.yaml
            raise UsageError(f"{name}: not a suite; it serves the suites next to it. Leave it out.")
        return path
    shipped = suite_names()
    if path.is_dir() and name not in shipped:
        inside = [each.name for each in _suites_in(path)]
        what = f"Name a suite in it: {', '.join(inside)}" if inside else "It holds no suite"
        raise UsageError(f"{name}: a folder. {what}.")
    if is_path:
        raise UsageError(f"{name}: no such suite file. Shipped suites: {', '.join(shipped)}.")
    if name not in shipped:
        hint = f"{did_you_mean(name, shipped)} A suite of your own is named by its file."
        raise UsageError(f"unknown suite '{name}'.{hint}")
    return suite_folder() / f"{name}.yaml"


def load_suite(name: str) -> Loaded:
    """Load and check one suite, the protocol it includes and the sources it names.

    Raises:
        DocumentError: every problem of these files, and of what ties them together.
        UsageError: a file cannot be read.
    """
    document = load_document(find_suite(name))
    kind = document.path.absolute().parent.name
    if kind in ("protocols", "tiers") and "matrix" not in document.value:
        text = f"one of the {kind}, not a suite. Name a suite that uses it: both are checked then."
        raise document.error([((), text)])
    suite, protocol, problems = None, None, list[Problem]()
    networks = document.path.absolute().parent / "networks.py"
    own = networks.is_file()
    with _collected(problems):
        suite = validate(Suite, document)
    problems += document.error(unconnected(document.value)).problems
    problems += document.error(unmarked(document.value, own)).problems
    with _collected(problems):
        protocol = _protocol(document, own)
    sources = _cited(document, protocol, problems)
    if problems or suite is None or protocol is None:
        raise DocumentError(problems)
    return Loaded(suite, document, *protocol, sources, networks if own else None)


def load_suites(names: Iterable[str]) -> list[Loaded]:
    """Load suites by path or name, each once.

    Raises:
        UsageError: as :func:`load_suite`, or two of them have one name.
    """
    by_file = {find_suite(name).resolve(): name for name in names}
    loaded: dict[str, Loaded] = {}
    for path, given in by_file.items():
        suite = load_suite(given)
        other = loaded.setdefault(suite.suite.name, suite)
        if other is not suite:
            raise UsageError(
                f"{path}: has the same name, '{suite.suite.name}', as {other.document.path}. "
                "Give one of the two suites another name."
            )
    return list(loaded.values())


def load_networks(file: Path) -> Family:
    """Run a user's ``networks.py`` and return the family that it declares.

    Raises:
        UsageError: whatever is wrong with it, at the line of the file.
    """
    try:
        return own_family(file)
    except (Exception, SystemExit) as error:
        trace = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in trace if frame.filename == str(file)]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else 1
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        text = f"{file}:{line}: cannot use these networks: {kind}{str(error).rstrip('.')}."
        raise UsageError(one_line(text)) from None


def tier_files(suite: Path | None = None) -> dict[str, Path]:
    """Return the tiers by name; those next to a suite's file replace shipped ones of their name."""
    files = _files("tiers", suite)
    if PAPER.name in files:
        text = f"a tier cannot be called '{PAPER.name}': that is the suite as declared. Rename it."
        raise UsageError(f"{files[PAPER.name]}: {text}")
    return files


def load_tier(name: str, suite: Path | None = None) -> tuple[Tier, YamlDocument | None]:
    """Load a tier by name, for a suite's file; ``paper`` is the suite as declared."""
    files = tier_files(suite)
    if name == PAPER.name:
        return PAPER, None
    if name not in files:
        raise UsageError(f"unknown tier '{name}'.{did_you_mean(name, [PAPER.name, *files])}")
    document = load_document(files[name])
    tier = validate(Tier, document)
    _check_name(tier.name, document)
    return tier, document


@contextmanager
def _collected(problems: list[Problem]) -> Iterator[None]:
    """Note what is wrong with one document and continue."""
    try:
        yield
    except DocumentError as error:
        problems += error.problems


def _protocol(document: YamlDocument, own_networks: bool) -> tuple[Protocol, YamlDocument] | None:
    """Load the protocol that a suite includes, from next to the suite or from the shipped ones.

    None where the suite does not name one.
    """
    name = sound_part(document.value, "protocol")
    if name is None:
        return None
    files = _files("protocols", document.path)
    if name not in files:
        message = f"unknown protocol '{name}'.{did_you_mean(name, sorted(files))}"
        raise document.error([(("protocol",), message)])
    found = load_document(files[name])
    protocol = validate(Protocol, found)
    if marks := list(unmarked(found.value, own_networks)):
        raise found.error(marks)
    _check_name(protocol.name, found)
    return protocol, found


def _cited(
    document: YamlDocument, protocol: tuple[Protocol, YamlDocument] | None, problems: list[Problem]
) -> tuple[Publication, ...]:
    """Return the documents that a suite names, from next to it or from the shipped file.

    A key that neither file has is a problem, also where the protocol names it.
    """
    known, before = dict[str, Publication](), len(problems)
    for folder in dict.fromkeys((suite_folder(), document.path.parent)):
        if (folder / SOURCES).is_file():
            with _collected(problems):
                known |= validate(Sources, load_document(folder / SOURCES)).sources
    listed = sound_part(document.value, "sources") or ()
    named = [(s.key, document.at(("sources", i, "key"))) for i, s in enumerate(listed)]
    if protocol is not None:
        named.append((protocol[0].source, protocol[1].at(("source",))))
    if len(problems) == before:  # else a key may be in the file that could not be read
        problems += [
            Problem(position, f"unknown source '{key}'.{did_you_mean(key, sorted(known))}")
            for key, position in named
            if key not in known
        ]
    return tuple(known[source.key] for source in listed if source.key in known)


def _suites_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(YAML_FILES) if path.name not in (SOURCES, EXECUTORS))


def _files(kind: str, suite: Path | None) -> dict[str, Path]:
    folders = [suite_folder()] if suite is None else [suite_folder(), suite.absolute().parent]
    return {path.stem: path for root in folders for path in sorted((root / kind).glob(YAML_FILES))}


def _check_name(name: str, document: YamlDocument) -> None:
    if name != document.path.stem:
        text = f"the name '{name}' must be that of the file, '{document.path.stem}'."
        raise document.error([(("name",), text)])
