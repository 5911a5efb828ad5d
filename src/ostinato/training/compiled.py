"""What `compile` was given, resolved: an optimizer, a loss and metrics for each output, and their running means."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.core import constraints
from ostinato.core.context import CONTEXT
from ostinato.core.layer import Layer
from ostinato.core.registry import nearest
from ostinato.core.tracking import Weights
from ostinato.recurrence.nests import Nest, describe, flatten, is_nested
from ostinato.training import losses, metrics, optimizers

def compile_for(model: Any, optimizer: Any, loss: Any, metric: Any) -> Compiled:
    """Resolve what `compile` was given, as far as it can be without data. Raises ValueError for unknown names."""
    if metric is not None and not isinstance(metric, (list, tuple, dict)):
        raise ValueError(f"{model.described}: metrics must be a list, a tuple or a dict, got {metric!r}.")
    for each in flatten(metric) if metric else ():  # shapes do not matter to whether a name is known
        if each is not None:
            metrics.resolve_metric(each, (1,), (1, 2))
    for each in flatten(loss) if is_nested(loss) else [loss]:
        losses.resolve_loss(each, (1,), (1, 2))
    return Compiled(model, optimizers.get(optimizer), loss, metric)


class Compiled:
    """Optimizer, losses and metrics of a model. Those that depend on the outputs are made at the first batch."""

    def __init__(self, model: Any, optimizer: Any, loss: Any, metric: Any) -> None:
        self.model, self.optimizer = model, optimizer
        self._loss, self._metric = loss, metric
        self.total = metrics.Mean(name="loss")
        self.losses: list[Any] | None = None
        self.metrics: list[list[tuple[str, Any]]] = []
        self.loss_means: list[tuple[str, Any]] = []
        self._survey: tuple[Weights, list[Layer]] | None = None
        self._ready: Weights | None = None

    def begin(self) -> None:
        """A run begins: look at the model afresh."""
        self._survey = None

    @property
    def survey(self) -> tuple[Weights, list[Layer]]:
        """The model's weights and layers, once it has been called; they do not change during a run."""
        if self._survey is None:
            weights = Weights(self.model)
            self._survey = weights, [module for module in self.model.modules() if isinstance(module, Layer)]
        return self._survey

    # -- making -------------------------------------------------------------------------------------------------------

    def prepare(self, y: list[Tensor], y_pred: list[Tensor], structure: Nest) -> None:
        """Make losses and metrics for these targets and outputs, flat."""
        names = self._names(structure, len(y_pred))
        chosen = self._spread(self._loss, names, "loss")
        self.losses = [
            losses.resolve_loss(each, t.shape, p.shape) for each, t, p in zip(chosen, y, y_pred, strict=True)
        ]
        if all(each is None for each in self.losses) and self._loss is not None:
            raise ValueError(f"{self.model.described}: no output has a loss.")
        several = len(y_pred) > 1
        if several:
            self.loss_means = [
                (f"{name}_loss", metrics.Mean())
                for name, each in zip(names, self.losses, strict=True)
                if each is not None
            ]
        wanted = self._metrics_of_outputs(names)
        self.metrics = [
            [self._make_metric(each, t, p, f"{name}_" if several else "") for each in group]
            for group, t, p, name in zip(wanted, y, y_pred, names, strict=True)
        ]

    def _make_metric(self, identifier: Any, y: Tensor, y_pred: Tensor, prefix: str) -> tuple[str, Any]:
        metric = metrics.resolve_metric(identifier, y.shape, y_pred.shape)
        return prefix + metric.name, metric.to(y_pred.device)

    def _names(self, structure: Nest, count: int) -> list[str]:
        if isinstance(structure, dict):
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
            groups = [given[0] if nested and len(given) == 1 else given]
        elif not nested and len(given) != len(names):
            groups = [given] * len(names)
        else:
            groups = self._spread(given, names, "metrics")
        return [[] if g is None else list(g) if isinstance(g, (list, tuple)) else [g] for g in groups]

    # -- one batch ----------------------------------------------------------------------------------------------------

    def loss(self, y: Nest, y_pred: Nest, masks: list[Any] | None, samples: int) -> Tensor:
        """The loss that is minimised: of all outputs, and what layers added; entered into the running means."""
        targets, outputs = self._matched(y, y_pred)
        if self.losses is None:
            self.prepare(targets, outputs, y_pred)
        kept = masks if masks is not None else [None] * len(outputs)
        assert self.losses is not None
        parts = [
            each(t, p, mask=m)
            for each, t, p, m in zip(self.losses, targets, outputs, kept, strict=True)
            if each is not None
        ]
        added = self._added()
        if not parts and not added:
            raise ValueError(f"{self.model.described}: there is no loss: give compile one, or add_loss in a layer.")
        total = (
            parts[0] if len(parts) == 1 and not added else torch.stack([p.reshape(()) for p in [*parts, *added]]).sum()
        )
        with torch.no_grad():
            self.total.update_state(total.detach(), sample_weight=samples)
            for (_, mean), part in zip(self.loss_means, parts, strict=False):
                mean.update_state(part.detach(), sample_weight=samples)
            for group, t, p, m in zip(self.metrics, targets, outputs, kept, strict=True):
                for _, metric in group:
                    metric.update_state(t, p.detach(), mask=m)
        return total

    def _matched(self, y: Nest, y_pred: Nest) -> tuple[list[Tensor], list[Tensor]]:
        """Targets and outputs, flat and in the same order."""
        if isinstance(y, Tensor) and isinstance(y_pred, Tensor):
            return [y], [y_pred]
        outputs = flatten(y_pred)
        if isinstance(y, dict) and not isinstance(y_pred, dict):
            names = self._names(y_pred, len(outputs))
            if sorted(y) != sorted(names):
                raise ValueError(f"{self.model.described}: targets for outputs {names}, got {sorted(y)}.")
            targets = [y[name] for name in names]
        else:
            targets = [] if y is None else flatten(y)
        if len(targets) != len(outputs):
            raise ValueError(
                f"{self.model.described}: {len(outputs)} output(s) {describe(y_pred)} but {len(targets)} target(s) "
                f"{describe(y)}."
            )
        return targets, outputs

    def _added(self) -> list[Tensor]:
        weights, layers = self.survey
        added = [loss for each in layers if each._added_losses[0] == CONTEXT.number for loss in each._added_losses[1]]
        return added + weights.penalties()

    def build_optimizer(self) -> None:
        """Give the optimizer the model's trainable weights. Raises ValueError for weights it was not made for."""
        if self._ready is self.survey[0]:
            return
        trainable = self.survey[0].trainable
        if not isinstance(self.optimizer, torch.optim.Optimizer):
            self.optimizer = self.optimizer(trainable)
        elif isinstance(self.optimizer, optimizers.Optimizer) and not self.optimizer.built:
            self.optimizer.build(trainable)
        known = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        if any(id(p) not in known for p in trainable):
            raise ValueError(
                f"{self.model.described}: it has trainable weights that its optimizer was not made for. Call compile "
                f"again after adding layers or setting trainable."
            )
        self._ready = self.survey[0]

    def constrain(self) -> None:
        """Put weights with a constraint back among the allowed ones."""
        for weight, constraint in self.survey[0].constrained():
            constraints.apply(constraint, weight)

    # -- numbers ------------------------------------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """Names of the numbers, in order."""
        return ["loss", *(n for n, _ in self.loss_means), *(n for group in self.metrics for n, _ in group)]

    def logs(self) -> dict[str, float]:
        """The means since the last reset, as floats."""
        means = [("loss", self.total), *self.loss_means, *(pair for group in self.metrics for pair in group)]
        return {name: float(mean.result()) for name, mean in means}

    def reset(self) -> None:
        """Start the means again."""
        for _, mean in [("", self.total), *self.loss_means, *(pair for group in self.metrics for pair in group)]:
            mean.reset_state()
