"""From result files to judged tables: values and verdicts, without a page, a format or torch."""

SCHEMA = 8
"""Of every ``--format json``: counts up when a field changes. A test compares all of them."""
