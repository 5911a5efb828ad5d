"""Activation functions."""

from ostinato.core.activations import *
from ostinato.core.activations import __all__ as __all__
