"""Closed forms: linear heads that are computed, not trained. One file each, found by its name.

A closed-form module defines

- `fit(statistics, dim, *, option=default, ...) -> Tensor`: the head's weight (F, D), D at most
  `dim`, from what `Statistics` knows of all training rows.

The rows count by the weights of any selection. The keyword-only arguments are the options
(`--set loss.shrinkage=0.1`), each number with its range; the docstring's first line is what `dml
list losses` prints. No loop over rows: the statistics are gathered in one pass over the features,
in memory or from the disk. Files that start with `_` are shared mathematics.
"""
