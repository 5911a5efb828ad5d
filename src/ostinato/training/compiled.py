"""What `compile` was given, bound to a model: its losses, its metrics and its optimizer."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ostinato.core import constraints
from ostinato.core.layer import Layer
from ostinato.core.tracking import Weights
from ostinato.core.weights import to_numpy
from ostinato.recurrence.nests import Nest
from ostinato.training import metrics, optimizers
from ostinato.training.compiled_loss import CompiledLoss, added_losses, check_loss, forget_graphs
from ostinato.training.compiled_metrics import CompiledMetrics, check_metrics
from ostinato.training.metrics.base import Metric
from ostinato.training.optimizers.named import bind
from ostinato.training.outputs import Names, masks_of_outputs, matched, names_of, single_or_flat, weights_of_outputs


class Computed(NamedTuple):
    """What a batch gave: the total that is minimised, the loss of each output, and all that they were computed from."""

    total: Tensor
    values: list[Tensor | None]
    targets: list[Tensor | None]
    outputs: list[Tensor]
    weights: list[Tensor | None]
    masks: list[Tensor | None]


@dataclasses.dataclass
class Survey:
    """What a model is made of, once it has been called; it does not change during a run."""

    trainable: list[tuple[str, Tensor]]
    regularized: list[tuple[Tensor, Any]]
    constrained: list[tuple[Tensor, Any]]
    layers: list[Layer]
    metrics: list[Metric]


class Compiled:
    """Optimizer, losses and metrics of a model. Those that depend on the outputs are made at the first batch.

    Raises ValueError for unknown names and what does not fit together, as far as it can be told without data.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        loss: Any,
        loss_weights: Any = None,
        metric: Any = None,
        weighted_metrics: Any = None,
    ) -> None:
        who = model.described
        check_metrics(who, metric, "metrics")
        check_metrics(who, weighted_metrics, "weighted_metrics")
        check_loss(who, loss, loss_weights)
        self.model, self.optimizer = model, optimizers.get(optimizer)
        self.loss = CompiledLoss(who, loss, loss_weights)
        self.metrics = CompiledMetrics(model, metric, weighted_metrics)
        self.total = metrics.Mean(name="loss")
        self._names = Names()
        self._survey: Survey | None = None
        self._bound = False

    # -- a run --------------------------------------------------------------------------------------------------------

    def begin(self, *targets: Nest, training: bool = False) -> None:
        """A run begins: look at the model afresh.

        targets: those that are known by now. Raises ValueError for targets that do not fit the outputs, and in training
        for an optimizer that does not fit the weights, as far as the model can tell what it has before it is called.
        """
        self._survey, self._bound = None, False
        for y in targets:
            self.check(y)
        if not training:
            return
        if self.optimizer is None:
            raise ValueError(f"{self.model.described}: compile was given no optimizer to train with.")
        if self.built:
            self.optimizer = self._fitting(Weights(self.model).named_trainable())

    @property
    def built(self) -> bool:
        """Whether all layers have their weights."""
        return self.model.built and all(each.built or not each._makes_weights() for each in layers_of(self.model))

    def check(self, y: Nest) -> None:
        """Raise ValueError for targets that do not fit the outputs, as far as the model knows them uncalled."""
        if self._judges_itself:
            return
        if y is None and (self.loss.given is not None or self.metrics):
            raise ValueError(f"{self.model.described}: y is missing; compile was given a loss or metrics.")
        structure = self.model._known_outputs()
        if structure is not None:
            self._matched(y, names_of(self.model, structure))

    def finish(self) -> None:
        """A run is over: let go of its last graph."""
        forget_graphs(layers_of(self.model))

    @property
    def survey(self) -> Survey:
        """The model's weights and layers, once it has been called."""
        if self._survey is None:
            weights = Weights(self.model)
            self._survey = Survey(
                weights.named_trainable(),
                weights.regularized(),
                weights.constrained(),
                layers_of(self.model),
                metrics_of(self.model),
            )
        return self._survey

    @property
    def _judges_itself(self) -> bool:
        """Whether the model computes its loss itself, from targets of whatever form it likes."""
        return any(self.model._own(name) is not None for name in ("train_step", "compute_loss"))

    # -- one batch ----------------------------------------------------------------------------------------------------

    def _matched(self, y: Nest, names: Names) -> list[Tensor | None]:
        losses, reported = self.loss.of_outputs(names), self.metrics.of_outputs(names)
        wanted = [loss is not None or bool(each) for loss, each in zip(losses, reported, strict=True)]
        if self._judges_itself and not any(wanted):
            return [None] * len(names)
        return matched(y, names, wanted, self.model.described)

    @property
    def resolved(self) -> bool:
        """Whether there are losses and metrics for the model's outputs."""
        return bool(self._names)

    def resolve(self, y: Nest, y_pred: Nest) -> None:
        """Make losses and metrics for targets and outputs like these, if there are none yet."""
        if self._names:
            return
        outputs, names = single_or_flat(y_pred), names_of(self.model, y_pred)
        targets = self._matched(y, names)
        self.loss.resolve(names, targets, outputs)
        self.metrics.resolve(names, targets, outputs)
        self._names = names

    def compute(self, y: Nest, y_pred: Nest, masks: Nest, weights: Nest) -> Computed:
        """The loss that is minimised: of all outputs, and what layers added. Changes nothing.

        y, y_pred, weights: nests of targets, outputs, sample weights. masks: of the outputs, None if there are none.
        """
        added = added_losses(self.survey.layers)  # before a loss that calls layers of its own
        added += [regularizer(weight) for weight, regularizer in self.survey.regularized]
        outputs = single_or_flat(y_pred)
        single = len(outputs) == 1 and isinstance(y, Tensor)
        targets = [y] if single else self._matched(y, self._names)
        given = [weights] if single else weights_of_outputs(weights, self._names, self.model.described)
        kept = masks_of_outputs(masks, len(outputs))
        values = self.loss.values(targets, outputs, given, kept)
        terms = self.loss.weighted(values) + added
        if not terms:
            raise ValueError(f"{self.model.described}: there is no loss: give compile one, or add_loss in a layer.")
        return Computed(sum(terms[1:], start=terms[0]), values, targets, outputs, given, kept)

    def around(self, total: Tensor, y: Nest, y_pred: Nest, masks: Nest, weights: Nest) -> Computed:
        """A total that the model's own `compute_loss` gave, with what the metrics need."""
        outputs = single_or_flat(y_pred)
        targets: list[Tensor | None] = [None] * len(outputs)
        if self.metrics:
            targets = self._matched(y, self._names)
        given = weights_of_outputs(weights, self._names, self.model.described)
        return Computed(total, [None] * len(outputs), targets, outputs, given, masks_of_outputs(masks, len(outputs)))

    def enter(self, computed: Computed, samples: int) -> None:
        """Enter a batch into the running numbers."""
        self.enter_losses(computed, samples)
        self.metrics.enter(computed.targets, computed.outputs, computed.weights, computed.masks)

    def enter_losses(self, computed: Computed, samples: int) -> None:
        """Enter the losses of a batch into their running means."""
        self.total.update_state(computed.total, sample_weight=samples)
        self.loss.enter(computed.values, samples)

    # -- the optimizer ------------------------------------------------------------------------------------------------

    def build_optimizer(self) -> None:
        """Give the optimizer the model's trainable weights. Raises ValueError for weights it was not made for."""
        if not self._bound:
            self.optimizer = self._fitting(self.survey.trainable)
            self._bound = True

    def _fitting(self, trainable: list[tuple[str, Tensor]]) -> torch.optim.Optimizer:
        """The optimizer with these weights."""
        optimizer, who = self.optimizer, self.model.described
        if not trainable:
            raise ValueError(f"{who}: it has no trainable weights; there is nothing to train.")
        if isinstance(optimizer, optimizers.Optimizer) and optimizer.built:
            known = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
            if any(id(weight) not in known for _, weight in trainable):
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

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss, times what the optimizer divides gradients by."""
        return self.optimizer.scale_loss(loss) if isinstance(self.optimizer, optimizers.Optimizer) else loss

    def forget_gradients(self) -> None:
        """No weight has a gradient, whether or not it is one of the optimizer's."""
        for _, weight in self.survey.trainable:
            weight.grad = None

    def finalize(self) -> None:
        """Training is over: let the optimizer write what it has kept back, such as moving averages of weights."""
        if self._bound and isinstance(self.optimizer, optimizers.Optimizer):
            self.optimizer.finalize_variable_values([weight for _, weight in self.survey.trainable])

    def constrain(self) -> None:
        """Put weights with a constraint back among the allowed ones."""
        for weight, constraint in self.survey.constrained:
            constraints.apply(constraint, weight)

    # -- numbers ------------------------------------------------------------------------------------------------------

    @property
    def all(self) -> list[Any]:
        """What `model.metrics` lists: the total's mean, all that compile was given, the means of outputs' losses."""
        given = [self.metrics] if self.metrics else []
        return [self.total, *given, *(mean for _, mean in self.loss.means)]

    def _numbers(self) -> list[tuple[str, Any]]:
        attached = [(each.name, each) for each in self.survey.metrics]
        reported = [(each.name, each.metric) for each in self.metrics.reported]
        return [("loss", self.total), *attached, *self.loss.means, *reported]

    @property
    def names(self) -> list[str]:
        """Names of the numbers, in order."""
        return list(dict.fromkeys(name for name, _ in self._numbers()))

    def logs(self) -> dict[str, float]:
        """The means since the last reset, as floats."""
        return {name: as_number(metric.result()) for name, metric in self._numbers()}


def as_number(value: Any) -> Any:
    """A result as a float; one of several numbers, as a NumPy array."""
    if isinstance(value, Tensor):
        return float(value.detach()) if value.numel() == 1 else to_numpy(value)
    return float(value)


def layers_of(model: torch.nn.Module) -> list[Layer]:
    """The layers in a model, itself first."""
    return [module for module in model.modules() if isinstance(module, Layer)]


def metrics_of(model: torch.nn.Module) -> list[Metric]:
    """The metrics that are attributes of a model and of the layers in it."""
    return [module for module in model.modules() if isinstance(module, Metric)]
