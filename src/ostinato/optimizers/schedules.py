"""Learning rates that change from step to step."""

from ostinato.training.optimizers.schedules import *
from ostinato.training.optimizers.schedules import __all__ as __all__
