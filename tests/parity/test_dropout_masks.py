"""Dropout in numbers: the masks that a call drew, given to the per-sample loop and to Keras, give the same results.

So each mask is held over the steps, belongs to its own gate, row and cell, and is in the gradients too.
"""

import contextlib
import dataclasses
import os
from unittest import mock

import hypothesis
import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings

import ostinato
from ostinato import layers
from parity.comparing import DOUBLE, SINGLE, differences
from parity.keras_is_wrong import agreement
from parity.layers_of import results
from parity.loop_of import loop_results
from parity.per_sample import GATES
from parity.recurrent_cases import Case, Cell, Half, cases

SEEDS = [int(each) for each in os.environ.get("OSTINATO_PARITY_SEEDS", "0").split(",")]
EXAMPLES = {"vectors": 120, "images": 40}


def cells_of(layer):
    """The cells of a recurrent layer of either library, forward half first."""
    halves = [layer.forward_layer, layer.backward_layer] if hasattr(layer, "forward_layer") else [layer]
    return [cell for half in halves for cell in getattr(half.cell, "cells", [half.cell])]


class Recorder:
    """What was drawn: of each call, for each cell, (mask of the input, mask of the state)."""

    def __init__(self):
        self.cells, self.drawn = [], []

    def before_call(self, layer, number):
        self.cells = cells_of(layer)
        self.drawn.append([(None, None)] * len(self.cells))

    @contextlib.contextmanager
    def listening(self):
        """While the block runs, what the cells' recurrences are made with is written down."""
        with contextlib.ExitStack() as stack:
            for name in ("SimpleRNNCell", "GRUCell", "LSTMCell"):
                stack.enter_context(self._listen(getattr(layers, name)))
            stack.enter_context(self._listen(type(layers.ConvLSTM1D(1, 1).cell).__mro__[0]))
            yield

    def _listen(self, kind):
        made = kind.recurrence

        def recurrence(cell, *args, **kwargs):
            found = made(cell, *args, **kwargs)
            for place, other in enumerate(self.cells):
                if other is cell:  # the layer that follows is none of them
                    self.drawn[-1][place] = (found.dropout, found.recurrent_dropout)
            return found

        return mock.patch.object(kind, "recurrence", recurrence)


def cells_in(case):
    return [cell for half in case.halves for cell in half.cells]


def with_a_gate_axis(cell, mask):
    """`(gates, batch, ...)`: one that all gates share is repeated."""
    if mask is None:
        return None
    ranks = len(cell.kernel_size) + 2
    return mask if mask.dim() > ranks else mask.expand(GATES[cell.kind], *mask.shape)


def train(case, dtype):
    """(results of ours, what was drawn in each call, with gates)."""
    ostinato.utils.set_random_seed(case.seed)
    recorder = Recorder()
    with recorder.listening():
        found = results(ostinato, case, dtype, before_call=recorder.before_call)
    drawn = [
        [tuple(with_a_gate_axis(cell, mask) for mask in pair) for cell, pair in zip(cells_in(case), call, strict=True)]
        for call in recorder.drawn
    ]
    return found, drawn


def to_keras(case, drawn):
    """A `before_call` that puts the masks where Keras's cells keep theirs for a call."""

    def before_call(layer, number):
        for asked, cell, (dropout, recurrent) in zip(cells_in(case), cells_of(layer), drawn[number], strict=True):
            if asked.kind == "own":
                continue
            listed = getattr(cell, "dropout_mask_count", None) is not None
            cell._dropout_mask = _form(dropout, listed)
            cell._recurrent_dropout_mask = _form(recurrent, listed)

    return before_call


def _form(mask, listed):
    if mask is None:
        return None
    return list(mask.unbind(0)) if listed else mask[0]


def check(case):
    mine, drawn = train(case, "float64")
    masks = [[tuple(m if m is None else m.numpy() for m in pair) for pair in call] for call in drawn]
    assert differences(mine, loop_results(case, masks), DOUBLE, recorded=True) == []
    for call in drawn:
        for cell, pair in zip(cells_in(case), call, strict=True):
            for mask, rate in zip(pair, (cell.dropout, cell.recurrent_dropout), strict=True):
                check_values(mask, 0.0 if cell.kind == "own" else rate)
    calls, gradients = agreement(case)
    if calls:
        single, drawn = train(case, "float32")
        options = {"calls": calls, "gradients": gradients, "before_call": to_keras(case, drawn)}
        assert differences(single[:calls], results(keras, case, **options), SINGLE) == []


