"""The command line: one small module per verb, imported when the verb is used."""
