"""Projections of weights after each optimizer step."""

from ostinato.core.constraints import *
from ostinato.core.constraints import __all__ as __all__
