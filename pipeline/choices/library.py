"""Losses of pytorch-metric-learning by their class names: `pml:TripletMarginLoss`.

The library is an optional extra. It is imported only for such a name, and torch with it. What a
class can be set is read from its constructor and those that it passes its keywords on to.
"""

from __future__ import annotations

import inspect
from types import MappingProxyType, ModuleType
from typing import Any

from cache.errors import InputError
from pipeline.choices import catalogue
from pipeline.choices.catalogue import Entry, Option

PREFIX = "pml:"
_FILLED_IN = frozenset({"num_classes", "embedding_size"})
_OBJECTS = frozenset(
    {"distance", "reducer", "embedding_regularizer", "weight_regularizer", "weight_init_func"}
)
_WRAPPER = "it wraps other losses, which cannot be typed"
_UNUSABLE = MappingProxyType(
    {
        "BaseMetricLossFunction": "it is a base of losses, not one",
        "CrossBatchMemory": f"{_WRAPPER}: use --loss memory-contrastive",
        "DynamicSoftMarginLoss": "it keeps figures between batches that a run could not save",
        "GenericPairLoss": "it is a base of losses, not one",
        "HistogramLoss": "it indexes tensors in a way that torch says will change its meaning",
        "InstanceLoss": "it takes a row's class for a row number of the batch",
        "ManifoldLoss": "it takes no labels",
        "MultipleLosses": _WRAPPER,
        "P2SGradLoss": "it overwrites its own parameters in every step",
        "SelfSupervisedLoss": f"{_WRAPPER}, and takes no labels",
        "SmoothAPLoss": "it needs equally many rows of every class in every batch",
        "VICRegLoss": "it compares two views of an image and takes no labels",
    }
)


def is_member(name: str) -> bool:
    """Tell whether a loss is named as one of the library."""
    return name.startswith(PREFIX)


def find_loss(name: str) -> Entry:
    """Find a loss by name, of this project or of the library.

    An entry of the library has nothing to `load`: see `pipeline.losses._library.bind`.

    Raises:
        InputError: the name is unknown, the library is not installed, or the class cannot be used.
    """
    if not is_member(name):
        return catalogue.find("losses", name)
    keywords = keywords_of(loss_class(name))
    options = {
        key: _option(keyword)
        for key, keyword in keywords.items()
        if key not in _FILLED_IN | _OBJECTS
    }
    return Entry("losses", name, f"{name} of the library.", options, objects=_OBJECTS)


def loss_class(name: str) -> type[Any]:
    """Find the class behind a name; raises InputError as `find_loss` does."""
    module = _losses()
    base, member = module.BaseMetricLossFunction, name.removeprefix(PREFIX)
    if member in _UNUSABLE:
        raise InputError(f"{name} cannot be used here: {_UNUSABLE[member]}")
    known = {
        key: value
        for key, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, base) and key not in _UNUSABLE
    }
    if not member:
        raise InputError(f"{PREFIX} needs a class: {PREFIX}NAME with one of {', '.join(known)}")
    if member not in known:
        raise catalogue.unknown("loss of pytorch-metric-learning", member, known)
    found: type[Any] = known[member]
    return found


def keywords_of(loss: type[Any]) -> dict[str, inspect.Parameter]:
    """Collect what a class's constructor takes, bases of all losses left out."""
    base = _losses().BaseMetricLossFunction
    found: dict[str, inspect.Parameter] = {}
    for each in loss.__mro__:
        is_loss = issubclass(each, base) and each.__name__ not in _UNUSABLE
        if is_loss and "__init__" in vars(each):
            for name, parameter in list(inspect.signature(each).parameters.items()):
                if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                    found.setdefault(name, parameter)
    return found


def _option(parameter: inspect.Parameter) -> Option:
    """Read an option from its default: a truth value, a number, or either a number or a word."""
    is_required = parameter.default is parameter.empty
    default = None if is_required else parameter.default
    is_number = isinstance(default, int | float)
    words = "bool" if isinstance(default, bool) else "float" if is_number else "float | str"
    return catalogue.parse_option(parameter.name, words, default, is_required=is_required)


def _losses() -> ModuleType:
    try:
        from pytorch_metric_learning import losses
    except ImportError as error:
        raise InputError(
            "pytorch-metric-learning is not installed: get it with `pip install 'dml[pml]'` or "
            "`uv sync --extra pml`"
        ) from error
    module: ModuleType = losses
    return module
