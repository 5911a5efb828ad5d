"""flax (linen): `nn.RNN` under `jax.jit`."""

from __future__ import annotations

from typing import Any

import jax
from flax import linen

from benchmarks.peers import Prepared, Unsupported
from benchmarks.tasks import Task, arrays

CELLS = {"LSTM": linen.OptimizedLSTMCell, "GRU": linen.GRUCell, "SimpleRNN": linen.SimpleCell}


def layer(task: Task) -> Prepared:
    if task.recurrent_dropout:
        raise Unsupported("has no recurrent dropout")
    if task.mask == "gaps":
        raise Unsupported("has lengths, but no masks")
    given, module = arrays(task), linen.RNN(CELLS[task.cell](task.size.units))
    lengths = None if given.lengths is None else jax.numpy.asarray(given.lengths)
    x, grad = jax.numpy.asarray(given.x), jax.numpy.asarray(given.grad)
    weights = module.init(jax.random.key(0), x)

    def forward(weights: Any, x: Any) -> Any:
        return module.apply(weights, x, seq_lengths=lengths)

    def training(weights: Any, x: Any) -> Any:
        outputs, backward = jax.vjp(forward, weights, x)
        return outputs, backward(grad)

    compiled = jax.jit(training if task.training else forward)
    return Prepared(lambda: jax.block_until_ready(compiled(weights, x)))
