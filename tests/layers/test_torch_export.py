"""`torch.export` of recurrent layers and models, for any batch and number of steps."""

import pytest
import torch

from graphs import operators_in
from ostinato import Input, Model, Sequential, layers
from ostinato.recurrence.nests import flatten
from recurrent import BY_LOOP, MAKE, assert_close, inputs, made, mask_for

BATCH, TIME = torch.export.Dim("batch"), torch.export.Dim("time")
SIZES = [(2, 5), (3, 7), (7, 1)]


class Called(torch.nn.Module):
    """A plain module that calls a layer by names of its own."""

    def __init__(self, layer, *names):
        super().__init__()
        self.layer, self.names = layer, names

    def forward(self, x, *more):
        return tuple(flatten(self.layer(x, **dict(zip(self.names, more, strict=True)))))


def assert_exported(module, make, dynamic, strict=False):
    """The exported program gives the module's numbers on inputs of every size; returns it."""
    exported = torch.export.export(module, make(5, 6), dynamic_shapes=dynamic, strict=strict)
    for batch, time in SIZES:
        given = make(batch, time)
        assert_close(exported.module()(*given), module(*given), atol=1e-12)
    return exported


@pytest.mark.parametrize("what", [what for what in MAKE if what not in (*BY_LOOP, "GRU, reset before")])
def test_any_batch_and_time(what, strict=False):
    exported = assert_exported(
        Called(made(what)), lambda batch, time: (inputs(what, batch, time),), ({0: BATCH, 1: TIME},), strict
    )
    assert set(operators_in(exported.graph)) <= {"lstm", "gru", "simple_rnn"}
    assert len(operators_in(exported.graph)) >= 1
    assert sorted(exported.state_dict) == sorted(Called(made(what)).state_dict())


@pytest.mark.parametrize("what", ["GRU", "functional"])
@pytest.mark.filterwarnings("ignore:While compiling, we found certain side effects:UserWarning")  # of counting calls
def test_traced_by_dynamo(what):
    test_any_batch_and_time(what, strict=True)


@pytest.mark.parametrize("what", ["ConvLSTM2D", "one's own cell"])
def test_what_the_loop_runs_is_written_out_for_its_steps(what):
    module = Called(made(what))
    exported = torch.export.export(module, (inputs(what, 5, 3),), dynamic_shapes=({0: BATCH},))
    for batch in (2, 3, 7):
        assert_close(exported.module()(inputs(what, batch, 3)), module(inputs(what, batch, 3)), atol=1e-12)


@pytest.mark.parametrize("what", ["LSTM", "GRU", "stacked", "Bidirectional"])
def test_masks_and_lengths(what):
    layer = made(what)
    assert_exported(
        Called(layer, "mask"),
        lambda batch, time: (inputs(what, batch, time + 2), mask_for(batch, time + 2)),
        ({0: BATCH, 1: TIME}, ({0: BATCH, 1: TIME},)),
    )
    assert_exported(
        Called(layer, "lengths"),
        lambda batch, time: (inputs(what, batch, time), torch.arange(batch) % (time + 1)),
        ({0: BATCH, 1: TIME}, ({0: BATCH},)),
    )


def test_initial_states():
    layer = made("LSTM")

    class WithStates(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x, h, c):
            return self.layer(x, initial_state=[h, c])

    assert_exported(
        WithStates(),
        lambda batch, time: (inputs("LSTM", batch, time), *(torch.ones(batch, 3).double() * i for i in (1, 2))),
        ({0: BATCH, 1: TIME}, {0: BATCH}, {0: BATCH}),
    )


def test_words_to_tags():
    model = Sequential(
        [
            layers.Embedding(9, 4, mask_zero=True),
            layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
            layers.GRU(3, return_sequences=True),
            layers.Dense(2, activation="softmax"),
        ]
    )
    words = lambda batch, time: (torch.randint(0, 9, (batch, time)),)  # noqa: E731
    model(*words(2, 5))
    exported = torch.export.export(model, words(5, 6), dynamic_shapes=(({0: BATCH, 1: TIME},),))
    for batch, time in SIZES:
        given = words(batch, time)
        torch.testing.assert_close(exported.module()(*given), model(*given), atol=1e-6, rtol=1e-5)
    assert operators_in(exported.graph) == ["lstm", "lstm", "gru"]


def test_a_program_is_saved_and_opened(tmp_path):
    x = Input((None, 4))
    model = Model(x, layers.Dense(2)(layers.LSTM(3)(layers.Masking()(x))))
    given = inputs("LSTM", 5, 6, torch.float32)
    exported = torch.export.export(model, (given,), dynamic_shapes=(({0: BATCH, 1: TIME},),))
    torch.export.save(exported, tmp_path / "model.pt2")
    opened = torch.export.load(tmp_path / "model.pt2").module()
    for batch, time in SIZES:
        x = inputs("LSTM", batch, max(time, 2), torch.float32)
        torch.testing.assert_close(opened(x), model(x), atol=1e-6, rtol=1e-5)
