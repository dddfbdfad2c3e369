"""Side-by-side measurements: each prints a table, and with `--json` writes {machine, versions, rows, ratios}."""
