"""Recurrent layers and small models of them by what they are, for tests of what torch does with any module."""

import torch

from cells import Minimal
from ostinato import Input, Model, Sequential, layers
from ostinato.recurrence.nests import flatten

FEATURES = 4


def _functional(**o):
    x = Input((None, FEATURES), dtype=o.get("dtype"))
    h = layers.Masking()(x)
    h = layers.Bidirectional(layers.GRU(3, return_sequences=True, **o), merge_mode="ave")(h)
    return Model(x, layers.LSTM(2, **o)(h))


MAKE = {
    "LSTM": lambda **o: layers.LSTM(3, return_sequences=True, return_state=True, **o),
    "GRU": lambda **o: layers.GRU(3, **o),
    "GRU, reset before": lambda **o: layers.GRU(3, reset_after=False, return_sequences=True, **o),
    "SimpleRNN": lambda **o: layers.SimpleRNN(3, go_backwards=True, return_sequences=True, **o),
    "one's own cell": lambda **o: layers.RNN(Minimal(3, **o), return_sequences=True),
    "stacked": lambda **o: layers.RNN([layers.LSTMCell(3, **o), layers.GRUCell(2, **o)], return_state=True),
    "Bidirectional": lambda **o: layers.Bidirectional(layers.LSTM(3, return_sequences=True, **o)),
    "Bidirectional of a stack": lambda **o: layers.Bidirectional(
        layers.RNN([layers.GRUCell(3, **o), layers.SimpleRNNCell(2, **o)])
    ),
    "ConvLSTM2D": lambda **o: layers.ConvLSTM2D(2, 2, **o),
    "Sequential": lambda **o: Sequential(
        [layers.Masking(), layers.GRU(3, return_sequences=True, **o), layers.LSTM(2, **o)]
    ),
    "functional": _functional,
}
"""Each takes a dtype. The models make masks of their own, where a step is 0 in all features."""

MODELS = ("Sequential", "functional")
LAYERS = tuple(what for what in MAKE if what not in MODELS)
BY_LOOP = ("one's own cell", "ConvLSTM2D", "GRU, reset before")
"""What only the reference loop runs."""


def inputs(what, batch=2, time=5, dtype=torch.float64, seed=0):
    """Random sequences; two steps of one and one of the other are 0."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, time, 3, 2, 1) if what == "ConvLSTM2D" else (batch, time, FEATURES)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    x[0, 1:2] = 0
    x[-1, time - 2 :] = 0
    return x.to(dtype)


def mask_for(batch=2, time=5, seed=0):
    """A mask with gaps; in the first sequence no step is left out at the end, in the last one the last two are."""
    mask = torch.rand(batch, time, generator=torch.Generator().manual_seed(seed)) < 0.7
    mask[0, -1], mask[-1, -2:], mask[-1, 0] = True, False, True
    return mask


def made(what, dtype="float64", seed=0):
    """A built layer whose weights are random, biases too."""
    layer = MAKE[what](dtype=dtype)
    layer(inputs(what, dtype=getattr(torch, dtype)))
    generator = torch.Generator().manual_seed(seed + 100)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(0.6 * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    return layer


def weights_of(layer):
    """The weights by name, as plain tensors."""
    return {name: weight.detach().clone() for name, weight in layer.named_parameters()}


def directions(tensors, seed=7):
    """A random direction for each tensor."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t.dtype) for t in tensors]


def total(outputs):
    """A number to which each entry of every output adds in a way of its own."""
    found = 0
    for number, leaf in enumerate(flatten(outputs)):
        factors = torch.linspace(-1, 1.5, leaf.numel(), dtype=torch.float64).reshape(leaf.shape)
        found = found + (factors * leaf.to(torch.float64)).sum() + (number + 1) * (leaf.to(torch.float64) ** 3).sum()
    return found


def gradients(layer, x, **kwargs):
    """Outputs, and the gradients of their `total` by input and parameters."""
    x = x.detach().clone().requires_grad_()
    outputs = flatten(layer(x, **kwargs))
    found = torch.autograd.grad(total(outputs), [x, *layer.parameters()])
    return [leaf.detach() for leaf in outputs], list(found)


def assert_close(found, wanted, atol=1e-9, rtol=1e-9):
    """Two nests of tensors agree; atol: for those whose entries are not above 1, and more for larger ones."""
    found, wanted = flatten(found), flatten(wanted)
    assert len(found) == len(wanted)
    for mine, right in zip(found, wanted, strict=True):
        largest = right.detach().abs().max().clamp(min=1).item()
        torch.testing.assert_close(mine.detach(), right.detach(), atol=atol * largest, rtol=rtol, check_dtype=False)
