"""What optimizers share: torch's optimizer, made without parameters as in Keras, and given them later."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.optim import optimizer as _of_torch

from ostinato.core import registry
from ostinato.core.config import accepts
from ostinato.training.optimizers import applying, ema, gradients, rate
from ostinato.training.optimizers.decay import Decay
from ostinato.training.optimizers.gradients import Batch
from ostinato.training.optimizers.settings import (
    Hyperparameter,
    Option,
    Options,
    Setting,
    amount,
    flag,
    optional,
    positive,
    share,
    steps_from,
)

# torch's own, without the wrapper that imports its compiler, which takes longer than the first epochs of a small model.
_add_param_group: Any = torch.optim.Optimizer.add_param_group.__wrapped__  # type: ignore[attr-defined]
_zero_grad: Any = torch.optim.Optimizer.zero_grad.__wrapped__  # type: ignore[attr-defined]

_hooks_before, _hooks_after = _of_torch._global_optimizer_pre_hooks, _of_torch._global_optimizer_post_hooks

_CLIPS = ("clipnorm", "clipvalue", "global_clipnorm")


class Optimizer(torch.optim.Optimizer):
    """Base of the optimizers: a torch optimizer that is made without parameters, and given them by `build`.

    Then it is what torch's are: `param_groups`, `state_dict`, `zero_grad`, `step`, schedulers of the learning rate. A
    subclass defines `update`, and in `slots` which tensors it keeps for each parameter.

    A step is Keras's: gradients are unscaled, averaged over several steps, and clipped; weights decay; `update` changes
    them; their average follows. What asks for this are options, which all optimizers take by name:

    - weight_decay: `w' = w - lr weight_decay w` before each update; a parameter group may have its own.
    - clipnorm, clipvalue, global_clipnorm: greatest norm of each gradient, greatest absolute value, greatest norm of
      all gradients together. At most one of them; 0 is off.
    - use_ema, ema_momentum, ema_overwrite_frequency: whether to keep an average of the weights, the share of it that is
      kept at each step, and after how many updates, if at all, it is put in their place.
    - loss_scale_factor: by what `scale_loss` multiplies the loss, and `step` divides the gradients.
    - gradient_accumulation_steps: update once in so many steps, by the mean of their gradients.

    Args:
        name: of the optimizer; by default its class's, in lower case.
        options: any of the above; they may also be set as attributes, later.
        **hyperparameters: of the parameter groups; `lr` is the learning rate: a number, a `LearningRateSchedule`, or a
            callable without arguments.

    Raises:
        ValueError: for a setting out of its range.
        TypeError: for an unknown option.

    Source:
        Keras, `optimizers/base_optimizer.py`; `torch.optim.Optimizer`.

    Example:
        >>> import ostinato, torch
        >>> weight = torch.nn.Parameter(torch.ones(2))
        >>> optimizer = ostinato.optimizers.SGD(learning_rate=0.5, clipvalue=1.0)
        >>> optimizer.build([weight])
        >>> (3 * weight).sum().backward()
        >>> optimizer.step()
        >>> weight.data, optimizer.iterations
        (tensor([0.5000, 0.5000]), 1)
    """

    learning_rate = rate.LearningRate()
    weight_decay = Hyperparameter(optional(amount), "Share of the weights, times lr, that an update takes; or None.")
    clipnorm = Option(optional(amount), None, "Greatest norm of each gradient, or None.")
    clipvalue = Option(optional(amount), None, "Greatest absolute value in a gradient, or None.")
    global_clipnorm = Option(optional(amount), None, "Greatest norm of all gradients together, or None.")
    use_ema = Option(flag, False, "Whether to keep an average of the weights.")
    ema_momentum = Option(share, 0.99, "Share of the average that is kept at each step.")
    ema_overwrite_frequency = Option(steps_from(1), None, "Updates until the average replaces the weights, or None.")
    loss_scale_factor = Option(optional(positive), None, "What the loss is multiplied by, or None.")
    gradient_accumulation_steps = Option(steps_from(2), None, "Steps to an update, or None.")

    counters: ClassVar[dict[str, Any]] = {"iterations": 0, "accumulated": 0}
    """What each parameter group counts, beside its hyperparameters: updates, and steps since the last one."""

    name: str
    schedule: Any = None
    """What the learning rate follows, if it is no number."""

    def __init__(
        self, name: str | None = None, options: Options | None = None, *, lr: Any, **hyperparameters: Any
    ) -> None:
        if name is not None and not isinstance(name, str):
            raise TypeError(f"{type(self).__name__}: name must be a string, got {name!r}.")
        self.name = name or type(self).__name__.lower()
        self._asked: dict[str, Any] = {}  # the options that are on
        self._decay = Decay()
        chosen: dict[str, Any] = {**(options or {})}
        for key in chosen.keys() - Options.__annotations__.keys():
            hint = registry.nearest(key, [*Options.__annotations__, *hyperparameters, "learning_rate", "name"])
            raise TypeError(f"{self.described}: unknown argument {key!r}.{hint}")
        if callable(lr):
            self.schedule = rate.checked(lr, self.described)
        defaults = {
            "lr": lr if self.schedule is None else 0.0,  # a schedule's is not known before the first update
            "weight_decay": chosen.pop("weight_decay", None),
            **hyperparameters,
        }
        for key, value in defaults.items():
            self.check(key, value)
        for key, value in chosen.items():
            setattr(self, key, value)
        # torch asks for parameters at once. It gets one, and loses it again: until `build` there are no groups, and a
        # scheduler that asks for them is told so, instead of scheduling nothing.
        super().__init__([torch.empty(0)], {**defaults, **self.counters})
        del self.param_groups

    def __getattr__(self, attribute: str) -> Any:
        if attribute == "param_groups":
            raise AttributeError(
                f"{self.described} has no parameters yet: call build(parameters), or fit a model with it, first."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {attribute!r}")

    @property
    def described(self) -> str:
        """Class and name, for messages: `Adam 'adam'`."""
        return f"{type(self).__name__} {self.name!r}"

    def __repr__(self) -> str:
        first = self.first_group["lr"] if self.schedule is None else self.schedule
        settings = {"learning_rate": first, **self._own_settings(), "weight_decay": self.weight_decay, **self._asked}
        shown = ", ".join(f"{key}={value!r}" for key, value in settings.items() if value is not None)
        return f"{type(self).__name__}({shown})"

    @property
    def built(self) -> bool:
        """Whether it has parameters."""
        return "param_groups" in self.__dict__

    @property
    def first_group(self) -> dict[str, Any]:
        """Where hyperparameters are read: the first parameter group, or the defaults as long as there is none."""
        return self.param_groups[0] if self.built else self.defaults

    @property
    def iterations(self) -> int:
        """How many updates were made."""
        return max(group["iterations"] for group in self.param_groups) if self.built else 0

    @property
    def steps_taken(self) -> int:
        """How many steps were taken, those that only gathered gradients too; schedules go by it."""
        return self.iterations * (self.gradient_accumulation_steps or 1) + self.first_group["accumulated"]

    @property
    def updated(self) -> bool:
        """Whether the last step changed the parameters; it did not if it only gathered gradients, or there was none."""
        return self.iterations > 0 and self.first_group["accumulated"] == 0

    def check(self, key: str, value: Any) -> None:
        """Raise ValueError unless `value` will do for the setting `key`, such as "lr" or "clipnorm"."""
        setting = getattr(type(self), "learning_rate" if key == "lr" else key, None)
        must = setting.kind(value) if isinstance(setting, Setting) else ""
        if setting is not None and must:
            raise ValueError(f"{self.described}: {setting.name} must be {must}, got {value!r}.{setting.hint}")
        others = [each for each in _CLIPS if each in self._asked and each != key]
        if key in _CLIPS and value is not None and others:
            raise ValueError(
                f"{self.described}: only one of clipnorm, clipvalue and global_clipnorm can be set, got "
                f"{key}={value!r} and {others[0]}={self._asked[others[0]]!r}."
            )

    # -- parameters ---------------------------------------------------------------------------------------------------

    def build(self, parameters: Iterable[Any]) -> None:
        """Take the parameters that are to be changed; taking the same ones again does nothing.

        parameters: floating tensors, or pairs of a name and one; the order is that of `state_dict`.
        Raises ValueError if there are none, or if it has taken others before; TypeError for what is no parameter.
        """
        given = list(parameters)
        tensors = [each[1] if isinstance(each, tuple) and len(each) == 2 else each for each in given]
        if self.built:
            known = {id(each) for group in self.param_groups for each in group["params"]}
            if known != {id(each) for each in tensors}:
                raise ValueError(
                    f"{self.described} was built for {len(known)} other parameters than these {len(given)}. Make a new "
                    f"optimizer for them, or add to it with add_param_group."
                )
            return
        if not given:
            raise ValueError(
                f"{self.described}: there are no parameters to change. Has the model any trainable weights, and is it "
                f"built?"
            )
        for each in tensors:
            if not isinstance(each, Tensor) or not each.is_floating_point():
                what = f"a tensor of {each.dtype}" if isinstance(each, Tensor) else type(each).__name__
                raise TypeError(f"{self.described}: parameters must be floating tensors, got {what}.")
        self._decay.require_names(self.described, given)
        self.param_groups = []
        self.add_param_group({"params": given})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch's: more parameters, with hyperparameters of their own if it names any.

        Raises AttributeError before `build`; ValueError for an lr of its own where there is a schedule.
        """
        for key in param_group.keys() & self.defaults.keys() - self.counters.keys():
            self.check(key, param_group[key])
        if "lr" in param_group and self.schedule is not None:
            raise ValueError(
                f"{self.described}: the group has an lr of its own, but the rate follows {self.schedule!r}."
            )
        if self.param_groups:  # all groups gather gradients for the same update
            param_group.setdefault("accumulated", self.first_group["accumulated"])
        _add_param_group(self, param_group)
        if "param_names" in param_group:
            self._decay.enter(param_group["param_names"], param_group["params"])

    def exclude_from_weight_decay(
        self, var_list: Iterable[Tensor] | None = None, var_names: Sequence[str] | None = None
    ) -> None:
        """Leave these parameters out of the weight decay, and no others; before `build`.

        var_list: parameters. var_names: regular expressions, looked for in a parameter's own name, "bias" of
        "encoder.bias"; then `build` must be given names.
        Raises ValueError after `build`.

        >>> import ostinato
        >>> optimizer = ostinato.optimizers.SGD(0.1, weight_decay=0.5)
        >>> optimizer.exclude_from_weight_decay(var_names=["bias"])
        >>> optimizer.build(torch.nn.Linear(1, 1).named_parameters())
        """
        if self.built:
            raise ValueError(f"{self.described}: exclude_from_weight_decay() can only be called before build().")
        if isinstance(var_names, str):
            raise ValueError(f"{self.described}: var_names must be a list of names, got {var_names!r}.")
        self._decay = Decay(var_list or (), var_names or ())

    def slots(
        self, parameters: list[Tensor], name: str, first: Callable[[Tensor], Tensor] = torch.zeros_like
    ) -> list[Tensor]:
        """The tensors that are kept under `name`, one for each parameter; at first what `first` makes of it."""
        state = self.state
        found = []
        for parameter in parameters:
            kept = state[parameter]
            if name not in kept:
                kept[name] = first(parameter)
            found.append(kept[name])
        return found

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, as torch's does."""
        if self.built:
            _zero_grad(self, set_to_none)

    # -- a step -------------------------------------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change the parameters by their gradients; those without one are left as they are.

        closure: evaluates the model again and returns the loss, which is then returned.
        Raises ValueError before `build`, and for sparse gradients.
        """
        given = () if closure is None else (closure,)
        return self._watched_step(*given) if self._is_watched() else self._step(*given)

    # torch wraps `step` of each class in its hooks and an entry in its profiler, unless it is told that this is done.
    # Nobody may be watching, and a small model feels the difference.
    step.hooked = True  # type: ignore[attr-defined]

    def _is_watched(self) -> bool:
        """Whether a hook or the profiler waits for a step, and has not been told of this one."""
        if type(self).step is not Optimizer.step:
            return False  # torch has wrapped that one
        own = self._optimizer_step_pre_hooks or self._optimizer_step_post_hooks
        return bool(own or _hooks_before or _hooks_after or torch._C._autograd._profiler_enabled())

    def _step(self, closure: Callable[[], Any] | None = None) -> Any:
        """`step`, once hooks have run."""
        if not self.built:
            raise ValueError(f"{self.described} has no parameters yet: call build(parameters) before step().")
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            batches = [gradients.collect(group, self.described) for group in self.param_groups]
            if self._asked:
                self._step_as_asked(batches)
            else:
                self._change(batches)
        return loss

    _watched_step = torch.optim.Optimizer.profile_hook_step(_step)

    def _change(self, batches: list[Batch]) -> None:
        """One update."""
        if self.schedule is not None:
            rate.follow(self)
        for group, parameters, grads in batches:
            group["iterations"] += 1
            if parameters:
                if group["weight_decay"]:
                    self._decay.apply(group, parameters)
                self.update(group, parameters, grads)

    def _step_as_asked(self, batches: list[Batch]) -> None:
        """One step with options: gradients are treated first, the average of the weights follows."""
        iterations = self.iterations
        if gradients.prepare(self, batches):
            self._change(batches)
            gradients.start_again(self)
        if self.use_ema:
            ema.follow(self, iterations)

    def update(self, group: dict[str, Any], parameters: list[Tensor], grads: list[Tensor]) -> None:
        """Change `parameters` in place by `grads`, with the hyperparameters in `group`; gradients are disabled.

        group["iterations"] counts from 1. Raises NotImplementedError unless a subclass defines it.
        """
        raise NotImplementedError(f"{type(self).__name__} must define update(group, parameters, grads).")

    # -- what Keras's training steps call -----------------------------------------------------------------------------

    def apply(self, grads: Iterable[Tensor | None], trainable_variables: Iterable[Tensor] | None = None) -> None:
        """One step by gradients that are given; those on the parameters do not count, and stay.

        grads: one for each variable, None where there is none; nothing is done if there are none at all.
        trainable_variables: parameters; by default all it was built for. The first call may build it.
        Raises ValueError for variables it was not built for, gradients of other shapes, or if all are None.

        >>> import ostinato
        >>> weight, optimizer = torch.nn.Parameter(torch.ones(1)), ostinato.optimizers.SGD(0.5)
        >>> optimizer.apply([torch.ones(1)], [weight])
        >>> weight.data
        tensor([0.5000])
        """
        given = list(grads)
        if given:
            with applying.in_place(self, applying.matched(self, given, trainable_variables)):
                self.step()

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Tensor | None, Tensor]]) -> int:
        """`apply` for pairs of a gradient and a variable; returns `iterations`."""
        pairs = list(grads_and_vars)
        self.apply([grad for grad, _ in pairs], [variable for _, variable in pairs])
        return self.iterations

    @property
    def variables(self) -> list[Tensor]:
        """The tensors of its state: the steps taken, the learning rate if it is a number, then those it keeps."""
        return applying.variables(self)

    def scale_loss(self, loss: Tensor) -> Tensor:
        """The loss to differentiate: times `loss_scale_factor`, by which `step` divides, if there is one."""
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

    def finalize_variable_values(self, var_list: Iterable[Tensor]) -> None:
        """Training is over: with `use_ema`, put the averages of these parameters in their place.

        Raises ValueError for parameters it was not built for.
        """
        if self.use_ema:
            ema.overwrite(self, list(var_list))

    # -- copies and configs -------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        # A scheduler of torch's puts a `step` here that is bound to this optimizer, which a copy must not have.
        return {key: value for key, value in self.__dict__.items() if not key.endswith("_hooks") and key != "step"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in state.get("param_groups", ()):  # one that was saved may lack what has come since
            for key, value in self.defaults.items():
                group.setdefault(key, value)

    def _own_settings(self) -> dict[str, Any]:
        """The hyperparameters that not every optimizer has."""
        held = self.first_group
        shared = {"lr", "weight_decay", "differentiable", *self.counters}
        return {key: held[key] for key in self.defaults if key not in shared}

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as they are now, under Keras's names."""
        follows = self.schedule is not None
        options = {key: getattr(self, key) for key in Options.__annotations__}
        config = {**options, **self._own_settings()}
        return {
            "name": self.name,
            "learning_rate": registry.serialize_keras_object(self.schedule) if follows else float(self.learning_rate),
            **{key: each.item() if hasattr(each, "item") else each for key, each in config.items()},
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The optimizer that `get_config`, here or in Keras, described.

        Raises TypeError for an argument that the class does not take, unless it is an option that is off.
        """
        found = {
            key: value
            for key, value in config.items()
            if accepts(cls, key) or key not in Options.__annotations__ or value != _off(key)
        }
        if isinstance(found.get("learning_rate"), dict):
            found["learning_rate"] = registry.deserialize_keras_object(found["learning_rate"], kind="schedules")
        return cls(**found)


def _off(option: str) -> Any:
    """The value at which an option asks for nothing."""
    return getattr(getattr(Optimizer, option), "default", None)
