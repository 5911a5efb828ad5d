"""How exact the aten engine is: its error against float64, beside that of the loop in the same dtype."""

import math

import pytest
import torch

from ostinato.engines import onednn, select
from ostinato.engines.execute import execute
from ostinato.engines.flat import leaves, results, with_leaves
from ostinato.recurrence import LSTM
from problems import problem, specified, wanting

SIZES = [
    (1, 1, 1, 1),
    (3, 5, 2, 3),
    (7, 11, 5, 13),
    (16, 20, 17, 33),
    (2, 150, 8, 16),
    (64, 28, 28, 64),
    (32, 10, 64, 128),
]
FLOOR = {torch.float32: 4, torch.bfloat16: 1}
"""In units in the last place of the largest value."""
FLOOR_OF_BIAS = 12  # in float32: oneDNN adds up what makes a bias's gradient one by one, the loop by halves

CASES = [
    ("lstm", "tanh", torch.float32),
    ("gru", "tanh", torch.float32),
    ("simple_rnn", "tanh", torch.float32),
    ("simple_rnn", "relu", torch.float32),
    ("lstm", "tanh", torch.bfloat16),
]


def in_dtype(asked, dtype):
    """The same problem over copies."""
    copies = [None if t is None else t.detach().to(dtype).requires_grad_() for t in leaves(asked)]
    return with_leaves(asked, copies)


def run(asked, engine):
    """Results and gradients, the latter for the same gradients of the results in each dtype."""
    with select.use_engine(engine):
        found = results(specified(asked, execute([asked])[0]))
    generator = torch.Generator().manual_seed(5)
    grads = [torch.randn(y.shape, generator=generator).bfloat16().to(y.dtype) for y in found]
    return [y.detach() for y in found] + list(torch.autograd.grad(found, wanting(asked), grads, materialize_grads=True))


@pytest.mark.parametrize("lengths", [False, True], ids=["whole", "lengths"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize(("cell", "activation", "dtype"), CASES, ids=lambda value: str(value).removeprefix("torch."))
def test_at_most_twice_the_error_of_the_loop(cell, activation, dtype, sizes, lengths):
    if dtype is torch.bfloat16 and not onednn.knows(LSTM, dtype):
        pytest.skip("oneDNN does not know bfloat16 on this processor")
    batch, time, features, units = sizes
    fields = {"lengths": torch.randint(0, time + 1, (batch,))} if lengths else {}
    asked = problem(cell, *sizes, activation=activation, requires_grad=True, **fields)
    with torch.no_grad():  # as large as initializers make them
        asked.recurrence.kernel.div_(math.sqrt(features))
        asked.recurrence.recurrent_kernel.div_(math.sqrt(2 * units))
    low = in_dtype(asked, dtype)
    exact = run(in_dtype(low, torch.float64), "reference")
    found = list(zip(run(low, "aten"), run(low, "reference"), exact, strict=True))
    for place, (mine, loops, right) in enumerate(found):
        error, loop_error = ((each.double() - right).abs().max() for each in (mine, loops))
        of_bias = place == len(found) - 1 and dtype is torch.float32
        floor = (FLOOR_OF_BIAS if of_bias else FLOOR[dtype]) * torch.finfo(dtype).eps * right.abs().max()
        assert error <= 2 * loop_error + floor, f"result {place}: {error:.2e}, the loop {loop_error:.2e}"
