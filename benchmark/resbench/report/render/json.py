"""The judged types behind a document, field by field; what is unknown or unbounded is null."""

from __future__ import annotations

import json

import msgspec

from resbench.report.document import Document


def render(document: Document) -> str:
    """Return everything, in ASCII; ``schema`` counts up when a field changes or goes away."""
    # msgspec knows the types and turns infinity into null; json escapes what a terminal acts on
    return json.dumps(msgspec.json.decode(msgspec.json.encode(document.data)), indent=1) + "\n"
