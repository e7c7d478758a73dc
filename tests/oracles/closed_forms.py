"""Closed forms as their docstrings say, by loops over rows and SciPy's eigenvectors in float64.

Each gives rows in a space of its own rotation: cosines between rows are what can be compared.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

Matrix = NDArray[np.float64]
Part = tuple[int, int, float]  # a row, a class that it belongs to, and with how much of itself


class Moments(NamedTuple):
    """Total covariance, weighted covariance within classes, weighted means less the mean row."""

    total: Matrix
    within: Matrix
    means: Matrix


def moments(rows: Matrix, parts: list[Part]) -> Moments:
    """Measure rows (N, F) as members of classes."""
    mean = sum(rows) / len(rows)
    total = sum(np.outer(row - mean, row - mean) for row in rows) / len(rows)
    mass: dict[int, float] = {}
    sums: dict[int, Matrix] = {}
    for row, label, weight in parts:
        mass[label] = mass.get(label, 0.0) + weight
        sums[label] = sums.get(label, 0 * mean) + weight * rows[row]
    means = {label: sums[label] / mass[label] for label in sorted(mass) if mass[label] > 0}
    within = np.zeros_like(total)
    for row, label, weight in parts:
        if weight > 0:
            difference = rows[row] - means[label]
            within += weight * np.outer(difference, difference)
    within /= sum(mass.values())
    return Moments(total, within, np.array([each - mean for each in means.values()]))


def shrunk(matrix: Matrix, shrinkage: float) -> Matrix:
    """(1 - s) S + s tr(S)/F I."""
    width = len(matrix)
    return (1 - shrinkage) * matrix + shrinkage * np.trace(matrix) / width * np.eye(width)


def power_of(matrix: Matrix, power: float) -> Matrix:
    """A symmetric positive matrix to a power."""
    values, vectors = eigh(matrix)
    return sum(v**power * np.outer(u, u) for v, u in zip(values, vectors.T, strict=True))


def whiten(found: Moments, dim: int, shrinkage: float) -> Matrix:
    values, vectors = eigh(found.total)
    order, usual = np.argsort(-values)[:dim], sum(values) / len(values)
    moved = (1 - shrinkage) * values + shrinkage * usual
    return np.stack([vectors[:, at] / moved[at] ** 0.5 for at in order], axis=1)


def within_class_whiten(found: Moments, dim: int, shrinkage: float) -> Matrix:
    """Of W_s^(-1/2) x, kept are the directions of largest variance there."""
    root = power_of(shrunk(found.within, shrinkage), -0.5)
    values, vectors = eigh(root @ found.total @ root)
    return root @ vectors[:, np.argsort(-values)[:dim]]


def reliability(found: Moments, dim: int, shrinkage: float, strength: float) -> Matrix:
    """Of T v = r W_s v; v' W_s v = 1."""
    ratios, vectors = eigh(found.total, shrunk(found.within, shrinkage))
    columns = []
    for at in np.argsort(-ratios)[:dim]:
        between = max(ratios[at] - 1, 0)
        columns.append(vectors[:, at] * (between / (between + strength)) ** 0.5)
    return np.stack(columns, axis=1)


def _scatter(means: Matrix) -> Matrix:
    """Every class counts alike."""
    middle = sum(means) / len(means)
    return sum(np.outer(each - middle, each - middle) for each in means) / len(means)


def discriminant(found: Moments, dim: int, shrinkage: float, damping: float) -> Matrix:
    root = power_of(shrunk(found.within, shrinkage), -0.5)
    values, vectors = eigh(root @ _scatter(found.means) @ root)
    order = np.argsort(-values)[: min(len(found.means) - 1, len(root))]
    usual = sum(values[order]) / len(order)
    columns = [
        (values[at] / (values[at] + damping * usual)) ** 0.5 * vectors[:, at] for at in order
    ]
    return root @ np.stack(columns[:dim], axis=1)


def metric(found: Moments, dim: int, shrinkage: float, strength: float) -> Matrix:
    """Within the `dim` directions that `within-class-whiten` keeps."""
    basis = within_class_whiten(found, dim, shrinkage)
    scatter = basis.T @ _scatter(found.means) @ basis
    usual = np.trace(scatter) / min(len(found.means) - 1, len(scatter))
    return basis @ power_of(np.eye(len(scatter)) + strength * scatter / usual, 0.5)


FORMS = {
    "whiten": whiten,
    "within-class-whiten": within_class_whiten,
    "reliability": reliability,
    "discriminant": discriminant,
    "metric": metric,
}


def cosines(rows: Matrix) -> Matrix:
    """Between all rows (N, D)."""
    units = np.array([row / np.linalg.norm(row) for row in rows])
    return units @ units.T
