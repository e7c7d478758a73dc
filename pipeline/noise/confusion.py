"""Confusion noise: labels turn wrong by any transition matrix, read from a file.

P_kj = p(given label j | label k) stands in row k and column j. The classes are in the order of
their names: whole numbers by value, then all other names by their characters (`dml noise describe`
lists them). Each row draws its new label on its own, so the realised rate varies with the seed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache.errors import InputError
from pipeline.noise._subject import Corrupted, Subject

_ROUNDING = 1e-4  # of a row's sum: matrices are often printed with few digits


def corrupt(subject: Subject, generator: np.random.Generator, *, path: str) -> Corrupted:
    """Draw new labels; the nominal rate is the share that the matrix turns wrong on average.

    Args:
        subject: N rows of C classes.
        generator: draws the labels.
        path: a .npy or .csv file with C rows of C numbers in [0, 1]; each row sums to 1.

    Raises:
        InputError: the file cannot be read or holds no such matrix.
    """
    matrix = _read(Path(path))
    num_classes = len(subject.classes)
    if matrix.shape != (num_classes, num_classes):
        raise InputError(
            f"{path} holds numbers of the shape {' x '.join(map(str, matrix.shape))}: expected "
            f"{num_classes} x {num_classes}, one row and one column for each training class"
        )
    if not ((matrix >= 0) & (matrix <= 1)).all():  # refuses NaN too
        raise InputError(f"{path} holds a number outside 0 to 1: expected probabilities")
    sums = matrix.sum(axis=1)
    if (bad := np.flatnonzero(abs(sums - 1) > _ROUNDING)).size:
        raise InputError(f"row {bad[0] + 1} of {path} sums to {sums[bad[0]]:.6g}: expected 1")
    noisy = subject.labels.copy()
    for label in range(num_classes):
        rows = np.flatnonzero(subject.labels == label)
        noisy[rows] = generator.choice(num_classes, len(rows), p=matrix[label] / sums[label])
    wrong = 1 - matrix.diagonal()[subject.labels]
    return Corrupted(noisy, subject.classes, float(wrong.mean()))


def _read(path: Path) -> NDArray[np.float64]:
    if path.suffix.lower() not in (".npy", ".csv"):
        raise InputError(f"{path} is no transition matrix: expected a .npy or .csv file")
    if not path.is_file():
        raise InputError(f"there is no transition matrix {path}: expected a .npy or .csv file")
    try:
        if path.suffix.lower() == ".npy":
            return np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
        return np.loadtxt(path, delimiter=",", ndmin=2)
    except (OSError, ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"cannot read the matrix {path} ({reason}): give a file of numbers") from (
            error
        )
