"""The paper's tables: rows trained, generated and evaluated alike, beside the paper's figures.

All rows of a table share data, steps and seeds. A table is a YAML file of rows, each a change of a config; a
scale is a YAML file of what all rows share. Everything can be interrupted and continues where it stopped.
"""
