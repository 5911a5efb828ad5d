"""Keras on TensorFlow: layers in a `tf.function`, and `fit`; without XLA, as Keras itself decides on a CPU."""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf

from benchmarks.peers import Prepared
from benchmarks.peers.keras_model import built, fit
from benchmarks.tasks import Task, arrays

__all__ = ["fit", "layer"]

tf.config.threading.set_intra_op_parallelism_threads(int(os.environ["OMP_NUM_THREADS"]))
tf.config.threading.set_inter_op_parallelism_threads(int(os.environ["OMP_NUM_THREADS"]))


def layer(task: Task) -> Prepared:
    given, module = arrays(task), built(task)
    weights = [variable.value for variable in module.trainable_variables]
    mask = None if given.mask is None else tf.constant(given.mask)
    x, grad = tf.constant(given.x), tf.constant(given.grad)

    @tf.function
    def forward() -> Any:
        return module(x, mask=mask, training=False)

    @tf.function
    def training() -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            tape.watch(x)
            outputs = module(x, mask=mask, training=True)
        return outputs, tape.gradient(outputs, [*weights, x], output_gradients=grad)

    call = training if task.training else forward
    return Prepared(lambda: [each.numpy() for each in tf.nest.flatten(call())])
