"""From result files to judged tables: values and verdicts, without a page, a format or torch."""
