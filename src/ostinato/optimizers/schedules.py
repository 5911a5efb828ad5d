"""Learning rates that change from step to step."""

from ostinato.training.optimizers.schedules import *  # noqa: F403
from ostinato.training.optimizers.schedules import __all__ as __all__
