"""Metrics: what is reported of a run, over many batches."""

from ostinato.training.metrics import *
from ostinato.training.metrics import __all__ as __all__
