"""What a run was asked to do, checked before it begins."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

from ostinato.recurrence.nests import Nest, describe, flatten
from ostinato.training.sources.arrays import Arrays, positive
from ostinato.training.sources.base import Reader, Source, unpack
from ostinato.training.sources.opened import open_source


@dataclasses.dataclass
class Plan:
    """A run of `fit`; the names are those of its arguments.

    training, validation: the data; who: names the run in messages.
    """

    who: str
    training: Source
    validation: Source | None
    epochs: int
    initial_epoch: int
    steps_per_epoch: int | None
    validation_steps: int | None
    validation_freq: int | Collection[int]
    shuffle: bool
    seed: int | None
    verbose: Any
    callbacks: Any

    @property
    def targets(self) -> list[Nest]:
        """The targets that are there before the first batch."""
        sources = [self.training] if self.validation is None else [self.training, self.validation]
        return [each.y for each in sources if isinstance(each, Arrays)]

    @property
    def params(self) -> dict[str, Any]:
        """What callbacks are told of the run."""
        steps = self.training.steps if self.steps_per_epoch is None else self.steps_per_epoch
        return {"verbose": self.verbose, "epochs": self.epochs, "steps": steps}

    def validates(self, epoch: int) -> bool:
        """Whether this epoch, counted from 0, ends with a validation."""
        freq = self.validation_freq
        return (epoch + 1) % freq == 0 if isinstance(freq, int) else epoch + 1 in freq


def plan_fit(
    model: Any,
    x: Any,
    y: Nest,
    *,
    batch_size: int | None,
    epochs: int,
    verbose: Any,
    callbacks: Any,
    validation_split: float,
    validation_data: Any,
    shuffle: bool,
    class_weight: Any,
    sample_weight: Nest,
    initial_epoch: int,
    steps_per_epoch: int | None,
    validation_steps: int | None,
    validation_batch_size: int | None,
    validation_freq: Any,
    seed: int | None,
) -> Plan:
    """The run that `fit` was asked for. Raises ValueError or TypeError for what does not fit together."""
    who = f"{model.described}: fit"
    epochs, initial_epoch = _whole(epochs, "epochs", who), _whole(initial_epoch, "initial_epoch", who)
    if seed is not None and (isinstance(seed, bool) or not hasattr(seed, "__index__")):
        raise ValueError(f"{who}: seed must be a whole number, got {seed!r}.")
    if not isinstance(shuffle, bool):
        raise ValueError(f"{who}: shuffle must be True or False, got {shuffle!r}.")
    if steps_per_epoch is not None:
        steps_per_epoch = positive(steps_per_epoch, "steps_per_epoch", who, 1)
    if validation_steps is not None:
        validation_steps = positive(validation_steps, "validation_steps", who, 1)
    reader = Reader(model.input_dtype, who, class_weight)
    training = open_source(reader, x, y, sample_weight, batch_size)
    validation = None
    if validation_data is not None:
        validation = _validation(model, validation_data, training, validation_batch_size or batch_size)
    elif validation_split:
        if not isinstance(training, Arrays):
            raise ValueError(
                f"{who}: validation_split takes the last part of arrays, and x is a {type(x).__name__}. Split it "
                f"yourself (torch.utils.data.random_split splits a Dataset) and pass validation_data."
            )
        training, validation = training.split(validation_split, validation_batch_size)
    elif validation_steps is not None or validation_batch_size is not None:
        raise ValueError(f"{who}: there is no validation_data that validation_steps or validation_batch_size is for.")
    if isinstance(training, Arrays):
        training.weights = reader.weigh(training.y, training.weights)  # validation is not weighed by class
    check_stateful(model, who, training, validation)
    return Plan(
        who, training, validation, epochs, initial_epoch, steps_per_epoch, validation_steps,
        _frequency(validation_freq, who), shuffle, seed, verbose, callbacks,
    )  # fmt: skip


def plan_pass(model: Any, what: str, x: Any, y: Nest, weights: Nest, batch_size: int | None) -> Source:
    """The data of one pass: of `evaluate`, `predict`."""
    who = f"{model.described}: {what}"
    source = open_source(Reader(model.input_dtype, who), x, y, weights, batch_size)
    check_stateful(model, who, source)
    return source


def check_stateful(model: Any, who: str, *sources: Source | None) -> None:
    """Raise ValueError for a model that records states, of a batch each, if batches differ in size."""
    sizes = sorted({size for source in sources if source is not None for size in source.sizes}, reverse=True)
    layer = next((each for each in model.modules() if getattr(each, "stateful", False) is True), None)
    if layer is not None and len(sizes) > 1:
        name = getattr(layer, "described", type(layer).__name__)
        raise ValueError(
            f"{who}: {name} is stateful, so all batches must have the same size; these have {sizes}. Choose a "
            f"batch_size that divides the number of samples, or leave the last ones out (a DataLoader: drop_last=True)."
        )


def _validation(model: Any, given: Any, training: Source, batch_size: int | None) -> Source:
    """Validation data, which must look like the training data: found out now, not after the first epoch."""
    who = f"{model.described}: validation_data"
    reader = Reader(model.input_dtype, who)
    if not isinstance(given, (tuple, list)):
        return open_source(reader, given, None, None, batch_size if hasattr(given, "__array__") else None)
    if not 2 <= len(given) <= 3:
        raise ValueError(f"{who} must be (x, y), (x, y, sample_weight), or a source of batches; got {len(given)}.")
    if batch_size is None and isinstance(training, Arrays):
        batch_size = training.batch_size
    data = Arrays.read(reader, *unpack(given, who), batch_size)
    if isinstance(training, Arrays):
        seen, held = flatten(training.x), flatten(data.x)
        # The second axis is time, in most data, and may differ; a last axis of one may be left out.
        pairs = [(a, b) for a, b in zip(seen, held, strict=False) if a.dim() == b.dim()]
        if len(seen) != len(held) or any(a.shape[2:] != b.shape[2:] for a, b in pairs):
            raise ValueError(f"{who}: x has shapes {describe(held)}, in training {describe(seen)}; they do not match.")
    return data


def _whole(given: Any, what: str, who: str) -> int:
    if isinstance(given, bool) or not hasattr(given, "__index__") or int(given) < 0:
        raise ValueError(f"{who}: {what} must be a whole number, 0 or more, got {given!r}.")
    return int(given)


def _frequency(given: Any, who: str) -> int | Collection[int]:
    if isinstance(given, (list, tuple, set)) and all(isinstance(each, int) for each in given):
        return given
    if isinstance(given, (list, tuple, set, str)):
        raise ValueError(f"{who}: validation_freq must be a number of epochs or a list of epochs, got {given!r}.")
    return positive(given, "validation_freq", who, 1)
