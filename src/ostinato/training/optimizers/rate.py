"""The learning rate: a number in the parameter groups, or what a schedule or a callable says at each update."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch

from ostinato.training.optimizers.schedules import LearningRateSchedule
from ostinato.training.optimizers.settings import Hyperparameter, amount

if TYPE_CHECKING:
    from ostinato.training.optimizers.base import Optimizer


class LearningRate(Hyperparameter):
    """The attribute: reads the rate now; takes a number, or, at any time, a schedule or a callable in its place.

    Setting raises ValueError for anything else, and TypeError for a number where there is a schedule.
    """

    key = "lr"
    hint = " It may also be a LearningRateSchedule, or a callable without arguments."

    def __init__(self) -> None:
        super().__init__(amount, "The learning rate now; a number may be set, unless it follows a schedule.")

    def __get__(self, optimizer: Any, owner: Any = None) -> Any:
        if optimizer is None or optimizer.schedule is None:
            return super().__get__(optimizer, owner)
        return scheduled(optimizer)

    def __set__(self, optimizer: Any, value: Any) -> None:
        if callable(value):
            optimizer.schedule = checked(value, optimizer.described)
            return
        if optimizer.schedule is not None:
            raise TypeError(
                f"{optimizer.described}: its learning_rate follows {optimizer.schedule!r} and cannot be set to "
                f"{value!r}. Make the optimizer with a number, or set another schedule."
            )
        super().__set__(optimizer, value)


def checked(schedule: Any, who: str) -> Any:
    """The schedule or callable. Raises ValueError for a class of schedules, which is callable too."""
    if inspect.isclass(schedule):
        raise ValueError(f"{who}: learning_rate is the class {schedule.__name__}; give it one that is made from it.")
    return schedule


def scheduled(optimizer: Optimizer) -> float:
    """What the optimizer's schedule says now. Raises ValueError if that is no learning rate."""
    schedule = optimizer.schedule
    if isinstance(schedule, LearningRateSchedule):
        # As in Keras a tensor, so that a schedule of the user's may compute with it as with one.
        rate = schedule(torch.tensor(optimizer.steps_taken, device="cpu"))
    else:
        rate = schedule()
    optimizer.check("lr", rate)
    return float(rate)


def follow(optimizer: Optimizer) -> None:
    """Before an update: enter what the schedule says into the parameter groups.

    Raises ValueError if a scheduler of torch's is at work on them too: one would undo what the other does.
    """
    if any("initial_lr" in group for group in optimizer.param_groups):
        raise ValueError(
            f"{optimizer.described}: its learning_rate follows {optimizer.schedule!r}, so that a torch scheduler has "
            f"no effect on it. Use one of them."
        )
    rate = scheduled(optimizer)
    for group in optimizer.param_groups:
        group["lr"] = rate
