"""Optimizers: how weights change by their gradients."""

from ostinato.training.optimizers import SGD, Adam, Optimizer, RMSprop, deserialize, get, serialize

__all__ = ["SGD", "Adam", "Optimizer", "RMSprop", "deserialize", "get", "serialize"]
