"""What optimizers share: torch's optimizer, made without parameters as in Keras, and given them later."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Self

import torch
from torch import Tensor

# What a config written by Keras says of options that are not here, while they are off.
_OFF = {
    "weight_decay": None,
    "clipnorm": None,
    "global_clipnorm": None,
    "clipvalue": None,
    "use_ema": False,
    "ema_overwrite_frequency": None,
    "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
}


# torch's own, without the wrapper that imports its compiler, which takes longer than the first epochs of a small model.
_add_param_group: Any = torch.optim.Optimizer.add_param_group.__wrapped__  # type: ignore[attr-defined]
_zero_grad: Any = torch.optim.Optimizer.zero_grad.__wrapped__  # type: ignore[attr-defined]


class Hyperparameter:
    """An attribute that lives in the parameter groups, where torch's schedulers look for it; before, in `defaults`."""

    def __init__(self, key: str, doc: str) -> None:
        self.key, self.__doc__ = key, doc

    def __get__(self, optimizer: Any, owner: Any = None) -> Any:
        if optimizer is None:
            return self
        return (optimizer.param_groups[0] if optimizer.built else optimizer.defaults)[self.key]

    def __set__(self, optimizer: Any, value: Any) -> None:
        optimizer.check(self.key, value)
        for holder in (optimizer.defaults, *(optimizer.param_groups if optimizer.built else ())):
            holder[self.key] = value


