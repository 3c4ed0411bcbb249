"""Spread, tests, power and verdicts: pure functions over errors and predictions, numbers only.

The method, its sources, its limits and how often each verdict is wrong: docs/statistics.md.
"""
