"""What transforms are, by plain loops in float64."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]


def raised(rows: Rows, power: float) -> Rows:
    """sign(x) |x|^p, value by value."""
    out = np.empty_like(rows)
    for at in np.ndindex(*rows.shape):
        out[at] = np.sign(rows[at]) * abs(rows[at]) ** power
    return out


def centred(rows: Rows, *, is_standardised: bool = False) -> Rows:
    """Less the mean of each column, over the root of its own or of the mean variance."""
    columns = [[x - sum(column) / len(column) for x in column] for column in rows.T]
    variances = [sum(x * x for x in column) / len(column) for column in columns]
    if not is_standardised:
        variances = [sum(variances) / len(variances)] * len(variances)
    pairs = zip(columns, variances, strict=True)
    return np.array([[x / v**0.5 for x in column] for column, v in pairs]).T


def covariance(rows: Rows) -> Rows:
    """The mean of z z' over centred rows."""
    width = rows.shape[1]
    out = np.zeros((width, width))
    for row, i, j in product(rows, range(width), range(width)):
        out[i, j] += row[i] * row[j] / len(rows)
    return out


def whitened(rows: Rows, share: float) -> Rows:
    """Times S^(-1/2), S the shrunk covariance: the same as whitening by PCA but for a rotation."""
    matrix = covariance(rows)
    mean = sum(matrix[i, i] for i in range(len(matrix))) / len(matrix)
    shrunk = (1 - share) * matrix + share * mean * np.eye(len(matrix))
    values, vectors = np.linalg.eigh(shrunk)
    root = sum(np.outer(v, v) / x**0.5 for x, v in zip(values, vectors.T, strict=True))
    return rows @ root


def of_unit_square(rows: Rows) -> Rows:
    """Scaled to a mean square of 1."""
    return rows / np.sqrt(np.mean(np.square(rows)))
