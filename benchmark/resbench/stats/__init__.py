"""Intervals, paired tests, power and verdicts: pure functions over errors and predictions.

The method, its sources and its limits are in docs/statistics.md. scipy is imported by the functions
that need it.
"""
