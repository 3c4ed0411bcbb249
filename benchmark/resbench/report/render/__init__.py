"""One renderer per format, each a function from a page to text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping

from resbench.report.document import Page


def _markdown(page: Page) -> str:
    """Return GitHub Markdown."""
    from resbench.report.render.markdown import markdown

    return markdown(page.blocks)


def _rich(page: Page) -> str:
    """Return the page for a terminal, in colour where standard output shows it."""
    from resbench.report.render.terminal import terminal

    return terminal(page.blocks)


def _json(page: Page) -> str:
    """Return everything; ``schema`` counts up when a field changes its meaning or goes away."""
    return json.dumps(page.data, indent=1, allow_nan=False) + "\n"


def _csv(page: Page) -> str:
    """Return the page's rows under one header; lists are joined by spaces."""
    file = io.StringIO()
    if page.rows:
        writer = csv.DictWriter(file, list(page.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {
                name: " ".join(map(str, value)) if isinstance(value, list | tuple) else value
                for name, value in row.items()
            }
            for row in page.rows
        )
    return file.getvalue()


RENDERERS: Mapping[str, Callable[[Page], str]] = {
    "rich": _rich,
    "markdown": _markdown,
    "csv": _csv,
    "json": _json,
}
