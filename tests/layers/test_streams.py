"""Streams: states of some rows forgotten or set, parked, taken up again, by layers, wrappers and whole models."""

import copy
import io

import numpy as np
import pytest
import torch

import ostinato
from cells import Minimal, Nested
from ostinato import layers
from ostinato.recurrence.nests import flatten
from side_by_side import tensor


@ostinato.utils.register_keras_serializable(package="tests")
class LearnedGRU(layers.GRUCell):
    """Starts from a weight."""

    def build(self, input_shape):
        super().build(input_shape)
        self.start = self.add_weight(shape=(self.units,), initializer="ones", name="start")

    def get_initial_state(self, batch_size=None):
        return [self.start.expand(batch_size, -1)]


MADE = {
    "LSTM": lambda **options: layers.LSTM(4, **options),
    "GRU": lambda **options: layers.GRU(4, **options),
    "stacked": lambda **options: layers.RNN([layers.LSTMCell(3), layers.GRUCell(4)], **options),
    "own": lambda **options: layers.RNN(Minimal(4), **options),
    "learned": lambda **options: layers.RNN(LearnedGRU(4), **options),
    "both ways": lambda **options: layers.Bidirectional(layers.LSTM(4, **options)),
    "both ways, learned": lambda **options: layers.Bidirectional(layers.RNN(LearnedGRU(4), **options)),
}


@pytest.fixture(params=MADE)
def made(request):
    layer = MADE[request.param](stateful=True)
    layer(tensor(3, 5, 2))
    layer.reset_states()
    return layer


def alone(layer, x):
    """What a layer like it, with the same weights, gives for a stream that begins with x."""
    twin = copy.deepcopy(layer)
    twin.reset_states()
    return twin(x)


# -- rows ---------------------------------------------------------------------------------------------------------

ROWS = {
    "a number": 1,
    "a list": [1],
    "NumPy": np.array([1]),
    "int32": torch.tensor([1], dtype=torch.int32),
    "booleans": [False, True, False],
    "a tensor of booleans": torch.tensor([False, True, False]),
    "NumPy booleans": np.array([False, True, False]),
}


@pytest.mark.parametrize("rows", ROWS)
def test_a_row_that_is_forgotten_begins_anew_and_the_others_go_on(made, rows):
    first, second = tensor(3, 5, 2), tensor(3, 5, 2, seed=1)
    made(first)
    going_on = copy.deepcopy(made)(second)
    made.reset_states(rows=ROWS[rows])
    got = made(second)
    assert torch.equal(got[[0, 2]], going_on[[0, 2]])
    torch.testing.assert_close(got[1], alone(made, second)[1])
    assert not torch.allclose(got[1], going_on[1])


def test_streams_of_unlike_lengths_each_as_if_alone(made):
    """Rows end and begin at different times, and the sequences among them are padded."""
    rng = np.random.default_rng(0)
    streams = {row: [] for row in range(3)}
    for call in range(6):
        x, lengths = tensor(3, 4, 2, seed=call), torch.tensor(rng.integers(0, 5, 3))
        if call:
            over = rng.random(3) < 0.4
            made.reset_states(rows=over)
            for row in np.flatnonzero(over):
                streams[row] = []
        outputs = made(x, lengths=lengths)
        for row, length in enumerate(lengths.tolist()):
            streams[row].append(x[row, :length])
        if isinstance(made, layers.Bidirectional):
            continue  # whose backward half knows no stream that goes on
        for row, pieces in streams.items():
            if lengths[row]:
                expected = alone(made, torch.cat(pieces).unsqueeze(0))[0]
                torch.testing.assert_close(outputs[row], expected, rtol=1e-5, atol=1e-6)


def test_rows_are_set(made):
    made(tensor(3, 5, 2))
    before = [leaf.clone() for leaf in flatten(made.states)]
    given = [tensor(2, *leaf.shape[1:], seed=i) for i, leaf in enumerate(before)]
    kept = [leaf.clone() for leaf in given]
    made.reset_states(given, rows=[2, 0])
    for leaf, was, new in zip(flatten(made.states), before, given, strict=True):
        assert torch.equal(leaf[1], was[1]) and torch.equal(leaf[2], new[0]) and torch.equal(leaf[0], new[1])
    made.reset_states(rows=[0])
    made.reset_states([leaf.double().numpy() for leaf in given], rows=[True, False, True])
    for leaf, was, new in zip(flatten(made.states), before, given, strict=True):
        assert torch.equal(leaf[[0, 2]], new) and torch.equal(leaf[1], was[1]) and leaf.dtype is torch.float32
    assert all(torch.equal(a, b) for a, b in zip(given, kept, strict=True))


