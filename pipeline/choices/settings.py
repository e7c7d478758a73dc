"""Everything that decides a training run, as one value that can be written down and read back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cache.errors import InputError
from pipeline.choices import catalogue, checks, library, starts
from pipeline.choices.catalogue import Value
from pipeline.choices.recipes import AUTO, Recipe, recipe
from pipeline.choices.values import parse_value
from pipeline.labels.corruption import NoiseSpec
from pipeline.program.seeds import Seeds
from pipeline.transforms.chain import Chain

# Fields that may differ between the runs of one program.
_OF_A_RUN = {
    *("seed", "sampling_seed", "noise_seed", "noise"),
    *("start", "lr", "proxy_lr", "weight_decay", "dropout", "feature_noise"),
}
CONFIG_FILE = "config.json"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What was asked for. None leaves a choice to the loss, the selection or the store.

    The types say what `check` accepts; they are read as the catalogue reads those of an option.

    Attributes:
        loss: a recipe or a loss.
        selection: a selection; None = the recipe's.
        labels: a file of corrected labels, see `pipeline.labels.corrected`, which take the place
            of the given ones before any noise; None = the manifest's.
        noise: a noise spec such as "symmetric:0.5"; None = labels as given.
        transform: what is done to features before the head, see `pipeline.transforms.chain`; None =
            the recipe's.
        start: where a head that is trained begins: "random", "pca" (principal directions), or a
            closed form; see `pipeline.training.starting`.
        head: which head is trained: "linear", "residual" or "mlp", see `pipeline.program.heads`.
        hidden: width of its hidden layer.
        dropout: share of the features that a step leaves out, see `pipeline.program.disturbance`.
        feature_noise: deviation of normal noise on features in a step, in units of their own.
        features: which of the store's features, for example "max" or "avg@mean" (the mean over a
            picture and its views); None = the first.
        views: "random" = a step sees one of the stored pictures of each row, the plain one or a
            view of it, drawn anew each time; None = the chosen features.
        protocol: "query-gallery" or "class-disjoint"; None = what the store's splits suggest.
        epochs: passes over the training rows.
        batch_size: rows per step; None = the loss's.
        rows_per_class: K of the balanced sampler.
        dim: embedding dimension.
        lr: peak learning rate of the head; falls to 0 along a cosine.
        proxy_lr: peak learning rate of the loss's own parameters; the same cosine.
        weight_decay: of the head; the loss's parameters have none.
        bank: "full" (all rows, embedded anew each epoch) or "queue", for losses with a memory; None
            = what the selection asks for.
        bank_size: slots of the queue; None = number of training rows.
        seed: of start, sampling and noise, which each have a stream of their own.
        sampling_seed: of the batches; None = `seed`.
        noise_seed: of the noise; None = `seed`.
        validation: which training rows are held out to find the best epoch, see
            `pipeline.training.validation`; None = none, all of them train.
        folds: the share held out is 1 / folds, for "classes" and "rows".
        fold: which fold is held out, from 0.
        validate_every: epochs between two looks at the validation rows.
        patience: looks without a better one after which training stops; None = it goes on.
        budget: seconds that "auto" may take to choose; 0 = it takes its reference untried.
        options: "loss.KEY" or "select.KEY" -> value.
    """

    loss: str = AUTO
    selection: str | None = None
    labels: str | None = None
    noise: str | None = None
    transform: str | None = None
    start: str = starts.RANDOM
    head: Literal["linear", "residual", "mlp"] = "linear"
    hidden: Annotated[int, "at least 1"] = checks.HIDDEN
    dropout: Annotated[float, "at least 0, below 1"] = 0.0
    feature_noise: Annotated[float, "at least 0"] = 0.0
    features: str | None = None
    views: Literal["random"] | None = None
    protocol: Literal["query-gallery", "class-disjoint"] | None = None
    epochs: Annotated[int, "at least 1"] = 40
    batch_size: Annotated[int, "at least 1"] | None = None
    rows_per_class: Annotated[int, "at least 1"] = 4
    dim: Annotated[int, "at least 1"] = 512
    lr: Annotated[float, "above 0"] = 3e-3
    proxy_lr: Annotated[float, "above 0"] = 1e-2
    weight_decay: Annotated[float, "at least 0"] = 1e-4
    bank: Literal["full", "queue"] | None = None
    bank_size: Annotated[int, "at least 1"] | None = None
    seed: Annotated[int, "at least 0, at most 4294967295"] = 0
    sampling_seed: Annotated[int, "at least 0, at most 4294967295"] | None = None
    noise_seed: Annotated[int, "at least 0, at most 4294967295"] | None = None
    validation: Literal["classes", "rows", "split"] | None = None
    folds: Annotated[int, "at least 2"] = 5
    fold: Annotated[int, "at least 0"] = 0
    validate_every: Annotated[int, "at least 1"] = 1
    patience: Annotated[int, "at least 1"] | None = None
    budget: Annotated[float, "at least 0"] = 30.0
    options: Mapping[str, Value] = field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        """The recipe with the selection and the transform that may take the place of its own."""
        found = recipe(self.loss)
        given = {"selection": self.selection, "transform": self.transform}
        changes: dict[str, Any] = {name: own for name, own in given.items() if own is not None}
        return replace(found, **changes)

    @property
    def has_head(self) -> bool:
        """Whether the run ends with a head: trained, computed or chosen."""
        found = self.recipe
        return self.loss == AUTO or found.loss is not None or found.form is not None

    def options_of(self, part: Literal["loss", "select"]) -> dict[str, Value]:
        """Collect the options of the loss or of the selection: the recipe's, then the user's."""
        found = recipe(self.loss)
        is_replaced = part == "select" and self.selection not in (None, found.selection)
        chosen = {} if is_replaced else dict(found.options)
        chosen.update(self.options)
        prefix = part + "."
        return {
            key.removeprefix(prefix): value
            for key, value in chosen.items()
            if key.startswith(prefix)
        }

    @property
    def shared(self) -> dict[str, Any]:
        """What the runs of one program have in common: all but seeds, noise, rates and numbers.

        Numbers are those options of loss and selection that have a fractional value.
        """
        facts = {key: value for key, value in asdict(self).items() if key not in _OF_A_RUN}
        parts = {part: self.options_of(part) for part in checks.GROUPS}
        facts["options"] = {
            f"{part}.{key}": "a number" if isinstance(value, float) else value
            for part, options in parts.items()
            for key, value in options.items()
        }
        transform = str(Chain.parse(self.recipe.transform))
        return {**facts, "selection": self.recipe.selection, "transform": transform}

    @property
    def seed_of_noise(self) -> int:
        """The seed that the noise is drawn with."""
        return self.seed if self.noise_seed is None else self.noise_seed

    @property
    def seeds(self) -> Seeds:
        """The seeds of the training program."""
        sampling = self.seed if self.sampling_seed is None else self.sampling_seed
        return Seeds(self.seed, sampling)

    def with_changes(self, changes: Iterable[str]) -> Settings:
        """Apply `key=value` texts: a field of these settings, `loss.KEY` or `select.KEY`."""
        settings = self
        for text in changes:
            key, is_pair, value = text.partition("=")
            if not is_pair or not key:
                raise InputError(f"--set {text!r}: expected key=value, for example loss.margin=0.2")
            settings = settings._with(key, parse_value(value))
        return settings

    def replaced(self, **changes: Any) -> Settings:
        """Put other values in the place of fields."""
        return replace(self, **changes)

    def check(self) -> Settings:
        """Refuse unknown names, options and values; costs no torch. Returns the settings."""
        self._check_values()
        chosen = self.recipe
        selection = catalogue.find("selection", chosen.selection)
        if chosen.loss is not None:
            loss = library.find_loss(chosen.loss)
            checks.refuse_options("loss", loss, self.options_of("loss"))
            if "exchange" in selection.functions and "logits" not in loss.functions:
                raise checks.needs_a_classifier(selection.name, loss.name)
        elif chosen.form is not None:
            entry = catalogue.find("closed_forms", chosen.form)
            checks.refuse_options("loss", entry, self.options_of("loss"))
        elif self.options_of("loss"):
            raise InputError(f"--loss {self.loss} trains nothing and takes no loss options")
        if chosen.loss is None:
            self._check_untrained(chosen)
        checks.refuse_options("select", selection, self.options_of("select"))
        loss_options = self.options_of("loss")
        starts.refuse_unfit(self.start, asked=self.loss, loss=chosen.loss, options=loss_options)
        checks.refuse_unfit_head(
            head=self.head,
            hidden=self.hidden,
            dropout=self.dropout,
            feature_noise=self.feature_noise,
            start=self.start,
            asked=self.loss,
            trains=chosen.loss is not None,
        )
        if self.views is not None:
            self.refuse_idle(["views"])
        Chain.parse(chosen.transform)
        if self.noise is not None:
            NoiseSpec.parse(self.noise)
        return self

    def refuse_idle(self, given: Iterable[str]) -> None:
        """Refuse fields that somebody has set and that mean nothing beside the others.

        Args:
            given: names of the fields that were set.
        """
        found = self.recipe.loss is not None
        checks.refuse_idle(given, asked=self.loss, trains=found, head=self.head)

    def save(self, folder: Path) -> None:
        """Write `config.json` into a folder."""
        text = json.dumps(asdict(self), indent=2) + "\n"
        (folder / CONFIG_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Settings:
        """Read a `config.json`, or the one of a run folder."""
        path = path / CONFIG_FILE if path.is_dir() else path
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise InputError(
                f"cannot read the configuration {path} ({reason}): give the folder of a run or its "
                f"{CONFIG_FILE}"
            ) from error
        if not isinstance(values, dict):
            raise InputError(f"{path} holds no configuration: expected a JSON object")
        known = [each.name for each in fields(cls)]
        for key in values:
            if key not in known:
                raise catalogue.unknown(f"key in {path}:", key, known)
        if not isinstance(values.get("options", {}), dict):
            raise InputError(f"options in {path} is no JSON object: expected loss.KEY: VALUE, ...")
        return cls(**values)

    def _with(self, key: str, value: Value) -> Settings:
        if "." in key:
            checks.refuse_group(key)
            return replace(self, options={**self.options, key: value})
        plain: dict[str, Any] = {each.name: each for each in fields(self) if each.name != "options"}
        if key not in plain:
            raise catalogue.unknown("key in --set", key, [*plain, "loss.KEY", "select.KEY"])
        return self.replaced(**{key: value})

    def _check_untrained(self, chosen: Recipe) -> None:
        """Refuse what has no meaning where no epoch is trained."""
        if self.validation is not None and (chosen.form or self.loss == AUTO):
            raise InputError(
                f"--validation chooses an epoch and --loss {self.loss} has none: leave it out"
            )
        given = self.selection, self.transform, *self.options
        if self.loss == AUTO and any(each is not None for each in given):
            raise InputError(
                "--loss auto chooses selection, transform and options itself: leave --select, "
                "--transform and --set out, or name a --loss"
            )

    def _check_values(self) -> None:
        for each in fields(self):
            if each.name != "options":
                option = catalogue.parse_option(each.name, str(each.type), None, is_required=False)
                option.check(getattr(self, each.name), each.name)
        for key in self.options:
            checks.refuse_group(key)
        if self.fold >= self.folds:
            raise InputError(f"fold is {self.fold}: expected less than folds, {self.folds}")
        if self.patience is not None and self.validation is None:
            raise InputError("patience needs validation: add --validation classes, rows or split")
