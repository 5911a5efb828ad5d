"""First and second derivatives of each recurrent layer by finite differences, in float64, with each of its options.

With respect to inputs, initial states and every weight at once, in reverse and in forward mode. Dropout masks are
fixed: each evaluation begins with the same seed.
"""

import pytest
import torch
from torch.func import functional_call

import ostinato
from ostinato import layers
from ostinato.engines.select import observe
from ostinato.recurrence.nests import flatten

MASK = torch.tensor([[True, False, True], [False, False, False], [True, True, False]])
SEQUENCES = {"return_sequences": True, "return_state": True}

CELLS = {
    "SimpleRNN": ("SimpleRNN", {}, 1),
    "GRU": ("GRU", {}, 1),
    "GRU, reset before": ("GRU", {"reset_after": False}, 1),
    "LSTM": ("LSTM", {}, 2),
}
"""By name: class, options, number of states."""

OPTIONS = {
    "plain": {},
    "last output": {"return_sequences": False},
    "last output, no states": {"return_sequences": False, "return_state": False},
    "no bias": {"use_bias": False},
    "backwards": {"go_backwards": True},
    "unrolled": {"unroll": True},
    "zeros at masked steps": {"zero_output_for_mask": True, "mask": MASK},
    "time major": {"time_major": True},
    "linear": {"activation": "linear"},
    "softsign": {"activation": "softsign"},
    "elu": {"activation": "elu"},
    "relu, hard_sigmoid": {"activation": "relu", "recurrent_activation": "hard_sigmoid"},
    "sigmoid, tanh": {"activation": "sigmoid", "recurrent_activation": "tanh"},
    "a function of one's own": {"activation": torch.sin},
    "mask": {"mask": MASK},
    "mask, backwards": {"mask": MASK, "go_backwards": True},
    "mask, last output": {"mask": MASK, "return_sequences": False},
    "mask, no bias, backwards, last output": {
        "mask": MASK,
        "use_bias": False,
        "go_backwards": True,
        "return_sequences": False,
    },
    "dropout": {"dropout": 0.4},
    "recurrent dropout": {"recurrent_dropout": 0.4},
    "dropouts, mask": {"dropout": 0.3, "recurrent_dropout": 0.3, "mask": MASK},
    "dropouts, backwards, no bias": {"dropout": 0.3, "recurrent_dropout": 0.3, "go_backwards": True, "use_bias": False},
}


def normal(*shape, scale=1.0):
    return (scale * torch.randn(*shape, dtype=torch.float64)).requires_grad_()


def check(layer, x, states, mask=None):
    """gradcheck and gradgradcheck of a built layer as a function of input, states and weights."""
    names, weights = zip(*layer.named_parameters(), strict=True)
    drawn = [normal(*weight.shape, scale=0.6) for weight in weights]
    count = len(states)

    def run(x, *rest):
        ostinato.utils.set_random_seed(3)
        keywords = {"initial_state": list(rest[:count])} if count else {}
        parameters = dict(zip(names, rest[count:], strict=True))
        return tuple(flatten(functional_call(layer, parameters, (x,), {**keywords, "mask": mask, "training": True})))

    inputs = (x, *states, *drawn)
    with observe() as choices:
        run(*inputs)
    if any(choice.engine != "reference" for choice in choices):
        with ostinato.use_engine("reference"):
            assert torch.autograd.gradcheck(run, inputs, fast_mode=True)
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradcheck(run, inputs, check_forward_ad=True, check_backward_ad=False, fast_mode=True)
    assert torch.autograd.gradgradcheck(run, inputs, fast_mode=True)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("cell", CELLS)
def test_each_cell_with_each_option(cell, options):
    name, own, count = CELLS[cell]
    options = {**SEQUENCES, **own, **options}
    mask = options.pop("mask", None)
    if name == "SimpleRNN":
        options.pop("recurrent_activation", None)
    layer = getattr(layers, name)(2, dtype="float64", **options)
    x = normal(3, 3, 2)
    layer.build(x.shape)
    check(layer, x, [normal(3, 2) for _ in range(count)], mask)


@pytest.mark.parametrize("mask", [None, MASK], ids=["no mask", "mask"])
@pytest.mark.parametrize("cell", CELLS)
def test_without_initial_states(cell, mask):
    name, own, _ = CELLS[cell]
    layer = getattr(layers, name)(2, dtype="float64", **SEQUENCES, **own)
    layer.build((3, 3, 2))
    check(layer, normal(3, 3, 2), [], mask)


@pytest.mark.parametrize("mask", [None, MASK], ids=["no mask", "mask"])
@pytest.mark.parametrize("name", ["stacked", "Bidirectional", "Bidirectional of a stack"])
def test_around_the_cells(name, mask):
    made = [layers.GRUCell(2, dtype="float64"), layers.LSTMCell(1, dtype="float64", recurrent_dropout=0.3)]
    layer = layers.RNN(made, go_backwards=True, **SEQUENCES)
    sizes = [2, 1, 1]
    if name != "stacked":
        inner = (
            layers.LSTM(2, dtype="float64", **SEQUENCES) if name == "Bidirectional" else layers.RNN(made, **SEQUENCES)
        )
        sizes = [2, 2] * 2 if name == "Bidirectional" else [2, 1, 1] * 2
        layer = layers.Bidirectional(inner, merge_mode="mul")
    layer.build((3, 3, 2))
    check(layer, normal(3, 3, 2), [normal(3, size) for size in sizes], mask)


CONVOLUTIONS = {
    "plain": {},
    "no bias, backwards": {"use_bias": False, "go_backwards": True},
    "last output": {"return_sequences": False},
    "channels first, same": {"data_format": "channels_first", "padding": "same"},
    "strides": {"strides": 2, "padding": "same"},
    "dilation": {"dilation_rate": 2},
    "other activations": {"activation": "softsign", "recurrent_activation": "hard_sigmoid"},
    "mask": {"mask": MASK[:2]},
    "mask, backwards": {"mask": MASK[:2], "go_backwards": True},
    "dropouts": {"dropout": 0.3, "recurrent_dropout": 0.3},
    "dropouts, mask": {"dropout": 0.3, "recurrent_dropout": 0.3, "mask": MASK[:2]},
}


@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
def test_images_of_one_axis_with_each_option(options):
    images(1, options)


@pytest.mark.parametrize("options", [{}, {"mask": MASK[:2]}], ids=["plain", "mask"])
@pytest.mark.parametrize("rank", [2, 3])
def test_images_of_more_axes(rank, options):
    images(rank, options)


def images(rank, options):
    options = {**SEQUENCES, **options}
    mask = options.pop("mask", None)
    layer = getattr(layers, f"ConvLSTM{rank}D")(1, 2, dtype="float64", **options)
    shape = (1, *(3, 2, 2)[:rank]) if options.get("data_format") == "channels_first" else (*(3, 2, 2)[:rank], 1)
    x = normal(2, 3, *shape)
    layer.build(x.shape)
    (_, *size) = layer.compute_output_shape(x.shape)[-1]
    check(layer, x, [normal(2, *size) for _ in range(2)], mask)