def test_rows_over_nests():
    layer = layers.RNN(Nested(2, 3, 4), stateful=True)
    inputs = [(tensor(3, 4, 5, seed=i), tensor(3, 4, 2, 3, seed=i)) for i in range(2)]
    layer(inputs[0])
    layer.reset_states(rows=[0])
    got = layer(inputs[1])
    expected = alone(layer, inputs[1])
    for a, b in zip(flatten(got), flatten(expected), strict=True):
        torch.testing.assert_close(a[0], b[0])


def test_a_row_that_begins_anew_gives_a_learned_state_its_gradient():
    layer = layers.RNN(LearnedGRU(4), stateful=True)
    layer(tensor(3, 5, 2))
    layer.reset_states(rows=[2])
    x = tensor(3, 5, 2, seed=1)
    outputs = layer(x)
    (mine,) = torch.autograd.grad(outputs[2].sum(), layer.cell.start, retain_graph=True)
    (others,) = torch.autograd.grad(outputs[:2].sum(), layer.cell.start)
    layer.reset_states()
    (right,) = torch.autograd.grad(layer(x)[2].sum(), layer.cell.start)
    torch.testing.assert_close(mine, right)
    assert others.eq(0).all() and mine.ne(0).any()


def test_the_states_that_are_seen_after_a_reset_of_rows_are_those_that_are_used():
    layer = layers.RNN(LearnedGRU(4), stateful=True)
    layer(tensor(3, 5, 2))
    layer.reset_states(rows=[2])
    with torch.no_grad():
        layer.cell.start.fill_(0.25)  # the row has not begun yet
    states = layer.states
    assert states[0][2].eq(0.25).all() and not states[0].requires_grad
    x = tensor(3, 5, 2, seed=1)
    expected = copy.deepcopy(layer)(x, initial_state=states)
    torch.testing.assert_close(layer(x), expected)


