"""Optimizers: how weights change by their gradients."""

from ostinato.training.optimizers import *
from ostinato.training.optimizers import __all__ as __all__
