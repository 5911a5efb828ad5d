"""What `compile` was given, resolved: an optimizer, a loss and metrics for each output, and their running means."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ostinato.core import constraints
from ostinato.core.context import CONTEXT
from ostinato.core.layer import Layer
from ostinato.core.registry import nearest
from ostinato.core.tracking import Weights
from ostinato.recurrence.nests import Nest, describe, flatten, is_nested
from ostinato.training import metrics, optimizers
from ostinato.training.losses.named import resolve_loss
from ostinato.training.metrics.named import resolve_metric
from ostinato.training.optimizers.named import bind


def compile_for(model: Any, optimizer: Any, loss: Any, metric: Any) -> Compiled:
    """Resolve what `compile` was given, as far as it can be without data. Raises ValueError for unknown names."""
    if metric is not None and not isinstance(metric, (list, tuple, dict)):
        raise ValueError(f"{model.described}: metrics must be a list, a tuple or a dict, got {metric!r}.")
    for each in flatten(metric) if metric else ():  # shapes do not matter to whether a name is known
        if each is not None:
            resolve_metric(each, (1,), (1, 2))
    for each in flatten(loss) if is_nested(loss) else [loss]:
        found = resolve_loss(each, (1,), (1, 2))
        if found is not None and found.reduction in ("none", None):
            raise ValueError(
                f"{model.described}: {found} has reduction {found.reduction!r}, so it gives many values; fit minimises "
                f"one. Take reduction='sum_over_batch_size' or 'sum'."
            )
    return Compiled(model, optimizers.get(optimizer), loss, metric)


class Wanted(NamedTuple):
    """What `compile` was given for one output, by that output's name."""

    name: str
    loss: Any
    metrics: list[Any]

    @property
    def targets(self) -> bool:
        """Whether it takes targets."""
        return self.loss is not None or bool(self.metrics)


@dataclasses.dataclass
class Output:
    """What is computed for one output: a loss, its running mean where there are several losses, and metrics."""

    loss: Any
    mean: Any
    metrics: list[Any]


@dataclasses.dataclass
class Survey:
    """What a model is made of, once it has been called; it does not change during a run."""

    trainable: list[Tensor]
    regularized: list[tuple[Tensor, Any]]
    constrained: list[tuple[Tensor, Any]]
    layers: list[Layer]


