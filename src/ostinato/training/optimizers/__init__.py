"""Optimizers: how weights change by their gradients."""

from ostinato.training.optimizers.adadelta import Adadelta
from ostinato.training.optimizers.adagrad import Adagrad
from ostinato.training.optimizers.adam import Adam, AdamW
from ostinato.training.optimizers.adamax import Adamax
from ostinato.training.optimizers.base import Optimizer
from ostinato.training.optimizers.lion import Lion
from ostinato.training.optimizers.nadam import Nadam
from ostinato.training.optimizers.named import deserialize, get, serialize
from ostinato.training.optimizers.rmsprop import RMSprop
from ostinato.training.optimizers.sgd import SGD

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Nadam",
    "Optimizer",
    "RMSprop",
    "deserialize",
    "get",
    "serialize",
]
