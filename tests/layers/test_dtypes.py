"""Recurrent layers in each floating dtype; the dtype of what is inside a layer is that of the layer around it."""

import numpy as np
import pytest
import torch

import ostinato
from ostinato import Sequential, layers
from ostinato.recurrence.nests import flatten
from recurrent import LAYERS, MAKE, MODELS, assert_close, gradients, inputs, made, mask_for

AROUND = {
    "RNN": lambda: layers.RNN(layers.LSTMCell(4, dtype="float64")),
    "stacked": lambda: layers.RNN([layers.GRUCell(4, dtype="float64"), layers.LSTMCell(3, dtype="float64")]),
    "Bidirectional": lambda: layers.Bidirectional(layers.GRU(4, dtype="float64")),
    "Bidirectional of RNN": lambda: layers.Bidirectional(layers.RNN(layers.SimpleRNNCell(4, dtype="float64"))),
    "LSTM": lambda: layers.LSTM(4, dtype="float64"),
}


@pytest.mark.parametrize("name", AROUND)
def test_float64_inside_takes_and_gives_float64(name):
    layer = AROUND[name]()
    assert layer.dtype is torch.float64
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    found = layer(x)
    assert found.dtype is torch.float64
    torch.testing.assert_close(layer(x.numpy()), found, rtol=0, atol=0)
    assert {weight.dtype for weight in layer.weights} == {torch.float64}


@pytest.mark.parametrize("name", AROUND)
def test_float64_inside_refuses_float32(name):
    layer = AROUND[name]()
    with pytest.raises(TypeError, match=r"expected a torch\.float64 tensor, got torch\.float32"):
        layer(torch.zeros(2, 5, 3))


def test_a_dtype_that_is_named_wins():
    layer = layers.RNN(layers.LSTMCell(4), dtype="float32")
    assert layer.dtype is torch.float32
    assert layer(np.zeros((2, 5, 3))).dtype is torch.float32


# == Each dtype =======================================================================================================

LOWER = {"bfloat16": 2.0**-8, "float16": 2.0**-11}
"""Half the distance from 1 to the next number."""
every = pytest.mark.parametrize("what", MAKE)
lower = pytest.mark.parametrize("dtype", LOWER)
FLOATS = ("float64", "float32", "bfloat16", "float16")


def error(found, wanted):
    """The largest difference, relative to the largest entry of each."""
    pairs = zip(flatten(found), flatten(wanted), strict=True)
    return max(((a.double() - b).abs().max() / b.abs().max().clamp(min=1e-3)).item() for a, b in pairs)


@every
@lower
@pytest.mark.parametrize("masked", [False, True])
def test_lower_precision_is_near_to_float64(what, dtype, masked):
    """Of weights and inputs that both can hold, so that only what is computed differs."""
    layer, wide = made(what, dtype), made(what)
    wide.load_state_dict(layer.state_dict())
    x = inputs(what, batch=3, dtype=getattr(torch, dtype))
    given = {"mask": mask_for(3)} if masked else {}
    outputs, slopes = gradients(layer, x, **given)
    assert {leaf.dtype for leaf in (*outputs, *slopes)} == {getattr(torch, dtype)}
    wanted = gradients(wide, x.double(), **given)
    assert error(outputs, wanted[0]) < 16 * LOWER[dtype]
    assert error(slopes, wanted[1]) < 32 * LOWER[dtype]
    assert error(outputs, wanted[0]) > LOWER[dtype] / 64


