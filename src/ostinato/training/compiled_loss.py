"""The losses that `compile` was given, one for each output, and how they are added up."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from ostinato.core.context import CONTEXT
from ostinato.core.layer import Layer
from ostinato.recurrence.nests import flatten, is_nested
from ostinato.training import metrics
from ostinato.training.losses.named import resolve_loss
from ostinato.training.outputs import Names, spread


def check_loss(who: str, loss: Any, weights: Any) -> None:
    """Raise ValueError for what cannot be a loss or the weights of losses, as far as can be told without data."""
    for each in flatten(loss) if is_nested(loss) else [loss]:
        found = resolve_loss(each, (1,), (1, 2))
        if found is not None and found.reduction in ("none", None):
            raise ValueError(
                f"{who}: {found} has reduction {found.reduction!r}, so it gives many values; fit minimises one. Take "
                f"reduction='sum_over_batch_size' or 'sum'."
            )
    if weights is None:
        return
    for each in flatten(weights) if is_nested(weights) else [weights]:
        if isinstance(each, bool) or not isinstance(each, (int, float, Tensor)):
            raise ValueError(f"{who}: loss_weights must be a number, or a list or dict of numbers, got {weights!r}.")
    if isinstance(loss, (list, tuple)) and is_nested(weights) and not isinstance(weights, dict):
        count, given = len(flatten(loss)), len(flatten(weights))
        if given not in (count, sum(each is not None for each in flatten(loss))):
            raise ValueError(f"{who}: loss_weights has {given} entries for {count} losses.")


class Part(NamedTuple):
    """What is minimised of one output: its loss, the weight of that, and the running mean of the loss by itself."""

    loss: Any
    weight: Any
    mean: Any


class CompiledLoss:
    """The losses by output; made from names and shapes at the first batch."""

    def __init__(self, who: str, loss: Any, weights: Any) -> None:
        self.who, self.given, self.weights = who, loss, weights
        self.parts: list[Part | None] = []
        self.means: list[tuple[str, Any]] = []

    def of_outputs(self, names: Names) -> list[Any]:
        """What was given for each output."""
        return spread(self.given, names, "loss", self.who)

    def resolve(self, names: Names, targets: list[Any], outputs: list[Tensor]) -> None:
        """Make the losses for these targets and outputs."""
        losses = self.of_outputs(names)
        weights = self._weights(names, losses)
        several = sum(each is not None for each in losses) > 1
        self.parts, self.means = [], []
        for name, given, weight, y, y_pred in zip(names.paths, losses, weights, targets, outputs, strict=True):
            if given is None:
                self.parts.append(None)
                continue
            mean = metrics.Mean(name=f"{name}_loss") if several else None
            self.parts.append(Part(resolve_loss(given, y.shape, y_pred.shape), weight, mean))
            if mean is not None:
                self.means.append((mean.name, mean))

    def _weights(self, names: Names, losses: list[Any]) -> list[Any]:
        given = self.weights
        if names.nest is None and isinstance(given, (list, tuple)) and len(given) != len(names):
            rest = iter(given)  # one for each loss that there is
            given = [None if each is None else next(rest) for each in losses]
        return spread(given, names, "loss_weights", self.who)

    def values(
        self, targets: list[Any], outputs: list[Tensor], weights: list[Any], masks: list[Any]
    ) -> list[Tensor | None]:
        """The loss of each output, without its weight; None where there is none."""
        return [
            None if part is None else part.loss(y, y_pred, sample_weight=w, mask=m)
            for part, y, y_pred, w, m in zip(self.parts, targets, outputs, weights, masks, strict=True)
        ]

    def weighted(self, values: list[Tensor | None]) -> list[Tensor]:
        """The losses that there are, times their weights."""
        return [
            value if part.weight is None else value * part.weight
            for part, value in zip(self.parts, values, strict=True)
            if part is not None and value is not None
        ]

    def enter(self, values: list[Tensor | None], samples: int) -> None:
        """Enter the losses of a batch into their running means."""
        for part, value in zip(self.parts, values, strict=True):
            if part is not None and part.mean is not None and value is not None:
                part.mean.update_state(value, sample_weight=samples)


def added_losses(layers: list[Layer]) -> list[Tensor]:
    """The losses that layers added in the latest call, each summed."""
    added: list[Tensor] = []
    latest = CONTEXT.number
    for layer in layers:
        number, losses = layer._added_losses
        if number == latest:
            added.extend(each.sum() for each in losses)
    return added


def forget_graphs(layers: list[Layer]) -> None:
    """Let go of the last graph, which holds on to the losses that layers added."""
    for layer in layers:
        number, added = layer._added_losses
        if added:
            layer._added_losses = (number, [each.detach() for each in added])
