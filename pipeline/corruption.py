"""Reads a noise spec (`symmetric:0.5`, `symmetric:0.5,mode=independent`) and applies it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache.errors import InputError
from pipeline.choices import catalogue
from pipeline.choices.values import parse_value


@dataclass(frozen=True)
class NoiseSpec:
    """A noise model's name and its options, checked against the catalogue."""

    name: str
    options: dict[str, catalogue.Value]

    @classmethod
    def parse(cls, text: str) -> NoiseSpec:
        """Reads `NAME:RATE[,key=value...]`; raises InputError where it does not fit."""
        name, _, rest = text.partition(":")
        entry = catalogue.find("noise", name)
        options: dict[str, catalogue.Value] = {}
        for at, part in enumerate(filter(None, rest.split(","))):
            key, is_named, value = part.partition("=")
            if not is_named and at > 0:
                raise InputError(f"noise {text!r}: {part!r} is not of the form key=value")
            options[key if is_named else "rate"] = parse_value(value if is_named else part)
        entry.check(options)
        if "rate" not in options:
            raise InputError(f"noise {text!r} has no rate: expected for example {name}:0.4")
        return cls(name, options)

    @property
    def rate(self) -> float:
        """The share of labels that it makes wrong, in [0, 1]."""
        return float(self.options["rate"] or 0)

    def __str__(self) -> str:
        """Writes the spec as it can be given again."""
        rest = [f"{key}={value}" for key, value in self.options.items() if key != "rate"]
        return ",".join([f"{self.name}:{self.options['rate']}", *rest])

    def apply(self, labels: NDArray[np.int64], num_classes: int, seed: int) -> NDArray[np.int64]:
        """Corrupts (N,) labels with a generator of this noise's own, from the seed."""
        generator = np.random.default_rng([seed, 0x6E6F697365])  # "noise": a stream of its own
        corrupted = (
            catalogue.find("noise", self.name)
            .load()
            .corrupt(labels, num_classes, generator, **self.options)
        )
        return np.asarray(corrupted, dtype=np.int64)
