"""Optimizers: how weights change by their gradients."""

from ostinato.training.optimizers import *  # noqa: F403
from ostinato.training.optimizers import __all__ as __all__
