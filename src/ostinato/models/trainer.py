"""What a model can be asked to do with data: compile, fit, evaluate, predict and their kin."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ostinato.core.layer import Layer
from ostinato.core.masks import mask_of
from ostinato.recurrence.nests import Nest, flatten
from ostinato.training import loop
from ostinato.training.callbacks.history import History
from ostinato.training.compiled import Compiled, metrics_of
from ostinato.training.plan import plan_fit, plan_pass
from ostinato.training.sources.base import Batch, unpack
from ostinato.training.step import Step, as_numbers


class Trainer(Layer):
    """A layer with Keras's training methods; `Model` is the one to use.

    To train in a way of one's own, a subclass defines `train_step(data)` (and `test_step`, `predict_step`), or only
    `compute_loss` or `compute_metrics`; `fit` and the others call them.
    """

    _compiled: Compiled | None
    _step: Step
    history: History | None
    stop_training: bool
    loss: Any
    run_eagerly: bool
    jit_compile: bool

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        self = super().__new__(cls, *args, **kwargs)
        self.__dict__.update(_compiled=None, history=None, stop_training=False, loss=None)
        self.__dict__.update(run_eagerly=False, jit_compile=False)
        self.__dict__["_step"] = Step(self, None)
        return self

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: Any = "auto",
    ) -> None:
        """Say how the model is trained. (This is Keras's `compile`; torch's is `torch.compile(model)`.)

        optimizer: name or object of `ostinato.optimizers`, a torch optimizer, or what makes one from parameters.
        loss: name, object or function `(y_true, y_pred) -> loss per sample`, or a list or dict of them for several
        outputs. loss_weights: what each output's loss is multiplied by; a number, list or dict. metrics: list of names,
        objects, functions, or metrics of torchmetrics; for several outputs a flat list is for each output, unless there
        is just one for each. weighted_metrics: likewise, of those that take sample weights. jit_compile: whether
        forward, loss and backward go through torch.compile; "auto" is False. run_eagerly: True refuses that.
        steps_per_execution: 1 (accepted for Keras's sake).
        Raises ValueError for unknown names and for what does not fit together.
        """
        if jit_compile not in (True, False, "auto", None):
            raise ValueError(f"{self.described}: jit_compile must be True, False or 'auto', got {jit_compile!r}.")
        if run_eagerly and jit_compile is True:
            raise ValueError(f"{self.described}: run_eagerly=True and jit_compile=True exclude each other.")
        if steps_per_execution != 1:
            raise ValueError(
                f"{self.described}: steps_per_execution must be 1, got {steps_per_execution!r}: no function here takes "
                f"several steps at once."
            )
        self._compiled = Compiled(self, optimizer, loss, loss_weights, metrics, weighted_metrics)
        self.__dict__["_step"] = Step(self, self._compiled, jit_compile is True)
        self.__dict__.update(loss=loss, run_eagerly=bool(run_eagerly), jit_compile=jit_compile is True)

    def _compiled_for(self, what: str) -> Compiled:
        if self._compiled is None:
            raise ValueError(f"{self.described}: call compile(optimizer, loss) before {what}().")
        return self._compiled

    def _own(self, name: str) -> Any:
        """The model's own method of that name; None if it is the library's."""
        if name in self.__dict__:
            return self.__dict__[name]
        return None if getattr(type(self), name) is getattr(Trainer, name) else getattr(self, name)

    @property
    def compiled(self) -> bool:
        """Whether `compile` was called."""
        return self._compiled is not None

    @property
    def optimizer(self) -> Any:
        """The optimizer that `compile` was given."""
        return self._compiled_for("optimizer").optimizer

    @property
    def metrics(self) -> list[Any]:
        """All metrics: of the loss, of what `compile` was given, and those that are attributes of the model."""
        compiled = [] if self._compiled is None else self._compiled.all
        return [*compiled, *metrics_of(self)]

    @property
    def metrics_names(self) -> list[str]:
        """Names of what `evaluate` returns, in order; none before `compile`."""
        return [] if self._compiled is None else self._compiled.names

    def reset_metrics(self) -> None:
        """Start all metrics again."""
        for metric in self.metrics:
            metric.reset_state()

    def get_metrics_result(self) -> dict[str, Any]:
        """The numbers of all metrics so far, by name."""
        results: dict[str, Any] = {}
        for metric in self.metrics:
            found = metric.result()
            results.update(found if isinstance(found, dict) else {metric.name: found})
        return results

    # -- for a subclass to define -------------------------------------------------------------------------------------

    def train_step(self, data: Any) -> dict[str, Any]:
        """What `fit` does with a batch; returns the numbers so far, by name.

        data: x, (x, y) or (x, y, sample_weight), nests of tensors.
        """
        self._compiled_for("train_step")
        return as_numbers(self._step.train_plainly(_as_batch(data, self.described))())

    def test_step(self, data: Any) -> dict[str, Any]:
        """What `evaluate` does with a batch; returns the numbers so far, by name."""
        self._compiled_for("test_step")
        return as_numbers(self._step.test_plainly(_as_batch(data, self.described))())

    def predict_step(self, data: Any) -> Nest:
        """What `predict` does with a batch; returns the outputs."""
        return self(unpack(data, self.described)[0], training=False)

    def compute_loss(
        self, x: Nest = None, y: Nest = None, y_pred: Nest = None, sample_weight: Nest = None, training: bool = True
    ) -> Tensor:
        """The loss of a batch, a scalar: what `compile` was given, and what layers added in the latest call."""
        compiled = self._compiled_for("compute_loss")
        compiled.resolve(y, y_pred)
        computed = compiled.compute(y, y_pred, mask_of(y_pred), sample_weight)
        compiled.loss.enter(computed.values, len(flatten(y_pred)[0]))
        return computed.total

    def compute_metrics(
        self, x: Nest = None, y: Nest = None, y_pred: Nest = None, sample_weight: Nest = None
    ) -> dict[str, Any]:
        """Enter a batch into the metrics that `compile` was given; returns the numbers of all metrics, by name."""
        self._compiled_for("compute_metrics").metrics.update_state(y, y_pred, sample_weight)
        return self.get_metrics_result()

    # -- runs ---------------------------------------------------------------------------------------------------------

    def fit(
        self,
        x: Any = None,
        y: Nest = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Nest = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: Any = 1,
        seed: int | None = None,
    ) -> History:
        """Train for a number of epochs.

        x, y: arrays or tensors, or nests of them, batch first. Or x alone: a torch `Dataset` of samples, or what gives
        batches x, (x, y) or (x, y, sample_weight): a `DataLoader`, an iterable, a generator, an object with `len()` and
        `[index]`. batch_size: in samples, 32 by default; only where there are no batches yet. epochs: the number of the
        last one; initial_epoch: how many count as done. verbose: 0 silent, 1 a progress bar, 2 a line per epoch, "auto"
        a bar on a terminal or in a notebook, else a line. callbacks: a list of `ostinato.callbacks`. validation_data:
        (x, y), (x, y, sample_weight) or a source as x, evaluated after each epoch. validation_split: the share of
        arrays, their last samples, to validate with instead. shuffle: a new order each epoch. class_weight: by class,
        1 for a class that is not named. sample_weight: `(batch,)` or `(batch, time)`; for several outputs one for all,
        a list or a dict. steps_per_epoch: batches in an epoch, which then goes on where the last one stopped.
        validation_steps: batches in a validation, the same ones each time (of a generator, the next). validation_freq:
        epochs between validations, or a list of those that have one, from 1. seed: of all that this run draws (order,
        dropout masks, first weights, and what plain torch modules draw); what is drawn after it goes on as without it.
        Returns a `History` with the loss and metrics of each epoch.
        Raises ValueError or TypeError for data that does not fit, before anything is computed as far as it can be told;
        for a stateful model, if batches differ in size.
        """
        self._compiled_for("fit")
        plan = plan_fit(
            self,
            x,
            y,
            batch_size=batch_size,
            epochs=epochs,
            verbose=verbose,
            callbacks=callbacks,
            validation_split=validation_split,
            validation_data=validation_data,
            shuffle=shuffle,
            class_weight=class_weight,
            sample_weight=sample_weight,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            validation_steps=validation_steps,
            validation_batch_size=validation_batch_size,
            validation_freq=validation_freq,
            seed=seed,
        )
        return loop.fit(self, self._step, plan)

    def evaluate(
        self,
        x: Any = None,
        y: Nest = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Nest = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Loss and metrics over data, without training: a list as `metrics_names`, one number, or a dict.

        x, y, batch_size, sample_weight: as for `fit`. steps: batches, all by default.
        """
        self._compiled_for("evaluate")
        source = plan_pass(self, "evaluate", x, y, sample_weight, batch_size)
        logs = loop.evaluate(self, self._step, source, steps=steps, verbose=verbose, callbacks=callbacks)
        return _in_form(logs, return_dict)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Nest:
        """Outputs for data, batch by batch, in inference; a nest of NumPy arrays.

        x: as for `fit`; targets and weights in its batches are left out. steps: batches, all by default.
        """
        source = plan_pass(self, "predict", x, None, None, batch_size)
        return loop.predict(self, self._step, source, steps=steps, verbose=verbose, callbacks=callbacks)

    def predict_on_batch(self, x: Nest) -> Nest:
        """Outputs for one batch, in inference; a nest of NumPy arrays."""
        return loop.predict_on_batch(self, self._step, x)

    def train_on_batch(
        self, x: Nest, y: Nest = None, sample_weight: Nest = None, class_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """One step of the optimizer on one batch; its loss and metrics, in the form of `evaluate`."""
        self._compiled_for("train_on_batch")
        return _in_form(loop.train_on_batch(self, self._step, x, y, sample_weight, class_weight), return_dict)

    def test_on_batch(self, x: Nest, y: Nest = None, sample_weight: Nest = None, return_dict: bool = False) -> Any:
        """Loss and metrics on one batch, without training, as `evaluate` gives them."""
        self._compiled_for("test_on_batch")
        return _in_form(loop.test_on_batch(self, self._step, x, y, sample_weight), return_dict)


def _as_batch(data: Any, who: str) -> Batch:
    x, y, weights = unpack(data, who)
    return Batch(x, y, weights, len(flatten(x)[0]))


def _in_form(logs: dict[str, float], return_dict: bool) -> Any:
    """Numbers as Keras returns them: a dict if asked for, else a list, or a single number alone."""
    if return_dict:
        return logs
    return list(logs.values()) if len(logs) > 1 else next(iter(logs.values()))
