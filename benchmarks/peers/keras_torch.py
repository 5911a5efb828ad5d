"""Keras on torch: layers as they are called, and `fit`."""

from __future__ import annotations

import functools

import torch

from benchmarks.peers import Prepared
from benchmarks.peers.keras_model import built, fit
from benchmarks.peers.torch_calls import call_of
from benchmarks.tasks import Task, arrays

__all__ = ["fit", "layer"]


def layer(task: Task) -> Prepared:
    given, module = arrays(task), built(task)
    mask = None if given.mask is None else torch.from_numpy(given.mask)
    weights = [variable.value for variable in module.trainable_variables]
    run = functools.partial(module, mask=mask, training=task.training)
    return Prepared(call_of(task, run, weights, torch.from_numpy(given.x), torch.from_numpy(given.grad)))
