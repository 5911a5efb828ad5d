"""How exact the fast engines are: their error against float64, beside that of the loop in the same dtype."""

import math

import pytest
import torch

from ostinato.engines import onednn, select
from ostinato.engines.execute import execute
from ostinato.engines.flat import results
from ostinato.recurrence import LSTM
from problems import in_dtype, problem, specified, wanting
from ways import CELLS, needs_native

SIZES = [
    (1, 1, 1, 1),
    (3, 5, 2, 3),
    (7, 11, 5, 13),
    (16, 20, 17, 33),
    (2, 150, 8, 16),
    (24, 37, 50, 96),
    (1, 100, 64, 128),
    (64, 28, 28, 64),
    (32, 10, 64, 128),
    (16, 8, 256, 512),
    (13, 6, 1024, 64),
]
FLOOR = {torch.float32: 4, torch.bfloat16: 1}
"""In units in the last place of the largest value."""
FLOOR_OF_BIAS = {
    ("aten", torch.float32): 12
}  # oneDNN adds up what makes a bias's gradient one by one, the loop by halves

NATIVE_CELLS = {
    **CELLS,
    "gru, reset before": {"cell": "gru_v1"},
    "lstm, hard_sigmoid": {"cell": "lstm", "recurrent_activation": "hard_sigmoid"},
}
PLAIN = {"plain": {}}
DROPOUT = {"all dropout": {"dropout": "gates", "recurrent_dropout": True}}
CASES = [
    pytest.param(engine, dtype, cell, options, id=f"{engine} {str(dtype).removeprefix('torch.')} | {what} | {how}")
    for engine, dtype, cells, all_options in [
        ("aten", torch.float32, CELLS, PLAIN),
        ("aten", torch.bfloat16, {"lstm": CELLS["lstm"]}, PLAIN),
        ("native", torch.float32, NATIVE_CELLS, PLAIN | DROPOUT),
        ("native", torch.bfloat16, NATIVE_CELLS, PLAIN | DROPOUT),
    ]
    for what, cell in cells.items()
    for how, options in all_options.items()
]


def run(asked, engine):
    """Results and gradients, the latter for the same gradients of the results in each dtype."""
    with select.use_engine(engine):
        found = results(specified(asked, execute([asked])[0]))
    generator = torch.Generator().manual_seed(5)
    grads = [torch.randn(y.shape, generator=generator).bfloat16().to(y.dtype) for y in found]
    return [y.detach() for y in found] + list(torch.autograd.grad(found, wanting(asked), grads, materialize_grads=True))


def draw(dtype, seed, lengths, **options):
    """A problem in float64 whose numbers are of `dtype`, with a recurrent kernel that forgets: else relu grows."""
    fields = {"lengths": torch.randint(0, options["time"] + 1, (options["batch"],))} if lengths else {}
    asked = problem(**options, **fields, seed=seed, requires_grad=True)
    with torch.no_grad():
        asked.recurrence.recurrent_kernel.div_(math.sqrt(2))
    return in_dtype(in_dtype(asked, dtype), torch.float64)


@pytest.mark.parametrize("lengths", [False, True], ids=["whole", "lengths"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize(("engine", "dtype", "cell", "options"), CASES)
def test_at_most_twice_the_error_of_the_loop(engine, dtype, cell, options, sizes, lengths):
    if engine == "native":
        needs_native()
    if engine == "aten" and dtype is torch.bfloat16 and not onednn.knows(LSTM, dtype):
        pytest.skip("oneDNN does not know bfloat16 on this processor")
    named = dict(zip(("batch", "time", "features", "units"), sizes, strict=True))
    # The error of a few numbers is a matter of luck, the loop's too: of small problems there are many.
    many = max(1, min(40, 40_000 // math.prod(sizes)))
    asked = [draw(dtype, seed, lengths, **named, **cell, **options) for seed in range(many)]
    low = [in_dtype(each, dtype) for each in asked]
    found = (
        [run(each, way) for each in given] for given, way in ((low, engine), (low, "reference"), (asked, "reference"))
    )
    # At a kink a rounding to bfloat16 decides which slope it is: the largest error is luck then, the mean square not.
    kinks = dtype is torch.bfloat16 and {"relu", "hard_sigmoid"} & set(cell.values())
    measure = (lambda apart: apart.square().mean().sqrt()) if kinks else (lambda apart: apart.abs().max())
    pooled = [[torch.stack(of_place) for of_place in zip(*of_way, strict=True)] for of_way in found]
    for place, (mine, loops, right) in enumerate(zip(*pooled, strict=True)):
        error, loop_error = (measure(each.double() - right) for each in (mine, loops))
        floor = FLOOR[dtype]
        if place == len(pooled[0]) - 1:
            floor = FLOOR_OF_BIAS.get((engine, dtype), floor)
        ulp = torch.finfo(dtype).eps * right.abs().max()
        assert error <= 2 * loop_error + floor * ulp, (
            f"result {place}: {error / ulp:.1f} units in the last place, the loop {loop_error / ulp:.1f}"
        )
