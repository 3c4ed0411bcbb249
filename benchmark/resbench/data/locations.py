"""Where the user keeps data: the command line over a configuration file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from resbench.data.catalog import published_archive
from resbench.errors import UsageError


def parse_locations(pairs: Sequence[str], config: Path | None = None) -> dict[str, Path]:
    """Return absolute paths by data set, from ``cifar10=PATH`` pairs over the configuration.

    A path is a folder (with the published archive or Parquet files) or an archive; an archive of
    the user's own is followed by ``#md5=HEX`` (see :func:`resbench.data.sources.identify`).
    The configuration is a TOML file with a ``[data]`` table, its paths relative to the file's own
    folder: ``config``, else ``RESBENCH_CONFIG``, else ``config.toml`` in the user's configuration
    folder, where alone it may be absent. Every problem is reported at once, as one UsageError.
    """
    problems: list[str] = []
    locations = _configured(config, problems)
    given: dict[str, Path] = {}
    for pair in pairs:
        place = f"--data '{pair}'"
        name, equals, path = pair.partition("=")
        if not equals:
            problems.append(f"{place}: expected NAME=PATH, for instance cifar10=FOLDER.")
        elif name in given:
            problems.append(f"{place}: {name} is given twice.")
        elif _is_valid(place, name, path, problems):
            given[name] = _absolute(Path.cwd(), path)
    if problems:
        raise UsageError("\n".join(problems))
    return locations | given


def _configured(config: Path | None, problems: list[str]) -> dict[str, Path]:
    import platformdirs

    named = config or os.environ.get("RESBENCH_CONFIG")
    path = Path(named or platformdirs.user_config_path("resbench") / "config.toml")
    if not named and not path.exists():
        return {}
    import tomllib

    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(f"{path}: cannot be read: {error.strerror}.")
        return {}
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        problems.append(f"{path}: not valid TOML: {error}.")
        return {}
    table = content.get("data", {})
    if not isinstance(table, dict):
        problems.append(f"{path}: 'data' is not a table; write [data] above the locations.")
        return {}
    return {
        name: _absolute(path.absolute().parent, value)
        for name, value in table.items()
        if _is_valid(f"{path}: [data] {name}", name, value, problems)
    }


def _is_valid(place: str, name: str, value: object, problems: list[str]) -> bool:
    """Append what is wrong with one location, if anything."""
    try:
        published_archive(name)
    except UsageError as error:
        problems.append(f"{place}: {error}")
        return False
    if not isinstance(value, str) or not value or "\0" in value:
        problems.append(f"{place}: expected a path, got {value!r}.")
        return False
    try:
        Path(value).expanduser()
    except RuntimeError as error:  # ~someone without a home folder
        problems.append(f"{place}: {error}")
        return False
    return True


def _absolute(base: Path, value: str) -> Path:
    return Path(os.path.abspath(base / Path(value).expanduser()))
