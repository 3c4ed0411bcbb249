"""The rows behind a document under one header; lists are joined by spaces."""

from __future__ import annotations

import csv
import io

from resbench.report.document import Document


def render(document: Document) -> str:
    """Return the rows below their header; nothing for a document that has neither."""
    file = io.StringIO()
    if header := list(document.rows[0] if document.rows else document.columns):
        writer = csv.DictWriter(file, header, lineterminator="\n")
        writer.writeheader()
        for row in document.rows:
            writer.writerow({name: _joined(value) for name, value in row.items()})
    return file.getvalue()


def _joined(value: object) -> object:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value
