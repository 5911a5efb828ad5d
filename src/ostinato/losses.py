"""Losses: how far predictions are from what they should be."""

from ostinato.training.losses import *
from ostinato.training.losses import __all__ as __all__
