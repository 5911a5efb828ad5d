"""Gradients that are given to an optimizer, as Keras's training steps give them, instead of found on parameters."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ostinato.training.optimizers.base import Optimizer


def matched(optimizer: Optimizer, grads: list[Any], variables: Iterable[Tensor] | None) -> list[tuple[Tensor, Tensor]]:
    """(parameter, gradient) where there is a gradient; builds the optimizer for `variables` if that has not been done.

    Raises ValueError for parameters it does not know, gradients that do not fit, or if there are none; warns of single
    ones that are missing.
    """
    who = optimizer.described
    if variables is None and not optimizer.built:
        raise ValueError(f"{who}: apply(grads) needs trainable_variables, or build(variables) before.")
    given = None if variables is None else list(variables)
    if given is not None and not optimizer.built:
        optimizer.build(given)
    names = _named(optimizer)
    parameters = list(names) if given is None else given
    if len(grads) != len(parameters):
        raise ValueError(f"{who}: apply got {len(grads)} gradients for {len(parameters)} trainable variables.")
    for parameter in parameters:
        if parameter not in names:
            raise ValueError(
                f"{who}: unknown variable of shape {tuple(parameter.shape)}; it was built for {len(names)} others. "
                f"Make a new optimizer for other variables, or add to it with add_param_group."
            )
    pairs = [
        (each, _fitting(who, names[each], each, g)) for each, g in zip(parameters, grads, strict=True) if g is not None
    ]
    if not pairs:
        raise ValueError(f"{who}: no gradients provided for any variable; all {len(grads)} are None.")
    missing = [names[each] for each, g in zip(parameters, grads, strict=True) if g is None]
    if missing:
        warnings.warn(
            f"{who}: gradients do not exist for variables {missing}; they are left as they are.", stacklevel=4
        )
    return pairs


def _named(optimizer: Optimizer) -> dict[Tensor, str]:
    """The optimizer's parameters, each with its name, or what there is in place of one."""
    found: dict[Tensor, str] = {}
    for group in optimizer.param_groups:
        unnamed = [f"{number} {tuple(each.shape)}" for number, each in enumerate(group["params"], start=len(found))]
        found.update(zip(group["params"], group.get("param_names", unnamed), strict=True))
    return found


def _fitting(who: str, name: str, parameter: Tensor, grad: Any) -> Tensor:
    """The gradient, in the parameter's dtype. Raises TypeError for what is no tensor, ValueError for another shape."""
    if not isinstance(grad, Tensor):
        raise TypeError(f"{who}: the gradient of variable {name} must be a tensor, got {type(grad).__name__}.")
    if grad.shape != parameter.shape or grad.device != parameter.device:
        raise ValueError(
            f"{who}: the gradient of variable {name} must be {tuple(parameter.shape)} on {parameter.device}, got "
            f"{tuple(grad.shape)} on {grad.device}."
        )
    return grad.detach().to(parameter.dtype)


@contextlib.contextmanager
def in_place(optimizer: Optimizer, pairs: list[tuple[Tensor, Tensor]]) -> Iterator[None]:
    """While the block runs, the optimizer's parameters have these gradients and no others."""
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    before = [each.grad for each in parameters]
    try:
        for each in parameters:
            each.grad = None
        for parameter, grad in pairs:
            parameter.grad = grad
        yield
    finally:
        for each, grad in zip(parameters, before, strict=True):
            each.grad = grad


def variables(optimizer: Optimizer) -> list[Tensor]:
    """The optimizer's state, in Keras's order: its counts, averages, gathered gradients, then each parameter's own."""
    counts = [torch.tensor(optimizer.steps_taken)]
    if optimizer.schedule is None:
        counts.append(torch.tensor(float(optimizer.learning_rate)))
    if not optimizer.built:
        return counts
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    kept = [optimizer.state[each] for each in parameters if each in optimizer.state]
    first = ("average", "gradient_accumulator")
    shared = [slots[name] for name in first for slots in kept if name in slots]
    return counts + shared + [each for slots in kept for name, each in slots.items() if name not in first]