REFUSED = {
    "out of range": (3, r"rows must be different numbers from 0 to 2, got \[3\]"),
    "below": ([-1], r"rows must be different numbers from 0 to 2, got \[-1\]"),
    "twice": ([0, 0], r"rows must be different numbers"),
    "floats": ([0.5], r"rows must be numbers of rows, or \(batch,\) booleans; got \[0.5\]"),
    "text": ("first", r"rows must be numbers of rows, or \(batch,\) booleans; got 'first'"),
    "two axes": ([[0, 1]], r"rows must be numbers of rows, or \(batch,\) booleans"),
    "too few booleans": ([True, False], r"rows as booleans must be \(batch,\) = \(3,\), got \(2,\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_rows_refused(made, name):
    made(tensor(3, 5, 2))
    before = [leaf.clone() for leaf in flatten(made.states)]
    rows, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        made.reset_states(rows=rows)
    assert all(torch.equal(a, b) for a, b in zip(flatten(made.states), before, strict=True))


def test_states_of_rows_refused(made):
    made(tensor(3, 5, 2))
    given = [tensor(2, *leaf.shape[1:]) for leaf in flatten(made.states)]
    with pytest.raises(ValueError, match=r"states must be .* with batch 1, got"):
        made.reset_states(given, rows=[0])
    with pytest.raises(ValueError, match="tensor"):
        made.reset_states([*given, given[0]], rows=[0, 1])
    made.reset_states()
    with pytest.raises(ValueError, match=r"no states yet to set rows of\. Call it first, or set all rows"):
        made.reset_states(given, rows=[0, 1])
    made.reset_states(rows=[0])  # nothing is recorded, and nothing is to be forgotten


def test_no_rows_at_all(made):
    made(tensor(3, 5, 2))
    before = [leaf.clone() for leaf in flatten(made.states)]
    for none in ([], np.zeros(0, "int64"), [False] * 3):
        made.reset_states(rows=none)
        assert all(torch.equal(a, b) for a, b in zip(flatten(made.states), before, strict=True))


# -- parked and taken up -------------------------------------------------------------------------------------------


def test_a_stream_is_parked_and_another_runs(made):
    first, other, second = tensor(3, 5, 2), tensor(2, 4, 2, seed=1), tensor(3, 5, 2, seed=2)
    made(first)
    parked = made.get_states()
    expected = copy.deepcopy(made)(second)
    made.reset_states()
    made(other)  # of another batch, too
    made.set_states(parked)
    assert torch.equal(made(second), expected)
    made.set_states(parked)  # which the run has not changed
    assert torch.equal(made(second), expected)
    made.set_states(None)
    assert made.states is None and made.get_states() is None


def test_what_is_parked_is_a_copy_both_ways(made):
    made(tensor(3, 5, 2))
    parked = made.get_states()
    for leaf in flatten(parked):
        leaf.fill_(7.0)
    assert not any(leaf.eq(7).any() for leaf in flatten(made.states))
    made.set_states(parked)
    for leaf in flatten(parked):
        leaf.zero_()
    assert all(leaf.eq(7).all() for leaf in flatten(made.states))


def nested():
    inner = ostinato.Sequential([layers.GRU(3, stateful=True, return_sequences=True), layers.Dense(3)])
    x = ostinato.Input((None, 2))
    both = layers.Bidirectional(layers.LSTM(2, stateful=True, return_sequences=True))(inner(x))
    return ostinato.Model(x, layers.Dense(1)(layers.RNN([layers.GRUCell(2), layers.LSTMCell(3)], stateful=True)(both)))


class Subclassed(ostinato.Model):
    def __init__(self):
        super().__init__()
        self.parts = [layers.GRU(3, stateful=True, return_sequences=True), layers.LSTM(2, stateful=True)]

    def call(self, x):
        for part in self.parts:
            x = part(x)
        return x


MODELS = {
    "Sequential": lambda: ostinato.Sequential([layers.LSTM(4, stateful=True), layers.Dense(1)]),
    "nested": nested,
    "subclassed": Subclassed,
    "TimeDistributed": lambda: layers.TimeDistributed(layers.GRU(2, stateful=True)),
}


def data(name, rows=3, seed=0):
    return tensor(rows, 4, 5, 2, seed=seed) if name == "TimeDistributed" else tensor(rows, 5, 2, seed=seed)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_reset_parked_and_taken_up(name):
    model, x = MODELS[name](), data(name)
    begun = model(x)
    going_on = model(x)
    assert not torch.allclose(begun, going_on)
    model.reset_states()
    assert torch.equal(model(x), begun)
    parked = model.get_states()
    assert torch.equal(model(x), going_on)
    model.reset_states()
    model(data(name, rows=2, seed=1))
    model.set_states(parked)
    assert torch.equal(model(x), going_on)


@pytest.mark.parametrize("name", MODELS)
def test_rows_of_a_model(name):
    model, x = MODELS[name](), data(name)
    begun = model(x)
    parked = model.get_states()
    going_on = model(x)
    model.set_states(parked)
    model.reset_states(rows=[1])
    got = model(x)
    torch.testing.assert_close(got[1], begun[1])
    torch.testing.assert_close(got[[0, 2]], going_on[[0, 2]])
    row = {place: [leaf[1:2] for leaf in flatten(states)] for place, states in parked.items()}
    model.reset_states(row, rows=[1])  # the stream in the second row is taken up in it again
    torch.testing.assert_close(model(x)[1], going_on[1])


@pytest.mark.parametrize("name", MODELS)
def test_another_model_with_the_same_weights_takes_a_stream_up(name):
    model, x = MODELS[name](), data(name)
    model(x)
    twin = MODELS[name]()
    twin(x)
    twin.set_weights(model.get_weights())
    twin.set_states(model.get_states())
    assert torch.equal(twin(x), model(x))


def test_states_through_files(tmp_path):
    """Plain tensors in plain lists and dicts: torch.save without pickled classes, and NumPy's arrays."""
    model, x = nested(), data("nested")
    model(x)
    parked = model.get_states()
    expected = model(x)
    torch.save(parked, stored := io.BytesIO())
    stored.seek(0)
    model.set_states(torch.load(stored, weights_only=True))
    assert torch.equal(model(x), expected)
    arrays = {f"{place}/{i}": leaf for place, states in parked.items() for i, leaf in enumerate(flatten(states))}
    np.savez(tmp_path / "states.npz", **{key: leaf.numpy() for key, leaf in arrays.items()})
    with np.load(tmp_path / "states.npz") as loaded:
        states = {place: [loaded[key] for key in arrays if key.startswith(f"{place}/")] for place in parked}
    model.set_states(states)
    assert torch.equal(model(x), expected)


def test_nothing_recorded_is_parked_as_nothing():
    model, x = MODELS["Sequential"](), data("Sequential")
    assert model.get_states() == {"0": None}
    begun = model(x)
    model.set_states({"0": None})
    assert torch.equal(model(x), begun)
    plain = ostinato.Sequential([layers.GRU(2)])
    assert plain.get_states() == {}
    plain.reset_states()  # as in Keras 2, a model without stateful layers is reset in vain
    plain.set_states({})


def test_a_layer_that_stands_in_two_places_is_parked_once():
    shared = layers.GRU(2, stateful=True, return_sequences=True)
    x = ostinato.Input((None, 2))
    model = ostinato.Model(x, shared(shared(x)))
    model(tensor(3, 5, 2))
    assert list(model.get_states()) == ["0"]


def test_what_torch_compile_puts_around_is_no_place():
    gru = layers.GRU(2, stateful=True)
    model = ostinato.Sequential([torch.compile(gru), layers.Dense(1)])
    plain = ostinato.Sequential([gru, layers.Dense(1)])
    assert list(model.get_states()) == list(plain.get_states()) == ["0"]


def test_nothing_is_set_unless_all_of_it_fits():
    model, x = nested(), data("nested")
    model(x)
    good = model.get_states()
    places = list(good)
    other = {place: [tensor(2, *leaf.shape[1:]) for leaf in flatten(states)] for place, states in good.items()}
    bad = {
        "a layer is missing": {place: good[place] for place in places[:-1]},
        "a layer too many": {**good, "9": None},
        "another shape": {**other, places[-1]: [torch.zeros(2, 9)] * len(flatten(good[places[-1]]))},
        "no dict": [good[place] for place in places],
        "too few": {**other, places[-1]: []},
    }
    for given in bad.values():
        with pytest.raises(ValueError, match=r"set_states takes a dict|states must be|states has"):
            model.set_states(given)
        with pytest.raises(ValueError, match=r"reset_states takes a dict|states must be|states has"):
            model.reset_states(given)
    with pytest.raises(ValueError, match="rows must be"):
        model.reset_states(rows=[0, 7])
    layer = next(iter(ostinato.layers.streams.stateful_layers(model).values()))
    layer.reset_states(tensor(1, 3))  # now of one row, others of three
    with pytest.raises(ValueError, match="rows must be"):
        model.reset_states(rows=[2])
    for place, states in good.items():
        now = flatten(model.get_states()[place])
        if place != places[0]:
            assert all(torch.equal(a, b) for a, b in zip(now, flatten(states), strict=True))


class Counter(layers.Layer):
    """A stateful layer of one's own."""

    stateful, count = True, 0

    def call(self, inputs):
        self.count += 1
        return inputs

    def reset_states(self):
        self.count = 0


class RowCounter(Counter):
    def reset_states(self, rows=None):
        self.count = 0 if rows is None else -1


def test_stateful_layers_of_ones_own_are_asked():
    model = ostinato.Sequential([counter := Counter(), layers.GRU(2, stateful=True)])
    model(tensor(3, 5, 2))
    before = model.get_states()["1"][0]
    with pytest.raises(ValueError, match=r"Counter 'counter\w*' is stateful and its reset_states takes no rows"):
        model.reset_states(rows=[0])
    assert counter.count == 1 and torch.equal(model.get_states()["1"][0], before)
    model.reset_states()
    assert counter.count == 0
    model = ostinato.Sequential([counter := RowCounter(), layers.GRU(2, stateful=True)])
    model.reset_states(rows=[0])
    assert counter.count == -1
