"""Finding and loading suites, protocols and tiers by path or by shipped name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from resbench.errors import UsageError, did_you_mean
from resbench.suite.document import Document, DocumentError, Problem, load_document, validate
from resbench.suite.schema import Protocol, Suite, Tier

_Model = TypeVar("_Model", bound=Struct)
PAPER = Tier(version=1, name="paper", title="Paper", description="As the source declares it.")


@dataclass(frozen=True)
class Loaded:
    """A suite with its protocol and the documents that give every value its place."""

    suite: Suite
    document: Document
    protocol: Protocol
    protocol_document: Document


def suite_folder() -> Path:
    """Return the shipped suites: ``suites/`` of a checkout, or the copy inside the wheel."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parents[1] / "suites"
    return (
        checkout
        if package.parent.name == "benchmark" and checkout.is_dir()
        else package / "_suites"
    )


def suite_names() -> list[str]:
    """Return the names of the shipped suites."""
    return sorted(path.stem for path in suite_folder().glob("*.yaml"))


def find_suite(name: str) -> Path:
    """Return the file of a suite given by path, or by the name of a shipped suite."""
    path = Path(name)
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        if not path.is_file():
            raise UsageError(
                f"{name}: no such suite file. Shipped suites: {', '.join(suite_names())}."
            )
        return path
    if name not in suite_names():
        raise UsageError(f"unknown suite '{name}'.{did_you_mean(name, suite_names())}")
    return suite_folder() / f"{name}.yaml"


def load_suite(name: str) -> Loaded:
    """Load and check one suite and the protocol it includes."""
    path = find_suite(name)
    document = load_document(path)
    suite = _validated(Suite, document)
    protocol_path = _beside("protocols", suite.protocol, path, document, ("protocol",))
    protocol_document = load_document(protocol_path)
    protocol = _validated(Protocol, protocol_document)
    _check_name(protocol.name, protocol_path, protocol_document)
    return Loaded(suite, document, protocol, protocol_document)


def load_tier(name: str) -> tuple[Tier, Document | None]:
    """Load a tier by name; ``paper`` is the suite as declared."""
    if name == PAPER.name:
        return PAPER, None
    folder = suite_folder() / "tiers"
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in names:
        raise UsageError(f"unknown tier '{name}'.{did_you_mean(name, [PAPER.name, *names])}")
    document = load_document(folder / f"{name}.yaml")
    tier = _validated(Tier, document)
    _check_name(tier.name, document.path, document)
    return tier, document


def _validated(model: type[_Model], document: Document) -> _Model:
    result = validate(model, document)
    assert isinstance(result, model)
    return result


def _check_name(name: str, path: Path, document: Document) -> None:
    if name != path.stem:
        problem = Problem(
            document.at(("name",)), f"name '{name}' differs from the file's, '{path.stem}'"
        )
        raise DocumentError([problem])


def _beside(
    folder: str, name: str, suite_path: Path, document: Document, at: tuple[str | int, ...]
) -> Path:
    """Look for an included file beside the suite first, then among the shipped ones."""
    places = [suite_path.parent / folder, suite_folder() / folder]
    for place in places:
        if (place / f"{name}.yaml").is_file():
            return place / f"{name}.yaml"
    known = sorted({path.stem for place in places for path in place.glob("*.yaml")})
    raise DocumentError(
        [Problem(document.at(at), f"unknown protocol '{name}'.{did_you_mean(name, known)}")]
    )