@pytest.mark.parametrize("what", LAYERS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("built", [False, True])
def test_to_another_dtype_before_and_after_it_is_built(what, dtype, built):
    wanted = getattr(torch, dtype)
    start = "float32" if dtype == "float64" else "float64"
    layer = made(what, start) if built else MAKE[what](dtype=start)
    assert layer.to(wanted) is layer and layer.dtype is wanted
    x = inputs(what, dtype=wanted)
    found = flatten(layer(x))
    assert {leaf.dtype for leaf in (*found, *layer.parameters())} == {wanted}
    right = MAKE[what](dtype=dtype)
    right(x)
    right.set_weights([weight.detach() for weight in layer.weights])
    assert_close(found, flatten(right(x)), atol=0, rtol=0)


@pytest.mark.parametrize("short", ["double", "float", "half", "bfloat16"])
def test_torchs_short_names_for_it(short):
    wanted = {"double": torch.float64, "float": torch.float32, "half": torch.float16, "bfloat16": torch.bfloat16}[short]
    model = getattr(Sequential([layers.Masking(), layers.GRU(3, return_sequences=True), layers.LSTM(2)]), short)()
    assert model(inputs("LSTM", dtype=wanted)).dtype is wanted
    assert {weight.dtype for weight in model.weights} == {wanted}


@pytest.mark.parametrize("what", [what for what in LAYERS if what != "one's own cell"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_inputs_of_another_dtype_are_refused_by_name(what, dtype):
    layer = made(what, dtype)
    for other in FLOATS:
        if other != dtype:
            with pytest.raises(TypeError, match=rf"expected a torch\.{dtype} tensor, got torch\.{other}.*\.to\("):
                layer(inputs(what, dtype=getattr(torch, other)))
    with pytest.raises(TypeError, match="complex64"):
        layer(inputs(what).to(torch.complex64))


@every
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("given", ["float64", "float32", "float16", "int64", "int8", "bool"])
def test_arrays_are_cast(what, dtype, given):
    if what == "one's own cell" and given in ("int64", "int8", "bool"):
        given = "float16"  # whole numbers are its own affair: they may be words
    layer = made(what, dtype)
    x = (3 * inputs(what)).numpy().astype(given)
    wanted = layer(torch.from_numpy(x).to(getattr(torch, dtype)))
    assert_close(layer(x), wanted, atol=0, rtol=0)
    assert {leaf.dtype for leaf in flatten(layer(x))} == {getattr(torch, dtype)}


@pytest.mark.parametrize("what", [what for what in LAYERS if what != "one's own cell"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_whole_numbers_are_taken_as_numbers(what, dtype):
    layer = made(what, "float32")
    x = (3 * inputs(what)).to(dtype)
    assert_close(layer(x), layer(x.float()), atol=0, rtol=0)
    if what in ("LSTM", "GRU", "stacked"):
        assert_close(layer.step(x[:, 0])[0], layer.step(x[:, 0].float())[0], atol=0, rtol=0)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("given", FLOATS)
def test_states_of_any_dtype_are_cast(kind, dtype, given):
    layer = made(kind, dtype)
    x, count = inputs(kind, dtype=getattr(torch, dtype)), len(flatten(layer.state_size))
    states = [torch.randn(2, 3).to(getattr(torch, given)) for _ in range(count)]
    wanted = layer(x, initial_state=[state.to(getattr(torch, dtype)) for state in states])
    assert_close(layer(x, initial_state=states), wanted, atol=0, rtol=0)
    if given != "bfloat16":  # which NumPy does not have
        assert_close(layer(x, initial_state=[state.numpy() for state in states]), wanted, atol=0, rtol=0)


@lower
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_stateful_layer_through_a_change_of_dtype(kind, dtype):
    layer = getattr(layers, kind)(3, stateful=True)
    x = inputs("LSTM", dtype=torch.float32)
    layer(x)
    before = layer.get_states()
    layer.to(getattr(torch, dtype))
    layer(x.to(getattr(torch, dtype)))
    assert {state.dtype for state in layer.states} == {getattr(torch, dtype)}
    wide = getattr(layers, kind)(3, dtype="float64", return_state=True)
    wide.build(x.shape)
    wide.set_weights([weight.detach().double() for weight in layer.weights])
    _, *wanted = wide(x.double(), initial_state=[state.double() for state in before])
    assert error(layer.get_states(), wanted) < 16 * LOWER[dtype]


@pytest.mark.parametrize("what", MODELS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_models_are_fit_in_it_as_in_float64(what, dtype):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(48, 5, 4))
    y = np.tanh(x[:, -1].sum(1, keepdims=True))
    histories, start = [], None
    for each in (dtype, "float64"):
        model = Sequential([made(what, each), layers.Dense(1, dtype=each)])
        assert model.input_dtype is getattr(torch, each)
        model(x[:2])
        start = start or model.get_weights()
        model.set_weights(start)
        model.compile(ostinato.optimizers.SGD(0.2), "mse")
        histories.append(model.fit(x, y, epochs=5, batch_size=8, verbose=0, seed=1).history["loss"])
        assert {weight.dtype for weight in model.weights} == {getattr(torch, each)}
        assert model.predict(x, verbose=0).shape == (48, 1)
    assert histories[1][-1] < 0.95 * histories[1][0]
    np.testing.assert_allclose(histories[0], histories[1], rtol=10 * LOWER.get(dtype, 1e-6))


class Counted(layers.Layer):
    """Whole numbers beside floats, in inputs, states and outputs: sums rows of a table, and counts."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.state_size = self.output_size = {"sum": 3, "count": 1}

    def build(self, shapes):
        self.table = self.add_weight(shape=(9, 3), name="table")

    def call(self, inputs, states):
        new = {
            "sum": states["sum"] + self.table[inputs["word"]] * inputs["weight"],
            "count": states["count"] + (inputs["word"] != 0)[:, None],
        }
        return new, new

    def get_initial_state(self, batch_size=None):
        return {
            "sum": torch.zeros(batch_size, 3, dtype=self.dtype),
            "count": torch.zeros(batch_size, 1, dtype=torch.int64),
        }


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("array", [False, True])
def test_dtypes_side_by_side_in_a_nest(dtype, array):
    layer = layers.RNN(Counted(dtype=dtype), return_sequences=True, return_state=True)
    words = torch.tensor([[1, 2, 0, 4], [0, 0, 8, 1]])
    weight = inputs("LSTM", time=4, dtype=getattr(torch, dtype))[..., :1]
    if array and dtype == "bfloat16":
        weight = weight.float().to(torch.bfloat16)
    given = {"word": words, "weight": weight}
    if array:
        given = {"word": words.numpy(), "weight": weight.double().numpy()}
    mask = mask_for(2, 4)
    outputs, state = layer(given, mask=mask)
    rows = layer.cell.table[words].detach() * weight
    kept = rows * mask[..., None]
    wanted = torch.zeros(2, 3, dtype=rows.dtype)
    for t in range(4):
        wanted = wanted + kept[:, t]
        assert_close(outputs["sum"][:, t], wanted, atol=0, rtol=0)
    counts = ((words != 0) & mask).cumsum(1)[..., None]
    assert torch.equal(outputs["count"], counts) and outputs["count"].dtype is torch.int64
    assert torch.equal(state["count"], counts[:, -1]) and state["sum"].dtype is getattr(torch, dtype)
    layer.stateful = True
    layer(given, mask=mask)
    again = layer(given, mask=mask)[0]
    assert torch.equal(again["count"], counts + counts[:, -1:])
    (slope,) = torch.autograd.grad(outputs["sum"].sum(), layer.cell.table)
    assert slope.dtype is getattr(torch, dtype) and slope[3].eq(0).all()
