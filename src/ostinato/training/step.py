"""What is done with one batch: by the library, or by a model's own `train_step`, `test_step`, `compute_loss`."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ostinato.core.context import rehearsing
from ostinato.core.graph import call_masked
from ostinato.core.masks import attach
from ostinato.core.symbolic import SymbolicTensor, TensorSpec, infer
from ostinato.core.weights import forget_casts
from ostinato.layers.streams import keeping_states, own_stateful
from ostinato.recurrence.nests import Nest, map_nest
from ostinato.training.compiled import Compiled, Computed, as_number, layers_of
from ostinato.training.sources.base import Batch

Logs = Callable[[], dict[str, float]]
"""Gives the numbers so far, at the price of waiting for them."""


class Step:
    """A batch at a time for one model: `train`, `test`, `predict`. Lives as long as what `compile` was given."""

    def __init__(self, model: Any, compiled: Compiled | None, jit: bool = False) -> None:
        self.model, self._compiled, self.jit = model, compiled, jit
        self._fast: dict[str, Any] = {}
        self._returned: dict[str, Any] | None = None  # by the latest step of the model's own

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_fast": {}}  # what torch.compile made is of this model, and not of its copy

    @property
    def compiled(self) -> Compiled:
        """What `compile` was given."""
        assert self._compiled is not None
        return self._compiled

    def train(self, batch: Batch) -> Logs:
        """Forward, backward, one step of the optimizer."""
        own = self.model._own("train_step")
        if own is None:
            return self.train_plainly(batch)
        self.build(batch.x)
        self.compiled.build_optimizer()
        logs = self._take(own(batch.packed))
        forget_casts()
        self.compiled.constrain()
        return logs

    def train_plainly(self, batch: Batch) -> Logs:
        """As `train`, whether or not the model has a `train_step` of its own."""
        compiled = self.compiled
        computed = self._computed(batch, True)
        compiled.build_optimizer()
        logs = self._enter(batch, computed)  # before a weight changes: a metric may refuse the batch
        compiled.forget_gradients()
        compiled.scaled(computed.total).backward()
        compiled.optimizer.step()
        forget_casts()
        compiled.constrain()
        return logs

    def test(self, batch: Batch) -> Logs:
        """Forward in inference, for the running numbers; gradients are to be disabled."""
        own = self.model._own("test_step")
        return self.test_plainly(batch) if own is None else self._take(own(batch.packed))

    def test_plainly(self, batch: Batch) -> Logs:
        """As `test`, whether or not the model has a `test_step` of its own."""
        return self._enter(batch, self._computed(batch, False))

    def predict(self, batch: Batch) -> Nest:
        """The outputs, in inference; gradients are to be disabled."""
        own = self.model._own("predict_step")
        if own is not None:
            return own(batch.packed)
        if self.jit:
            self.build(batch.x)
        return self._through(_outputs, self.model, batch.x)

    def logs(self) -> dict[str, float]:
        """The numbers of a run so far: of the metrics; or what a step of one's own returned, if that is another set."""
        if self._returned is None:
            return self.compiled.logs()
        own = as_numbers(self._returned)
        numbers = as_numbers({metric.name: metric.result() for metric in self.model.metrics})
        return numbers if numbers.keys() == own.keys() else own

    def begin(self) -> None:
        """Start the numbers again."""
        self._returned = None
        self.model.reset_metrics()

    def build(self, x: Nest) -> None:
        """Build the layers that are not built yet, by a call in inference that leaves nothing else behind."""
        if not self.compiled.built:
            with torch.no_grad(), rehearsing(), keeping_states(self.model):
                call_masked(self.model, (x,), {"training": False}, None)
            for each in own_stateful(self.model):
                each.reset_states()

    # -- the parts ----------------------------------------------------------------------------------------------------

    def _take(self, logs: Any) -> Logs:
        """What a step of one's own returned. Raises TypeError if that is no dict."""
        if not isinstance(logs, dict):
            raise TypeError(
                f"{self.model.described}: a train_step or test_step must return a dict of numbers by name, such as "
                f"{{m.name: m.result() for m in self.metrics}}; got {type(logs).__name__}."
            )
        self._returned = logs
        return functools.partial(as_numbers, logs)

    def _enter(self, batch: Batch, computed: Computed) -> Logs:
        own = self.model._own("compute_metrics")
        if own is None:
            self.compiled.enter(computed, batch.samples)
            return self.compiled.logs
        self.compiled.enter_losses(computed, batch.samples)
        y_pred = computed.outputs[0] if len(computed.outputs) == 1 else computed.outputs
        return self._take(own(batch.x, batch.y, y_pred, batch.weights))

    def _computed(self, batch: Batch, training: bool) -> Computed:
        """The loss of a batch, and what it was computed from."""
        if self.jit:
            self._prepare(batch)
        own = self.model._own("compute_loss")
        options = {"training": training} if own is not None and takes(own, "training") else {}
        return self._through(_forward, self.model, self.compiled, own, options, batch[:3], training)

    def _through(self, function: Any, *args: Any) -> Any:
        """The function of these arguments, as it is or through torch.compile."""
        if not self.jit:
            return function(*args)
        fast = self._fast.get(function.__name__)
        if fast is None:
            # The compiler counts recompilations by code object, and gives up on the ninth: each model has its own.
            own = types.FunctionType(function.__code__.replace(), function.__globals__, function.__name__)
            fast = self._fast[function.__name__] = torch.compile(own)
        return fast(*args)

    def _prepare(self, batch: Batch) -> None:
        """Make what the first call makes outside of the compiled code, and drop the losses that layers have added."""
        if not self.compiled.resolved:
            self.build(batch.x)
            specs = infer(self.model, (map_nest(_symbol, batch.x),), {"training": False})
            device = self.model._where()
            self.compiled.resolve(batch.y, map_nest(lambda spec: _empty(spec, device), specs, _is_spec))
        for layer in layers_of(self.model):
            if layer._added_losses[1]:
                layer._added_losses = (0, [])
        self.compiled.survey  # noqa: B018 (makes it, if there is none)