def check_values(mask, rate):
    assert (mask is None) == (rate == 0)
    if mask is not None:
        kept = mask != 0
        assert torch.equal(mask, kept / torch.tensor(1 - rate, dtype=mask.dtype))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("inputs", EXAMPLES)
def test_what_was_drawn_explains_the_results(inputs, seed):
    @hypothesis.seed(seed)
    @settings(max_examples=EXAMPLES[inputs], deadline=None, database=None, report_multiple_bugs=False)
    @given(cases(conv=inputs == "images", training=True))
    def run(case):
        check(without_implementation(case))

    run()


def without_implementation(case):
    """Keras's implementation=1 gives each gate a mask of its own without recurrent dropout too; ours is a name only."""
    backward = case.backward and dataclasses.replace(case.backward, implementation=None)
    return dataclasses.replace(case, half=dataclasses.replace(case.half, implementation=None), backward=backward)


KINDS = {
    "SimpleRNN": Cell("simple_rnn"),
    "GRU": Cell("gru"),
    "GRU, reset before": Cell("gru", reset_after=False),
    "LSTM": Cell("lstm"),
    "ConvLSTM1D": Cell("conv_lstm", kernel_size=(2,), strides=(1,), dilation_rate=(1,)),
}


@pytest.mark.parametrize("rates", [(0.4, 0.0), (0.0, 0.4), (0.4, 0.4)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_which_masks_are_drawn(kind, rates):
    """One for each row, new in each call; for each gate too, where Keras has it so."""
    cell = dataclasses.replace(KINDS[kind], units=7, dropout=rates[0], recurrent_dropout=rates[1])
    sizes = (5,) if cell.kind == "conv_lstm" else ()
    case = Case(Half((cell,)), stateful=True, batch=6, features=11, sizes=sizes, training=True, seed=1)
    check(case)
    _, drawn = train(case, "float64")
    for place, rate in enumerate(rates):
        masks = [call[0][place] for call in drawn]
        if not rate:
            assert masks == [None] * 3
            continue
        assert not torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])
        first = masks[0]
        assert all(not torch.equal(first[0, 0], first[0, row]) for row in range(1, 6))
        apart = cell.kind == "conv_lstm" or rates[1] > 0
        if len(first) > 1:
            assert all(torch.equal(first[0], other) != apart for other in first[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_the_share_that_is_dropped(kind):
    """Of many values: 0.3 to within five standard deviations, in the input's mask and the state's alike."""
    cell = dataclasses.replace(KINDS[kind], units=61, dropout=0.3, recurrent_dropout=0.3)
    sizes = (5,) if cell.kind == "conv_lstm" else ()
    case = Case(Half((cell,)), batch=50, time=1, features=67, sizes=sizes, training=True)
    _, drawn = train(case, "float32")
    for mask in drawn[0][0]:
        share = float((mask == 0).double().mean())
        assert abs(share - 0.3) < 5 * np.sqrt(0.3 * 0.7 / mask.numel())


@pytest.mark.parametrize("kind", KINDS)
def test_inference_draws_nothing(kind):
    cell = dataclasses.replace(KINDS[kind], dropout=0.3, recurrent_dropout=0.3)
    sizes = (5,) if cell.kind == "conv_lstm" else ()
    _, drawn = train(Case(Half((cell,)), sizes=sizes), "float32")
    assert drawn == [[(None, None)]]
    ostinato.utils.set_random_seed(5)
    results(ostinato, Case(Half((cell,)), sizes=sizes))
    counter = ostinato.random.DEFAULT.counter
    results(ostinato, Case(Half((dataclasses.replace(cell, dropout=0.0, recurrent_dropout=0.0),)), sizes=sizes))
    assert counter * 2 == ostinato.random.DEFAULT.counter  # what was drawn are the weights
