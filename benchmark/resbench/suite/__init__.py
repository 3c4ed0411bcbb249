"""Suites: strict YAML files, their schema, expansion into runs, and run identity."""
