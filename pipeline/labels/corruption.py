"""Reads a noise spec (`symmetric:0.5`, `file:list.csv,numbering=one`) and applies it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cache.errors import InputError
from pipeline.choices import catalogue
from pipeline.choices.values import parse_value

if TYPE_CHECKING:
    from pipeline.noise._subject import Corrupted, Subject

_EXAMPLES = {"rate": "0.4", "path": "FILE"}


@dataclass(frozen=True)
class NoiseSpec:
    """A noise model's name and its options, checked against the catalogue."""

    name: str
    options: dict[str, catalogue.Value]

    @classmethod
    def parse(cls, text: str) -> NoiseSpec:
        """Read `NAME:RATE[,key=value...]` or `NAME:PATH[,key=value...]`.

        A path may hold commas. No file is looked at yet.

        Raises:
            InputError: the text does not fit.
        """
        name, _, rest = text.partition(":")
        entry = catalogue.find("noise", name)
        main = _main(entry)
        options: dict[str, catalogue.Value] = {}
        for at, part in enumerate(filter(None, _parts(rest, entry))):
            key, is_named, value = part.partition("=")
            if at == 0 and main == "path" and key not in entry.options:
                key, is_named, value = main, "=", part
            if not is_named and at > 0:
                raise InputError(f"noise {text!r}: {part!r} is not of the form key=value")
            key, value = (key, value) if is_named else (main, part)
            is_text = key in entry.options and "str" in entry.options[key].annotation
            options[key] = value if is_text else parse_value(value)
        entry.check(options)
        if main not in options:
            example = f"{name}:{_EXAMPLES[main]}"
            raise InputError(f"noise {text!r} has no {main}: expected for example {example}")
        return cls(name, options)

    @property
    def rate(self) -> float | None:
        """The share of labels that it makes wrong, in [0, 1]; None where a file decides it."""
        return float(self.options["rate"] or 0) if "rate" in self.options else None

    def __str__(self) -> str:
        """Write the spec as it can be given again."""
        main = _main(catalogue.find("noise", self.name))
        rest = [f"{key}={_written(value)}" for key, value in self.options.items() if key != main]
        return ",".join([f"{self.name}:{self.options[main]}", *rest])

    def apply(self, subject: Subject, seed: int) -> Corrupted:
        """Corrupt labels with a generator of this noise's own, from the seed.

        Raises:
            InputError: the rows lack what the noise needs, or its file cannot be used.
        """
        import numpy as np

        generator = np.random.default_rng([seed, 0x6E6F697365])  # "noise": a stream of its own
        module = catalogue.find("noise", self.name).load()
        corrupted: Corrupted = module.corrupt(subject, generator, **self.options)
        return corrupted


def _main(entry: catalogue.Entry) -> str:
    """Name the option behind the colon: the one without a default."""
    return next(name for name, option in entry.options.items() if option.is_required)


def _parts(rest: str, entry: catalogue.Entry) -> list[str]:
    """Split options at commas; in a path only where a known option follows."""
    if _main(entry) != "path":
        return rest.split(",")
    return re.split(rf",(?=(?:{'|'.join(entry.options)})=)", rest)


def _written(value: catalogue.Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
