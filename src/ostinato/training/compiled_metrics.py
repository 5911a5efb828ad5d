"""The metrics that `compile` was given, by output: all that is reported beside the loss."""

from __future__ import annotations

import copy
import inspect
from typing import Any, NamedTuple

from torch import Tensor

from ostinato.core.masks import mask_of
from ostinato.recurrence.nests import Nest, flatten
from ostinato.training.metrics.named import resolve_metric
from ostinato.training.outputs import (
    Names,
    masks_of_outputs,
    matched,
    metrics_of_outputs,
    names_of,
    unused,
    weights_of_outputs,
)
from ostinato.training.tensors import cleared, fitted


def check_metrics(who: str, given: Any, what: str) -> None:
    """Raise ValueError for what can be no metrics, as far as can be told without data."""
    if given is not None and not isinstance(given, (list, tuple, dict)):
        raise ValueError(f"{who}: {what} must be a list, a tuple or a dict, got {given!r}.")
    for each in flatten(given) if given else ():  # shapes do not matter to whether a name is known
        if each is not None:
            resolve_metric(each, (1,), (1, 2))


class Reported(NamedTuple):
    """One metric of one output. weighted: whether it gets the sample weights; masked: whether it takes a mask."""

    name: str
    output: int
    metric: Any
    weighted: bool
    masked: bool


class CompiledMetrics:
    """`metrics` and `weighted_metrics`, as one metric of many numbers; made at the first batch."""

    name = "compile_metrics"

    def __init__(self, model: Any, plain: Any, weighted: Any) -> None:
        self.model, self.plain, self.weighted = model, plain, weighted
        self.reported: list[Reported] = []
        self.resolved = False

    def __bool__(self) -> bool:
        return bool(self.plain) or bool(self.weighted)

    def of_outputs(self, names: Names) -> list[list[tuple[Any, bool]]]:
        """What was given for each output, with whether it is weighted."""
        who = self.model.described
        plain = metrics_of_outputs(self.plain, names, "metrics", who)
        weighted = metrics_of_outputs(self.weighted, names, "weighted_metrics", who)
        return [
            [*((each, False) for each in a), *((each, True) for each in b)]
            for a, b in zip(plain, weighted, strict=True)
        ]

    def resolve(self, names: Names, targets: list[Any], outputs: list[Tensor]) -> None:
        """Make the metrics for these targets and outputs."""
        several, used = len(outputs) > 1, set[int]()
        found: list[tuple[int, Any, bool]] = []
        for index, group in enumerate(self.of_outputs(names)):
            for given, weighted in group:
                y, y_pred = targets[index], outputs[index]
                metric = resolve_metric(given, y.shape, y_pred.shape).to(y_pred.device)
                metric = copy.deepcopy(metric) if id(metric) in used else metric  # one counts for one output
                used.add(id(metric))
                metric.reset_state()  # it may have been used before
                found.append((index, metric, weighted))
        self.reported, taken = [], ["loss"]
        for index, metric, weighted in sorted(found, key=lambda each: each[2]):
            prefix = f"{names[index]}_" if several else ""
            name = f"{prefix}{metric.name}"
            if weighted and name in taken:
                name = f"{prefix}weighted_{metric.name}"
            taken.append(unused(name, taken))
            masked = _takes_mask(metric)
            self.reported.append(Reported(taken[-1], index, metric, weighted, masked))
        self.reported.sort(key=lambda each: (each.output, each.weighted))
        self.resolved = True

    def enter(self, targets: list[Any], outputs: list[Tensor], weights: list[Any], masks: list[Any]) -> None:
        """Enter a batch, given by output; one written for Keras, which knows no mask, gets it as sample weights."""
        for _, index, metric, weighted, masked in self.reported:
            y, y_pred, mask = targets[index], outputs[index].detach(), masks[index]
            options: dict[str, Any] = {}
            if weighted and weights[index] is not None:
                options["sample_weight"] = weights[index]
            if mask is not None and masked:
                options["mask"] = mask
            elif mask is not None:
                y, y_pred = (cleared(each, mask) if isinstance(each, Tensor) else each for each in (y, y_pred))
                options["sample_weight"] = _masked(options.get("sample_weight"), mask.to(y_pred.dtype), metric)
            metric.update_state(y, y_pred, **options)

    def update_state(self, y: Nest, y_pred: Nest, sample_weight: Nest = None) -> None:
        """Enter a batch, as a `train_step` of one's own does."""
        names, outputs, who = names_of(self.model, y_pred), flatten(y_pred), self.model.described
        targets = matched(y, names, [bool(each) for each in self.of_outputs(names)], who)
        if not self.resolved:
            self.resolve(names, targets, outputs)
        weights = weights_of_outputs(sample_weight, names, who)
        self.enter(targets, outputs, weights, masks_of_outputs(mask_of(y_pred), len(outputs)))

    def result(self) -> dict[str, Any]:
        """The metrics so far, by name."""
        return {each.name: each.metric.result() for each in self.reported}

    def reset_state(self) -> None:
        """Start again."""
        for each in self.reported:
            each.metric.reset_state()


def _masked(weights: Tensor | None, mask: Tensor, metric: Any) -> Tensor:
    """Sample weights that are 0 where the mask is."""
    if weights is None:
        return mask
    weights, mask = fitted(weights, mask, str(metric), "sample_weight")
    return weights * mask


def _takes_mask(metric: Any) -> bool:
    """Whether a metric knows masks; one written for Keras does not."""
    return "mask" in inspect.signature(metric.update_state).parameters
