"""Optimizers: how weights change by their gradients."""

from ostinato.optimizers import schedules
from ostinato.training.optimizers import *
from ostinato.training.optimizers import __all__ as _of_the_room

__all__ = [*_of_the_room, "schedules"]