class Optimizer(torch.optim.Optimizer):
    """Base of the optimizers: a torch optimizer that is made without parameters, and given them by `build`.

    Then it is what torch's are: `param_groups`, `state_dict`, `zero_grad`, `step`, schedulers of the learning rate. A
    subclass defines `update`, and in `slots` which tensors it keeps for each parameter.

    Args:
        name: of the optimizer; by default its class's, in lower case.
        **hyperparameters: of the parameter groups; `lr` is the learning rate.

    Raises:
        ValueError: for a hyperparameter out of its range.

    Source:
        Keras, `optimizers/base_optimizer.py`; `torch.optim.Optimizer`.

    Example:
        >>> import ostinato, torch
        >>> weight = torch.nn.Parameter(torch.ones(2))
        >>> optimizer = ostinato.optimizers.SGD(learning_rate=0.5)
        >>> optimizer.build([weight])
        >>> weight.sum().backward()
        >>> optimizer.step()
        >>> weight.data, optimizer.iterations
        (tensor([0.5000, 0.5000]), 1)
    """

    learning_rate = Hyperparameter("lr", "The learning rate: a number, which may be set at any time.")
    name: str
    flags: tuple[str, ...] = ()
    """Hyperparameters that are True or False; all others are numbers."""

    def __init__(self, name: str | None = None, **hyperparameters: Any) -> None:
        self.name = name or type(self).__name__.lower()
        for key, value in hyperparameters.items():
            self.check(key, value)
        # torch asks for parameters at once. It gets one, and loses it again: until `build` there are no groups, and a
        # scheduler that asks for them is told so, instead of scheduling nothing.
        super().__init__([torch.empty(0)], {**hyperparameters, "iterations": 0})
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
        options = {key: value for key, value in self.get_config().items() if key != "name"}
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in options.items())})"

    @property
    def built(self) -> bool:
        """Whether it has parameters."""
        return "param_groups" in self.__dict__

    @property
    def iterations(self) -> int:
        """How many steps were taken."""
        return max(group["iterations"] for group in self.param_groups) if self.built else 0

    def check(self, key: str, value: Any) -> None:
        """Raise ValueError unless `value` will do for the hyperparameter `key`."""
        shown = "learning_rate" if key == "lr" else key
        if key in self.flags:
            if not isinstance(value, bool):
                raise ValueError(f"{self.described}: {shown} must be True or False, got {value!r}.")
            return
        tensor = isinstance(value, Tensor) and value.numel() == 1
        if isinstance(value, bool) or not (tensor or isinstance(value, (int, float))):
            hint = (
                " For a schedule, give the built optimizer to one of torch.optim.lr_scheduler." if key == "lr" else ""
            )
            raise ValueError(f"{self.described}: {shown} must be a number, got {value!r}.{hint}")
        unbounded = key in ("lr", "epsilon")
        if not (value >= 0 and (unbounded or value <= 1)):
            allowed = "at least 0" if unbounded else "in [0, 1]"
            raise ValueError(f"{self.described}: {shown} must be {allowed}, got {value!r}.")

    def build(self, parameters: Iterable[Tensor]) -> None:
        """Take the parameters that are to be changed; taking the same ones again does nothing.

        parameters: floating tensors, the order is that of `state_dict`.
        Raises ValueError if there are none, or if it has taken others before; TypeError for what is no parameter.
        """
        given = list(parameters)
        if self.built:
            known = {id(each) for group in self.param_groups for each in group["params"]}
            if known != {id(each) for each in given}:
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
        for each in given:
            if not isinstance(each, Tensor) or not each.is_floating_point():
                what = f"a tensor of {each.dtype}" if isinstance(each, Tensor) else type(each).__name__
                raise TypeError(f"{self.described}: parameters must be floating tensors, got {what}.")
        self.param_groups = []
        self.add_param_group({"params": given})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch's: more parameters, with hyperparameters of their own if it names any.

        Raises AttributeError before `build`.
        """
        for key in param_group.keys() & self.defaults.keys() - {"iterations"}:
            self.check(key, param_group[key])
        _add_param_group(self, param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, as torch's does."""
        if self.built:
            _zero_grad(self, set_to_none)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change the parameters by their gradients; those without one are left as they are.

        closure: evaluates the model again and returns the loss, which is then returned.
        Raises ValueError before `build`, and for sparse gradients.
        """
        if not self.built:
            raise ValueError(f"{self.described} has no parameters yet: call build(parameters) before step().")
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                group["iterations"] += 1
                parameters = [each for each in group["params"] if each.grad is not None]
                if parameters:
                    grads = [each.grad for each in parameters]
                    for parameter, grad in zip(parameters, grads, strict=True):
                        if grad.layout is not torch.strided:
                            raise ValueError(
                                f"{self.described}: the gradient of the parameter of shape {tuple(parameter.shape)} is "
                                f"{grad.layout}. It takes dense ones; torch.optim.SparseAdam takes sparse ones."
                            )
                    self.update(group, parameters, grads)
        return loss

    def update(self, group: dict[str, Any], parameters: list[Tensor], grads: list[Tensor]) -> None:
        """Change `parameters` in place by `grads`, with the hyperparameters in `group`; gradients are disabled.

        group["iterations"] counts from 1. Raises NotImplementedError unless a subclass defines it.
        """
        raise NotImplementedError(f"{type(self).__name__} must define update(group, parameters, grads).")

    def slots(self, parameters: list[Tensor], name: str) -> list[Tensor]:
        """The tensors that are kept under `name`, one for each parameter; zeros at first."""
        state = self.state
        found = []
        for parameter in parameters:
            kept = state[parameter]
            if name not in kept:
                kept[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            found.append(kept[name])
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if not key.endswith("_hooks")}

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as they are now."""
        held = self.param_groups[0] if self.built else self.defaults
        options = {key: held[key] for key in self.defaults if key not in ("iterations", "differentiable")}
        return {"name": self.name, "learning_rate": float(options.pop("lr")), **options}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The optimizer that `get_config` described.

        A config that Keras wrote may do with options that are not here as long as they are off.
        Raises ValueError if one of them is on; TypeError for an unknown argument.
        """
        for key, off in _OFF.items():
            if config.get(key, off) != off:
                raise ValueError(f"{cls.__name__}: {key}={config[key]!r} is not supported yet.")
        return cls(**{key: value for key, value in config.items() if key not in _OFF and key != "ema_momentum"})
