"""All 2^T masks of T steps at once, for each cell: row i of the batch has mask i.

Each row must be what its own run over its used steps gives, in every step, in the last output and the states, and in
the gradients: by the NumPy oracle and its backpropagation, and for convolutions by the loop of `per_sample.py`.
"""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

import oracle
import ostinato
from parity.layers_of import results
from parity.loop_of import loop_results
from parity.recurrent_cases import Case, Cell, Half

CELLS = {
    "SimpleRNN": ("simple_rnn", {}),
    "GRU": ("gru", {}),
    "GRU, reset before": ("gru", {"reset_after": False}),
    "LSTM": ("lstm", {}),
}
DIRECTIONS = pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])


def all_masks(time):
    """`(2 ** time, time)`, every mask there is."""
    return np.array(list(itertools.product([False, True], repeat=time))).reshape(2**time, time)


def case_of(half, time, **options):
    mask = tuple(map(tuple, all_masks(time).tolist()))
    return Case(half, batch=2**time, time=time, mask=mask, return_state=True, states="list", **options)


class Layer:
    """One of ours in float64, with random weights, and the oracle's cell over the same."""

    def __init__(self, cell, features=2, units=3, **options):
        kind, own = CELLS[cell]
        self.rng = np.random.default_rng(11)
        name = cell.split(",")[0]
        self.layer = getattr(ostinato.layers, name)(units, dtype="float64", **own, **options)
        self.layer.build((None, None, features))
        self.layer.set_weights([0.7 * self.rng.standard_normal(w.shape) for w in self.layer.get_weights()])
        self.cell = oracle.Cell(kind, *self.layer.get_weights(), **own)

    def normal(self, *shape):
        return self.rng.standard_normal(shape)

    def run(self, x, states, mask, cotangents):
        """(sequence, last output, states), and the gradients of all of them by input, states and weights."""
        leaves = [torch.tensor(each, requires_grad=True) for each in (x, *states)]
        call = {"initial_state": leaves[1:], "mask": torch.tensor(mask)}
        self.layer.return_sequences = True
        sequence, *finals = self.layer(leaves[0], **call)
        self.layer.return_sequences = False
        last, *again = self.layer(leaves[0], **call)
        for one, other in zip(finals, again, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-14)
        found = [sequence, last, *finals]
        loss = sum((out * torch.tensor(each)).sum() for out, each in zip(found, cotangents, strict=True))
        gradients = torch.autograd.grad(loss, [*leaves, *self.layer.trainable_weights])
        return [out.detach().numpy() for out in found], [grad.numpy() for grad in gradients]


@DIRECTIONS
@pytest.mark.parametrize("time", range(1, 9))
@pytest.mark.parametrize("cell", CELLS)
def test_every_mask_there_is(cell, time, go_backwards):
    """The sequence, the last output and the states of each row, and what comes back into each row from all of them."""
    ours = Layer(cell, return_sequences=True, return_state=True, go_backwards=go_backwards)
    mask, rows = all_masks(time), 2**time
    x, states = ours.normal(rows, time, 2), [ours.normal(rows, 3) for _ in range(ours.cell.states)]
    right = oracle.run(ours.cell, x, states, mask, go_backwards)
    expected = [right.outputs, right.last, *right.states]
    cotangents = [ours.normal(*out.shape) for out in expected]
    wanted = oracle.gradients(ours.cell, right, x, states, cotangents[0], cotangents[1], cotangents[2:], go_backwards)

    for engine in ("auto", "reference"):
        with ostinato.use_engine(engine):
            found, gradients = ours.run(x, states, mask, cotangents)
        for mine, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(mine, other, rtol=0, atol=1e-12)
        everything = [wanted.inputs, *wanted.states, wanted.kernel, wanted.recurrent_kernel, wanted.bias]
        for mine, other in zip(gradients, everything, strict=True):
            np.testing.assert_allclose(mine, other, rtol=0, atol=1e-10)
        # A masked step gets no gradient at all, and a row without steps hands its gradients on as they are.
        assert (gradients[0][~mask] == 0).all()
        np.testing.assert_array_equal(gradients[1][0], cotangents[2][0])


@DIRECTIONS
@pytest.mark.parametrize("cell", CELLS)
def test_each_row_is_its_used_steps_alone(cell, go_backwards):
    """Row by row through the layer itself: a batch of one with only the used steps, and no mask."""
    ours = Layer(cell, return_sequences=True, return_state=True, go_backwards=go_backwards)
    mask = all_masks(6)
    x, states = ours.normal(64, 6, 2), [ours.normal(64, 3) for _ in range(ours.cell.states)]
    tensors = [torch.tensor(each) for each in states]
    sequence, *finals = ours.layer(torch.tensor(x), initial_state=tensors, mask=torch.tensor(mask))
    for row, used in enumerate(mask):
        positions = np.flatnonzero(used[::-1] if go_backwards else used)
        shown = sequence[row].detach().numpy()
        alone, *ends = ours.layer(
            torch.tensor(x[row : row + 1, used]), initial_state=[s[row : row + 1] for s in tensors]
        )
        np.testing.assert_allclose(shown[positions], alone[0].detach().numpy(), rtol=0, atol=1e-13)
        for mine, end in zip(finals, ends, strict=True):
            np.testing.assert_allclose(mine[row].detach().numpy(), end[0].detach().numpy(), rtol=0, atol=1e-13)
        for t in range(6):  # held, from the used step before
            before = positions[positions <= t]
            held = shown[before[-1]] if len(before) else np.zeros(3)
            np.testing.assert_array_equal(shown[t], held)


@DIRECTIONS
@pytest.mark.parametrize("sequences", [False, True], ids=["last", "sequence"])
@pytest.mark.parametrize("name", ["zero_output_for_mask", "stacked", "Bidirectional"])
def test_every_mask_of_five_steps_around_the_cells(name, sequences, go_backwards):
    half = Half((Cell("lstm", units=3),), go_backwards=go_backwards)
    if name == "zero_output_for_mask":
        half = dataclasses.replace(half, zero_output_for_mask=True)
    elif name == "stacked":
        half = dataclasses.replace(half, cells=(Cell("gru"), Cell("own"), Cell("lstm", units=3)), form="list")
    both = {"bidirectional": True, "merge_mode": "mul"} if name == "Bidirectional" else {}
    case = case_of(half, 5, return_sequences=sequences, **both)
    agrees_with_the_loop(case)


@DIRECTIONS
@pytest.mark.parametrize("sequences", [False, True], ids=["last", "sequence"])
@pytest.mark.parametrize("time", range(1, 5))
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_every_mask_of_images(rank, time, sequences, go_backwards):
    cell = Cell(
        "conv_lstm",
        units=2,
        kernel_size=(2, 3, 1)[:rank],
        strides=(1,) * rank,
        dilation_rate=(1,) * rank,
        padding="same",
        data_format="channels_first",
    )
    half = Half((cell,), go_backwards=go_backwards)
    case = case_of(half, time, return_sequences=sequences, sizes=(3, 4, 2)[:rank], features=1)
    agrees_with_the_loop(case)


def agrees_with_the_loop(case):
    (mine,), (right,) = results(ostinato, case, "float64"), loop_results(case)
    pairs = list(zip(mine.outputs, right.outputs, strict=True))
    assert mine.gradients.keys() == right.gradients.keys()
    pairs += [(mine.gradients[name], right.gradients[name]) for name in right.gradients]
    for one, other in pairs:
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)
