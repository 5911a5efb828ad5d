"""Optimizers: how weights change by their gradients."""

from ostinato.training.optimizers.base import Optimizer
from ostinato.training.optimizers.classes import SGD, Adam, RMSprop
from ostinato.training.optimizers.named import deserialize, get, serialize

__all__ = [
    "SGD",
    "Adam",
    "Optimizer",
    "RMSprop",
    "deserialize",
    "get",
    "serialize",
]
