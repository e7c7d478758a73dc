"""Proxy losses in plain loops: float64, one row and one proxy at a time, with naive exponentials.

A row's weight multiplies its exponentials inside the logarithms.
"""

from __future__ import annotations

from math import exp, log

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def cosine(embedding: Array, proxy: Array) -> float:
    return float(embedding @ proxy) / float(np.sqrt(embedding @ embedding * (proxy @ proxy)))


def proxy_anchor(
    embeddings: Array,
    labels: NDArray[np.int64],
    weights: Array,
    proxies: Array,
    scale: float,
    margin: float,
) -> float:
    """1/|P+| sum_{P+} log(1 + sum_{X+} w exp(-scale (s - margin)))
    + 1/C sum_p log(1 + sum_{X-} w exp(scale (s + margin)))."""
    attraction, repulsion, num_positive = 0.0, 0.0, 0
    for p, proxy in enumerate(proxies):
        has_positive, near, far = False, 0.0, 0.0
        for embedding, label, weight in zip(embeddings, labels, weights, strict=True):
            s = cosine(embedding, proxy)
            if label == p:
                has_positive = has_positive or weight > 0
                near += weight * exp(-scale * (s - margin))
            else:
                far += weight * exp(scale * (s + margin))
        num_positive += has_positive
        attraction += log(1 + near)
        repulsion += log(1 + far)
    return attraction / max(num_positive, 1) + repulsion / len(proxies)


def smooth(confidence: float, position: float, sharpness: float) -> float:
    """phi(c) = 1 / (1 + exp(-sharpness (c - position)))."""
    return 1 / (1 + exp(-sharpness * (confidence - position)))


def smooth_proxy_anchor(
    embeddings: Array,
    confidences: Array,
    weights: Array,
    proxies: Array,
    scale: float,
    margin: float,
    position: float,
    sharpness: float,
    weighting: str,
    unassigned: str,
) -> float:
    """Proxy-Anchor with X_p+ = {x : c_p(x) >= position}, X_p- = the rest, the exponentials weighted
    by phi(c) and 1 - phi(c) ("inside") or by 1 ("none")."""
    attraction, repulsion, num_positive = 0.0, 0.0, 0
    for p, proxy in enumerate(proxies):
        has_positive, near, far = False, 0.0, 0.0
        for embedding, row, weight in zip(embeddings, confidences, weights, strict=True):
            if unassigned == "ignore" and all(c < position for c in row):
                continue
            s, phi = cosine(embedding, proxy), smooth(row[p], position, sharpness)
            if row[p] >= position:
                has_positive = has_positive or weight > 0
                near += weight * (phi if weighting == "inside" else 1) * exp(-scale * (s - margin))
            else:
                far += (
                    weight * (1 - phi if weighting == "inside" else 1) * exp(scale * (s + margin))
                )
        num_positive += has_positive
        attraction += log(1 + near)
        repulsion += log(1 + far)
    return attraction / max(num_positive, 1) + repulsion / len(proxies)
