"""Keras on JAX: layers under `jax.jit`, and `fit`."""

from __future__ import annotations

from typing import Any

import jax

from benchmarks.peers import Prepared
from benchmarks.peers.keras_model import built, fit
from benchmarks.tasks import Task, arrays

__all__ = ["fit", "layer"]


def layer(task: Task) -> Prepared:
    given, module = arrays(task), built(task)
    weights = [variable.value for variable in module.trainable_variables]
    others = [variable.value for variable in module.non_trainable_variables]  # the random numbers' state
    mask = None if given.mask is None else jax.numpy.asarray(given.mask)
    x, grad = jax.numpy.asarray(given.x), jax.numpy.asarray(given.grad)

    def forward(weights: Any, x: Any, others: Any) -> Any:
        return module.stateless_call(weights, others, x, mask=mask, training=task.training)

    def training(weights: Any, x: Any, others: Any) -> Any:
        outputs, backward, others = jax.vjp(lambda w, x: forward(w, x, others), weights, x, has_aux=True)
        return outputs, backward(grad), others

    compiled = jax.jit(training if task.training else forward)
    return Prepared(lambda: jax.block_until_ready(compiled(weights, x, others)))
