"""The paper's tables: rows trained, generated and judged at equal data, steps and seeds, beside its figures.

A table is a YAML of rows, each the change of a config; a scale is a YAML of what all rows share. Everything
can be stopped and goes on where it was.
"""