def _forward(
    model: Any, compiled: Compiled, own: Any, options: dict[str, Any], batch: tuple[Nest, Nest, Nest], training: bool
) -> Computed:
    """From a batch (x, y, weights) to its loss; own: the model's own `compute_loss`, called with these options."""
    x, y, weights = batch
    y_pred, masks = call_masked(model, (x,), {"training": training}, None)
    compiled.resolve(y, y_pred)
    if own is None:
        return compiled.compute(y, y_pred, masks, weights)
    attach(y_pred, masks)
    return compiled.around(own(x, y, y_pred, weights, **options), y, y_pred, masks, weights)


def _outputs(model: Any, x: Nest) -> Nest:
    return call_masked(model, (x,), {"training": False}, None)[0]


def as_numbers(logs: dict[str, Any]) -> dict[str, float]:
    """Logs as floats; a dict among them is spread out, as what `compile` was given for metrics is."""
    numbers: dict[str, float] = {}
    for name, value in logs.items():
        numbers.update(as_numbers(value) if isinstance(value, dict) else {name: as_number(value)})
    return numbers


def takes(function: Any, name: str) -> bool:
    """Whether a bound method takes an argument of that name."""
    return _takes(getattr(function, "__func__", function), name)


@functools.cache
def _takes(function: Any, name: str) -> bool:
    parameters = inspect.signature(function).parameters
    return name in parameters or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())


def _symbol(leaf: Tensor) -> SymbolicTensor:
    return SymbolicTensor(TensorSpec((None, *leaf.shape[1:]), leaf.dtype), None)


def _empty(spec: TensorSpec, device: torch.device) -> Tensor:
    return torch.empty([1 if n is None else n for n in spec.shape], device=device)


def _is_spec(value: Any) -> bool:
    return isinstance(value, TensorSpec)