class Compiled:
    """Optimizer, losses and metrics of a model. Those that depend on the outputs are made at the first batch."""

    def __init__(self, model: Any, optimizer: Any, loss: Any, metric: Any) -> None:
        self.model, self.optimizer = model, optimizer
        self._loss, self._metric = loss, metric
        self.total = metrics.Mean(name="loss")
        self.means: list[tuple[str, Any]] = [("loss", self.total)]
        self._wanted: list[Wanted] = []
        self.outputs: list[Output] = []
        self._survey: Survey | None = None
        self._bound = False

    # -- a run --------------------------------------------------------------------------------------------------------

    def begin(self, *targets: Nest, training: bool = False) -> None:
        """A run begins: look at the model afresh.

        Raises ValueError for targets that do not fit the outputs, and in training for an optimizer that does not fit
        the weights, as far as the model can tell what it has before it is called.
        """
        self._survey, self._bound = None, False
        structure = self.model._known_outputs()
        for y in targets:
            if y is None and (self._loss is not None or self._metric):
                raise ValueError(f"{self.model.described}: y is missing; compile was given a loss or metrics.")
            if structure is not None:
                self._matched(y, self._per_output(structure))
        if not training:
            return
        if self.optimizer is None:
            raise ValueError(f"{self.model.described}: compile was given no optimizer to train with.")
        layers = _layers(self.model)
        if self.model.built and all(layer.built or not layer._makes_weights() for layer in layers):
            self.optimizer = self._fitting(Weights(self.model).trainable)

    def finish(self) -> None:
        """A run is over: let go of its last graph, which holds on to the losses that layers added."""
        for layer in _layers(self.model):
            number, added = layer._added_losses
            if added:
                layer._added_losses = (number, [each.detach() for each in added])

    @property
    def survey(self) -> Survey:
        """The model's weights and layers, once it has been called."""
        if self._survey is None:
            weights = Weights(self.model)
            self._survey = Survey(weights.trainable, weights.regularized(), weights.constrained(), _layers(self.model))
        return self._survey

    # -- what there is for each output --------------------------------------------------------------------------------

    def _per_output(self, structure: Nest) -> list[Wanted]:
        """What is wanted of each output; structure: the outputs, a nest of anything."""
        names = self._names(structure)
        chosen = self._spread(self._loss, names, "loss")
        return [Wanted(*each) for each in zip(names, chosen, self._metrics_of_outputs(names), strict=True)]

    def _names(self, structure: Nest) -> list[str]:
        count = len(flatten(structure))
        if isinstance(structure, dict) and len(structure) == count:
            return sorted(structure)
        names = self.model.output_names
        return names if len(names) == count else [f"output_{i}" if count > 1 else "output" for i in range(count)]

    def _spread(self, given: Any, names: list[str], what: str) -> list[Any]:
        """One entry for each output: a single one for all, a list in order, or a dict by name."""
        if isinstance(given, dict):
            unknown = [name for name in given if name not in names]
            if unknown:
                raise ValueError(
                    f"{self.model.described}: {what} names {unknown[0]!r}, which is no output."
                    f"{nearest(unknown[0], names)} The outputs are {names}."
                )
            return [given.get(name) for name in names]
        if isinstance(given, (list, tuple)):
            if len(given) != len(names):
                raise ValueError(
                    f"{self.model.described}: {what} has {len(given)} entries for {len(names)} outputs {names}."
                )
            return list(given)
        return [given] * len(names)

    def _metrics_of_outputs(self, names: list[str]) -> list[list[Any]]:
        """A list of metrics for each output. A flat list is for every output, unless it has just one for each."""
        given = self._metric
        if not given:
            return [[] for _ in names]
        nested = isinstance(given, dict) or any(isinstance(each, (list, tuple)) for each in given)
        if len(names) == 1 and not isinstance(given, dict):
            groups = [flatten(given)]
        elif not nested and len(given) != len(names):
            groups = [given] * len(names)
        else:
            groups = self._spread(given, names, "metrics")
        listed = [list(group) if isinstance(group, (list, tuple)) else [group] for group in groups]
        return [[each for each in group if each is not None] for group in listed]

    def _matched(self, y: Nest, wanted: Sequence[Wanted]) -> list[Tensor | None]:
        """The target of each output: by name, or in order; those that take none may be left out."""
        names = [each.name for each in wanted]
        if isinstance(y, dict) and not any(is_nested(each) for each in y.values()):
            unknown = [name for name in y if name not in names]
            missing = [each.name for each in wanted if each.targets and each.name not in y]
            if unknown or missing:
                hint = nearest(unknown[0], names) if unknown else ""
                raise ValueError(f"{self.model.described}: the outputs are {names}, got targets for {list(y)}.{hint}")
            return [y.get(name) for name in names]
        given = [] if y is None else flatten(y)
        if len(given) == len(wanted):
            return given
        rest = iter(given)
        if len(given) == sum(each.targets for each in wanted):
            return [next(rest) if each.targets else None for each in wanted]
        raise ValueError(
            f"{self.model.described}: expected {len(wanted)} target(s), for the output(s) {names}; got {len(given)}: "
            f"{describe(y)}."
        )

    def _resolve(self, targets: list[Any], outputs: list[Tensor]) -> None:
        """Make losses and metrics for these targets and outputs."""
        several = len(outputs) > 1
        found: list[Output] = []
        several_losses = sum(each.loss is not None for each in self._wanted) > 1
        means: list[tuple[str, Any]] = [("loss", self.total)]
        for wanted, t, p in zip(self._wanted, targets, outputs, strict=True):
            loss = resolve_loss(wanted.loss, t.shape, p.shape) if wanted.loss is not None else None
            mean = metrics.Mean() if several_losses and loss is not None else None
            made = [resolve_metric(each, t.shape, p.shape).to(p.device) for each in wanted.metrics]
            used = {id(metric) for output in found for metric in output.metrics}
            made = [copy.deepcopy(each) if id(each) in used else each for each in made]  # one counts for one output
            found.append(Output(loss, mean, made))
            if mean is not None:
                means.append((f"{wanted.name}_loss", mean))
        for wanted, output in zip(self._wanted, found, strict=True):
            for metric in output.metrics:
                name = f"{wanted.name}_{metric.name}" if several else metric.name
                means.append((_unused(name, [each for each, _ in means]), metric))
                metric.reset_state()  # it may have been used before
        self.outputs, self.means = found, means

    # -- one batch ----------------------------------------------------------------------------------------------------

    def loss(self, y: Nest, y_pred: Nest, masks: Nest, samples: int) -> Tensor:
        """The loss that is minimised: of all outputs, and what layers added; entered into the running means.

        y, y_pred: nests of targets and outputs. masks: of the outputs, None if there are none. samples: in the batch.
        """
        added = self._added()  # before a loss that calls layers of its own
        single = isinstance(y_pred, Tensor)
        predictions = [y_pred] if single else flatten(y_pred)
        if not self.outputs:
            self._wanted = self._per_output(y_pred)
        targets = [y] if single and isinstance(y, Tensor) else self._matched(y, self._wanted)
        if not self.outputs:
            self._resolve(targets, predictions)
        kept = _flat_masks(masks, len(predictions))
        parts = [
            output.loss(t, p, mask=m) if output.loss is not None else None
            for output, t, p, m in zip(self.outputs, targets, predictions, kept, strict=True)
        ]
        terms = [part for part in parts if part is not None] + added
        if not terms:
            raise ValueError(f"{self.model.described}: there is no loss: give compile one, or add_loss in a layer.")
        total = sum(terms[1:], start=terms[0])
        self.total.update_state(total, sample_weight=samples)
        for output, part, t, p, m in zip(self.outputs, parts, targets, predictions, kept, strict=True):
            if output.mean is not None:
                output.mean.update_state(part, sample_weight=samples)
            for metric in output.metrics:
                _enter(metric, t, p.detach(), m)
        return total

    def _added(self) -> list[Tensor]:
        """The losses that layers added in the latest call, and the penalties of regularized weights."""
        added = [regularizer(weight) for weight, regularizer in self.survey.regularized]
        for layer in self.survey.layers:
            number, losses_of_layer = layer._added_losses
            if number == CONTEXT.number:
                added.extend(each.sum() for each in losses_of_layer)
        return added

    # -- the optimizer ------------------------------------------------------------------------------------------------

    def build_optimizer(self) -> None:
        """Give the optimizer the model's trainable weights. Raises ValueError for weights it was not made for."""
        if not self._bound:
            self.optimizer = self._fitting(self.survey.trainable)
            self._bound = True

    def _fitting(self, trainable: list[Tensor]) -> torch.optim.Optimizer:
        """The optimizer with these weights."""
        optimizer, who = self.optimizer, self.model.described
        if not trainable:
            raise ValueError(f"{who}: it has no trainable weights; there is nothing to train.")
        if isinstance(optimizer, optimizers.Optimizer) and optimizer.built:
            known = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
            if any(id(weight) not in known for weight in trainable):
                raise ValueError(
                    f"{who}: it has trainable weights that its optimizer was not made for. Call compile with a new "
                    f"optimizer after adding layers or setting trainable."
                )
            return optimizer
        optimizer = bind(optimizer, trainable)
        closure = inspect.signature(optimizer.step).parameters.get("closure")
        if closure is not None and closure.default is inspect.Parameter.empty:
            raise ValueError(f"{who}: {type(optimizer).__name__} evaluates the model many times a step; fit does once.")
        return optimizer

    def forget_gradients(self) -> None:
        """No weight has a gradient, whether or not it is one of the optimizer's."""
        for weight in self.survey.trainable:
            weight.grad = None

    def constrain(self) -> None:
        """Put weights with a constraint back among the allowed ones."""
        for weight, constraint in self.survey.constrained:
            constraints.apply(constraint, weight)

    # -- numbers ------------------------------------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """Names of the numbers, in order."""
        return [name for name, _ in self.means]

    def logs(self) -> dict[str, float]:
        """The means since the last reset, as floats."""
        return {name: float(mean.result()) for name, mean in self.means}

    def reset(self) -> None:
        """Start the means again."""
        for _, mean in self.means:
            mean.reset_state()


def _layers(model: torch.nn.Module) -> list[Layer]:
    return [module for module in model.modules() if isinstance(module, Layer)]


def _flat_masks(masks: Nest, count: int) -> list[Tensor | None]:
    """A mask or None for each output."""
    if masks is None:
        return [None] * count
    flat = flatten(masks)
    return flat if len(flat) == count else flat + [None] * (count - len(flat))


def _enter(metric: Any, y: Any, y_pred: Tensor, mask: Tensor | None) -> None:
    """Enter a batch into a metric; one written for Keras, which knows no mask, gets it as sample weights."""
    if mask is None:
        metric.update_state(y, y_pred)
    elif "mask" in inspect.signature(metric.update_state).parameters:
        metric.update_state(y, y_pred, mask=mask)
    else:
        metric.update_state(y, y_pred, sample_weight=mask.to(y_pred.dtype))


def _unused(name: str, taken: list[str]) -> str:
    """The name with Keras's number behind it if it is taken: accuracy, accuracy_1.

    >>> _unused("accuracy", ["loss", "accuracy"])
    'accuracy_1'
    """
    count, free = 0, name
    while free in taken:
        count += 1
        free = f"{name}_{count}"
    return free
