"""How a transform is written: `power:0.5,centre,whiten:ledoit-wolf,pca:256`; costs no torch.

The steps always follow each other in this order, and each stands there at most once:

- `power:P`: sign(x) |x|^P of every value, P above 0 and at most 1.
- `centre` or `standardise`, one of which is always there: the training mean goes, and the values
  are divided by one scale for all features, or by each feature's own deviation.
- `whiten:S`: the training rows' covariance becomes the identity, after it was moved by the share S
  in [0, 1] towards a multiple of the identity; `whiten:ledoit-wolf` estimates the share.
- `pca:K`: only the K directions of the largest variance stay.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NoReturn

from cache.errors import InputError

LEDOIT_WOLF = "ledoit-wolf"
_PLACES = {"power": 0, "centre": 1, "standardise": 1, "whiten": 2, "pca": 3}
_FORM = "[power:P,]centre or standardise[,whiten:S][,pca:K]"
_EXAMPLE = "power:0.5,centre,whiten:0.2"


@dataclass(frozen=True)
class Chain:
    """The steps of a transform.

    Attributes:
        power: P in (0, 1]; None = values stay as they are.
        is_standardised: whether every feature is divided by its own deviation.
        whiten: the share S in [0, 1], or "ledoit-wolf"; None = no whitening.
        pca: K, at least 1; None = all directions.
    """

    power: float | None = None
    is_standardised: bool = False
    whiten: float | str | None = None
    pca: int | None = None

    @classmethod
    def parse(cls, text: str) -> Chain:
        """Read a chain as users write it.

        Raises:
            InputError: a step is unknown, out of place or has another value than it can have.
        """
        steps = [step.strip() for step in text.split(",")]
        names = [step.partition(":")[0] for step in steps]
        for name in names:
            if name not in _PLACES:
                _refuse(text, f"{name!r} is no step")
        places = [_PLACES[name] for name in names]
        if places != sorted(set(places)):
            _refuse(text, "its steps are not in this order, each once")
        if 1 not in places:
            _refuse(text, "it has neither centre nor standardise")
        if not {"centre", "standardise"} & set(steps):
            _refuse(text, "centre and standardise take no value")
        values = {name: step.partition(":")[2] for name, step in zip(names, steps, strict=True)}
        return cls(
            power=_power(text, values.get("power")),
            is_standardised="standardise" in values,
            whiten=_share(text, values.get("whiten")),
            pca=_count(text, values.get("pca")),
        )

    def __str__(self) -> str:
        """Write the chain, equal for equal chains."""
        steps = [
            None if self.power is None else f"power:{_written(self.power)}",
            "standardise" if self.is_standardised else "centre",
            None if self.whiten is None else f"whiten:{_written(self.whiten)}",
            None if self.pca is None else f"pca:{self.pca}",
        ]
        return ",".join(step for step in steps if step is not None)

    def described(self) -> list[str]:
        """Say each step in words."""
        scale = "their deviations" if self.is_standardised else "their common scale"
        steps = [
            "" if self.power is None else f"the power {_written(self.power)} of the values' sizes",
            f"centring by the training features' mean, division by {scale}",
            "" if self.whiten is None else f"whitening, shrinkage {_written(self.whiten)}",
            "" if self.pca is None else f"reduction to {self.pca} principal directions",
        ]
        return [step for step in steps if step]

    @property
    def has_matrix(self) -> bool:
        """Whether it ends in a product with a matrix."""
        return self.whiten is not None or self.pca is not None

    def width(self, num_features: int) -> int:
        """Count the features F' that it makes of F.

        Raises:
            InputError: it should keep more than there are.
        """
        if self.pca is not None and self.pca > num_features:
            raise InputError(
                f"transform {str(self)!r} keeps {self.pca:,} directions of {num_features:,} "
                f"features: expected pca:K with K of at most {num_features}"
            )
        return num_features if self.pca is None else self.pca


def split_chains(text: str) -> list[str]:
    """Take chains apart that are separated by commas like their steps.

    A step that cannot follow the one before it begins the next chain.
    """
    chains: list[list[str]] = []
    last = math.inf
    for step in text.split(","):
        place = _PLACES.get(step.strip().partition(":")[0], math.inf)
        if place <= last:
            chains.append([])
        chains[-1].append(step.strip())
        last = place
    return [",".join(chain) for chain in chains]


def _power(text: str, value: str | None) -> float | None:
    if value is None:
        return None
    found = _number(value)
    if not 0 < found <= 1:
        _refuse(text, f"power:{value} is not above 0 and at most 1")
    return found


def _share(text: str, value: str | None) -> float | str | None:
    if value is None or value == LEDOIT_WOLF:
        return value
    found = _number(value)
    if not 0 <= found <= 1:
        _refuse(text, f"whiten:{value} is neither from 0 to 1 nor {LEDOIT_WOLF}")
    return found


def _count(text: str, value: str | None) -> int | None:
    if value is None:
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,8}", value):
        _refuse(text, f"pca:{value} is no whole number of at least 1")
    return int(value)


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return math.nan


def _written(value: float | str) -> str:
    return value if isinstance(value, str) else repr(value).removesuffix(".0")


def _refuse(text: str, reason: str) -> NoReturn:
    raise InputError(f"transform {text!r}: {reason}; expected {_FORM}, for example {_EXAMPLE}")
