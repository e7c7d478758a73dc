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


def members(row: Array, label: int, position: float, positives: str) -> list[int]:
    """The classes that a row with these confidences (C,) is a member of."""
    sure = [p for p, c in enumerate(row) if c >= position]
    if positives == "argmax":
        return [int(row.argmax())] if row.max() > 0 else []
    if positives == "given-and-threshold":
        return [p for p in sure if p == label]
    return sure


def smooth_proxy_anchor(
    embeddings: Array,
    labels: NDArray[np.int64],
    confidences: Array,
    weights: Array,
    proxies: Array,
    *,
    scale: float,
    margin: float,
    position: float,
    sharpness: float,
    weighting: str = "inside",
    negative_weight: str = "one-minus",
    positives: str = "threshold",
    unassigned: str = "ignore",
) -> float:
    """Proxy-Anchor with members by confidence; phi(c) on members and 1 - phi(c) or 1 on others
    multiply the exponentials ("inside"), their exponents ("exponent"), or nothing."""
    num_classes = len(proxies)
    near, far = [0.0] * num_classes, [0.0] * num_classes
    has_positive = [False] * num_classes
    for embedding, label, row, weight in zip(embeddings, labels, confidences, weights, strict=True):
        own = members(row, int(label), position, positives)
        if not own and unassigned == "fallback-argmax":
            own = members(row, int(label), position, "argmax")
        if not own and unassigned == "fallback-given":
            own = [int(label)]
        if weight == 0 or (not own and unassigned != "negative"):
            continue
        for p, proxy in enumerate(proxies):
            s, phi = cosine(embedding, proxy), smooth(row[p], position, sharpness)
            rest = 1 - phi if negative_weight == "one-minus" else 1.0
            trust = phi if p in own else rest
            inside = trust if weighting == "inside" else 1.0
            sharp = scale * trust if weighting == "exponent" else scale
            if p in own:
                has_positive[p] = True
                near[p] += weight * inside * exp(-sharp * (s - margin))
            else:
                far[p] += weight * inside * exp(sharp * (s + margin))
    attraction = sum(log(1 + each) for each in near) / max(sum(has_positive), 1)
    return attraction + sum(log(1 + each) for each in far) / num_classes
