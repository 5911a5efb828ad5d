"""Initial values of weights."""

from ostinato.core.initializers import *
from ostinato.core.initializers import __all__ as __all__
