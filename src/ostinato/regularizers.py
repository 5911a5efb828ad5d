"""Penalties on weights and activities."""

from ostinato.core.regularizers import *
from ostinato.core.regularizers import __all__ as __all__
