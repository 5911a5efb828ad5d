"""What `fit` reports to."""

from ostinato.training.callbacks import *
from ostinato.training.callbacks import __all__ as __all__
