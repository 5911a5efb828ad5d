"""What an optimizer is set by: attributes that are checked when they are set, and kept where torch looks for them."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any, TypedDict

from torch import Tensor

Kind = Callable[[Any], str]
"""What a value must be in order to do, as words; nothing if it does."""


def number(value: Any) -> str:
    """A number, or a tensor that holds one.

    >>> number(0.5), number(True)
    ('', 'a number')
    """
    tensor = isinstance(value, Tensor) and value.numel() == 1
    return "a number" if isinstance(value, bool) or not (tensor or isinstance(value, Real)) else ""


def amount(value: Any) -> str:
    """A number of at least 0.

    >>> amount(3), amount(float("nan"))
    ('', 'at least 0')
    """
    return number(value) or ("" if value >= 0 else "at least 0")


def positive(value: Any) -> str:
    """A number above 0.

    >>> positive(1e-3), positive(0)
    ('', 'above 0')
    """
    return number(value) or ("" if value > 0 else "above 0")


def share(value: Any) -> str:
    """A number in [0, 1].

    >>> share(1), share(1.5)
    ('', 'in [0, 1]')
    """
    return number(value) or ("" if 0 <= value <= 1 else "in [0, 1]")


def proper_share(value: Any) -> str:
    """A number in [0, 1).

    >>> proper_share(0.9), proper_share(1)
    ('', 'below 1')
    """
    return share(value) or ("" if value < 1 else "below 1")


def positive_share(value: Any) -> str:
    """A number in (0, 1].

    >>> positive_share(1), positive_share(0)
    ('', 'above 0')
    """
    return share(value) or positive(value)


def flag(value: Any) -> str:
    """True or False.

    >>> flag(False), flag(0)
    ('', 'True or False')
    """
    return "" if isinstance(value, bool) else "True or False"


def steps_from(least: int) -> Kind:
    """None or 0, which are off, or a whole number of at least `least`.

    >>> steps_from(2)(None), steps_from(2)(1)
    ('', 'an integer >= 2 or None')
    """

    def kind(value: Any) -> str:
        whole = isinstance(value, int) and not isinstance(value, bool) and (value == 0 or value >= least)
        return "" if value is None or whole else f"an integer >= {least} or None"

    return kind


def optional(kind: Kind) -> Kind:
    """None, which is off, or a value of that kind.

    >>> optional(amount)(None), optional(amount)(-1)
    ('', 'at least 0')
    """
    return lambda value: "" if value is None else kind(value)


class Setting:
    """An attribute of an optimizer, of some kind; where it is kept, under `key`, is up to the subclasses."""

    name: str
    key = ""
    hint = ""
    """What else a message about a wrong value says."""

    def __init__(self, kind: Kind, doc: str) -> None:
        self.kind, self.__doc__ = kind, doc

    def __set_name__(self, owner: type, name: str) -> None:
        self.name, self.key = name, self.key or name


class Hyperparameter(Setting):
    """A setting of each parameter group, where torch's schedulers look for it; before `build`, in `defaults`."""

    def __get__(self, optimizer: Any, owner: Any = None) -> Any:
        return self if optimizer is None else optimizer.first_group[self.key]

    def __set__(self, optimizer: Any, value: Any) -> None:
        optimizer.check(self.key, value)
        for holder in (optimizer.defaults, *(optimizer.param_groups if optimizer.built else ())):
            holder[self.key] = value


class Option(Setting):
    """A setting of the whole optimizer. Kept only if it asks for something, so that a plain step need not look."""

    def __init__(self, kind: Kind, default: Any, doc: str) -> None:
        super().__init__(kind, doc)
        self.default = default

    def __get__(self, optimizer: Any, owner: Any = None) -> Any:
        return self if optimizer is None else optimizer._asked.get(self.name, self.default)

    def __set__(self, optimizer: Any, value: Any) -> None:
        optimizer.check(self.name, value)
        if value == self.default:
            optimizer._asked.pop(self.name, None)
        else:
            optimizer._asked[self.name] = value


class Treatment(TypedDict, total=False):
    """What every optimizer may be asked to do with gradients and averages; `Optimizer` says what the names mean."""

    clipnorm: float | None
    clipvalue: float | None
    global_clipnorm: float | None
    use_ema: bool
    ema_momentum: float
    ema_overwrite_frequency: int | None
    loss_scale_factor: float | None
    gradient_accumulation_steps: int | None


class Options(Treatment, total=False):
    """What an optimizer takes besides its own arguments, by Keras's names."""

    weight_decay: float | None
