"""Learning rates that change from step to step, by Keras's names and formulas."""

from __future__ import annotations

import dataclasses
import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Self

from ostinato.core import registry


class LearningRateSchedule:
    """Base: a callable from a step, counted from 0, to the learning rate of that step.

    A subclass defines `__call__`, and `get_config` if it is to be saved. An optimizer calls it with a tensor of one
    integer, as Keras does: the number of steps before this one, those that only accumulated gradients counted too.

    Source:
        Keras, `optimizers/schedules/learning_rate_schedule.py`.

    Example:
        >>> import ostinato
        >>> class Inverse(ostinato.optimizers.schedules.LearningRateSchedule):
        ...     def __call__(self, step):
        ...         return 0.5 / (step + 1)
        >>> ostinato.optimizers.SGD(Inverse()).learning_rate
        0.5
    """

    def __call__(self, step: Any) -> Any:
        """The learning rate of a step. Raises NotImplementedError unless a subclass defines it."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(step).")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments. Raises NotImplementedError unless a subclass defines it."""
        raise NotImplementedError(f"{type(self).__name__} must define get_config() to be saved.")

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The schedule that `get_config` described."""
        return cls(**config)


class _Formula(LearningRateSchedule):
    """A schedule of this file: a dataclass, whose fields are its config."""

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as they are now."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]

    def _require(self, fits: bool, what: str, must: str) -> None:
        """Raise ValueError, naming the argument and its value, unless it fits."""
        if not fits:
            raise ValueError(f"{type(self).__name__}: {what} must be {must}, got {what}={getattr(self, what)!r}.")


@registry.builtin("schedules")
@dataclasses.dataclass(eq=False)
class ExponentialDecay(_Formula):
    """A learning rate that falls by the same factor in equal spans of steps.

    ::

        lr(step) = initial_learning_rate decay_rate**(step / decay_steps)

    Args:
        initial_learning_rate: lr at step 0.
        decay_steps: steps in which lr falls by `decay_rate`, above 0.
        decay_rate: at least 0.
        staircase: whether `step / decay_steps` is rounded down.
        name: of the schedule.

    Raises:
        ValueError: for a number out of its range.

    Source:
        Keras, `optimizers/schedules/learning_rate_schedule.py`.

    Example:
        >>> import ostinato
        >>> schedule = ostinato.optimizers.schedules.ExponentialDecay(0.5, decay_steps=10, decay_rate=0.25)
        >>> schedule(0), schedule(5), schedule(10)
        (0.5, 0.25, 0.125)
    """

    initial_learning_rate: float
    decay_steps: float
    decay_rate: float
    staircase: bool = False
    name: str = "ExponentialDecay"

    def __post_init__(self) -> None:
        self._require(self.decay_steps > 0, "decay_steps", "> 0")
        self._require(self.decay_rate >= 0, "decay_rate", "at least 0")

    def __call__(self, step: Any) -> float:
        """The learning rate of a step."""
        return self.initial_learning_rate * self.decay_rate ** _periods(step, self.decay_steps, self.staircase)


@registry.builtin("schedules")
@dataclasses.dataclass(eq=False)
class InverseTimeDecay(_Formula):
    """A learning rate that falls as one over the number of steps.

    ::

        lr(step) = initial_learning_rate / (1 + decay_rate step / decay_steps)

    Args:
        initial_learning_rate: lr at step 0.
        decay_steps: steps from one value to the next with `staircase`, above 0.
        decay_rate: how fast it falls.
        staircase: whether `step / decay_steps` is rounded down.
        name: of the schedule.

    Raises:
        ValueError: if decay_steps is not above 0.

    Source:
        Keras, `optimizers/schedules/learning_rate_schedule.py`.

    Example:
        >>> import ostinato
        >>> schedule = ostinato.optimizers.schedules.InverseTimeDecay(1.0, decay_steps=10, decay_rate=3.0)
        >>> schedule(0), schedule(10)
        (1.0, 0.25)
    """

    initial_learning_rate: float
    decay_steps: float
    decay_rate: float
    staircase: bool = False
    name: str = "InverseTimeDecay"

    def __post_init__(self) -> None:
        self._require(self.decay_steps > 0, "decay_steps", "> 0")

    def __call__(self, step: Any) -> float:
        """The learning rate of a step."""
        return self.initial_learning_rate / (1 + self.decay_rate * _periods(step, self.decay_steps, self.staircase))


@registry.builtin("schedules")
@dataclasses.dataclass(eq=False)
class PiecewiseConstantDecay(_Formula):
    """A learning rate that is constant between boundaries.

    ::

        lr(step) = values[i] for boundaries[i - 1] < step <= boundaries[i]

    Args:
        boundaries: steps in rising order.
        values: learning rates, one more than boundaries.
        name: of the schedule.

    Raises:
        ValueError: if the lengths do not fit, or the boundaries do not rise.

    Source:
        Keras, `optimizers/schedules/learning_rate_schedule.py`.

    Example:
        >>> import ostinato
        >>> schedule = ostinato.optimizers.schedules.PiecewiseConstantDecay([10, 20], [0.1, 0.01, 0.001])
        >>> schedule(10), schedule(11), schedule(1000)
        (0.1, 0.01, 0.001)
    """

    boundaries: Sequence[float]
    values: Sequence[float]
    name: str = "PiecewiseConstant"

    def __post_init__(self) -> None:
        self.boundaries, self.values = list(self.boundaries), list(self.values)
        if len(self.boundaries) != len(self.values) - 1:
            raise ValueError(
                f"PiecewiseConstantDecay: values must be one more than boundaries, got {len(self.values)} values and "
                f"{len(self.boundaries)} boundaries."
            )
        rising = all(low < high for low, high in zip(self.boundaries, self.boundaries[1:], strict=False))
        self._require(rising, "boundaries", "in rising order")

    def __call__(self, step: Any) -> float:
        """The learning rate of a step."""
        return self.values[bisect_left(self.boundaries, float(step))]


@registry.builtin("schedules")
@dataclasses.dataclass(eq=False)
class PolynomialDecay(_Formula):
    """A learning rate that goes to another one along a power of the steps that are left.

    ::

        lr(step) = end + (initial_learning_rate - end) (1 - min(step, decay_steps) / decay_steps)**power

    With `cycle` it starts anew each time it has arrived, along the next multiple of decay_steps: the one that step has
    not passed.

    Args:
        initial_learning_rate: lr at step 0.
        decay_steps: steps until the end, above 0.
        end_learning_rate: end, the last learning rate.
        power: at least 0; 1 is a straight line.
        cycle: whether to start anew.
        name: of the schedule.

    Raises:
        ValueError: for a number out of its range.

    Source:
        Keras, `optimizers/schedules/learning_rate_schedule.py`.

    Example:
        >>> import ostinato
        >>> schedule = ostinato.optimizers.schedules.PolynomialDecay(1.0, 10, end_learning_rate=0.0, power=2)
        >>> schedule(0), schedule(5), schedule(15)
        (1.0, 0.25, 0.0)
    """

    initial_learning_rate: float
    decay_steps: float
    end_learning_rate: float = 0.0001
    power: float = 1.0
    cycle: bool = False
    name: str = "PolynomialDecay"

    def __post_init__(self) -> None:
        self._require(self.decay_steps > 0, "decay_steps", "> 0")
        self._require(self.power >= 0, "power", "at least 0")

    def __call__(self, step: Any) -> float:
        """The learning rate of a step."""
        done = float(step)
        length = self.decay_steps * max(1, math.ceil(done / self.decay_steps)) if self.cycle else self.decay_steps
        left = 1 - min(done, length) / length
        return self.end_learning_rate + (self.initial_learning_rate - self.end_learning_rate) * left**self.power


@registry.builtin("schedules")
@dataclasses.dataclass(eq=False)
class CosineDecay(_Formula):
    """A learning rate that falls along half a cosine, after a straight rise if there is a `warmup_target`.

    ::

        lr(step) = initial + (warmup_target - initial) step / warmup_steps                       step < warmup_steps
        lr(step) = top (alpha + (1 - alpha) (1 + cos(pi min(n, decay_steps) / decay_steps)) / 2)      afterwards

    with n the steps since the rise, and top the warmup_target; without a target there is no rise, and top is
    initial_learning_rate.

    Args:
        initial_learning_rate: lr at step 0.
        decay_steps: steps from the top to the end, above 0.
        alpha: the last learning rate as a share of the top.
        name: of the schedule.
        warmup_target: lr at the top, or None.
        warmup_steps: steps of the rise, at least 0.

    Raises:
        ValueError: for a number out of its range.

    Source:
        Loshchilov & Hutter, 2017 (arXiv:1608.03983); the rise: Goyal et al., 2017 (arXiv:1706.02677); Keras,
        `optimizers/schedules/learning_rate_schedule.py`.

    Example:
        >>> import ostinato
        >>> schedule = ostinato.optimizers.schedules.CosineDecay(0.0, 100, warmup_target=1.0, warmup_steps=10)
        >>> schedule(5), schedule(10), schedule(110)
        (0.5, 1.0, 0.0)
    """

    initial_learning_rate: float
    decay_steps: float
    alpha: float = 0.0
    name: str = "CosineDecay"
    warmup_target: float | None = None
    warmup_steps: float = 0

    def __post_init__(self) -> None:
        self._require(self.decay_steps > 0, "decay_steps", "> 0")
        self._require(self.warmup_steps >= 0, "warmup_steps", "at least 0")

    def __call__(self, step: Any) -> float:
        """The learning rate of a step."""
        done, top = float(step), self.initial_learning_rate
        if self.warmup_target is not None:
            if done < self.warmup_steps:
                return top + (self.warmup_target - top) * done / self.warmup_steps
            done, top = done - self.warmup_steps, self.warmup_target
        return top * _half_cosine(min(done, self.decay_steps) / self.decay_steps, self.alpha)


@registry.builtin("schedules")
@dataclasses.dataclass(eq=False)
class CosineDecayRestarts(_Formula):
    """A learning rate that falls along half a cosine again and again, each time from `m_mul` times the last start.

    ::

        lr(step) = initial_learning_rate (alpha + (1 - alpha) m_mul**i (1 + cos(pi f)) / 2)

    with i the number of the period, from 0, f the share of it that is over, and first_decay_steps t_mul**i its steps.

    Args:
        initial_learning_rate: lr at step 0.
        first_decay_steps: steps of the first period, above 0.
        t_mul: by how much each period is longer than the one before, at least 1.
        m_mul: by how much each start is higher than the one before.
        alpha: the least learning rate as a share of the initial one.
        name: of the schedule.

    Raises:
        ValueError: for a number out of its range.

    Source:
        Loshchilov & Hutter, 2017 (arXiv:1608.03983); Keras, `optimizers/schedules/learning_rate_schedule.py`. There the
        period is found in float32, which may put the first steps of a late period at the end of the one before.

    Example:
        >>> import ostinato
        >>> schedule = ostinato.optimizers.schedules.CosineDecayRestarts(1.0, first_decay_steps=10, m_mul=0.5)
        >>> schedule(0), schedule(10), schedule(30)
        (1.0, 0.5, 0.25)
    """

    initial_learning_rate: float
    first_decay_steps: float
    t_mul: float = 2.0
    m_mul: float = 1.0
    alpha: float = 0.0
    name: str = "SGDRDecay"

    def __post_init__(self) -> None:
        self._require(self.first_decay_steps > 0, "first_decay_steps", "> 0")
        self._require(self.t_mul >= 1, "t_mul", "at least 1")

    def __call__(self, step: Any) -> float:
        """The learning rate of a step."""
        period, over = self._place(float(step) / self.first_decay_steps)
        return self.initial_learning_rate * _half_cosine(over, self.alpha, self.m_mul**period)

    def _place(self, done: float) -> tuple[int, float]:
        """Which period it is, and the share of it that is over; `done` is in lengths of the first period."""
        if self.t_mul == 1:
            return int(done), done - int(done)
        period = int(math.log1p(done * (self.t_mul - 1)) / math.log(self.t_mul))
        if done >= self._start(period + 1):  # the logarithm was rounded, down here, up there
            period += 1
        elif done < self._start(period):
            period -= 1
        return period, (done - self._start(period)) / self.t_mul**period

    def _start(self, period: int) -> float:
        """Where a period starts, in lengths of the first one."""
        return (self.t_mul**period - 1) / (self.t_mul - 1)


def _periods(step: Any, length: float, whole: bool) -> float:
    """How many periods of a length are over."""
    periods = float(step) / length
    return math.floor(periods) if whole else periods


def _half_cosine(over: float, alpha: float, height: float = 1.0) -> float:
    """From `height` at 0 to alpha at 1."""
    return alpha + (1 - alpha) * height * (1 + math.cos(math.pi * over)) / 2


def serialize(learning_rate_schedule: LearningRateSchedule) -> Any:
    """The config of a schedule.

    >>> serialize(ExponentialDecay(0.1, 10, 0.5))["config"]["decay_rate"]
    0.5
    """
    return registry.serialize_keras_object(learning_rate_schedule)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The schedule that `serialize`, here or in Keras, described. Raises ValueError for an unknown name.

    >>> deserialize({"class_name": "InverseTimeDecay", "config": {
    ...     "initial_learning_rate": 1.0, "decay_steps": 1, "decay_rate": 1.0}})(1)
    0.5
    """
    return registry.deserialize_keras_object(config, custom_objects, kind="schedules")


__all__ = [
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "deserialize",
    "serialize",
]
