"""`torch.autocast` on the CPU, to bfloat16: products are in it, states, outputs and gradients in the weights' dtype."""

import numpy as np
import pytest
import torch

import ostinato
from cells import Minimal
from ostinato import Sequential, layers
from ostinato.engines.select import observe
from ostinato.recurrence.nests import flatten
from recurrent import BY_LOOP, LAYERS, MAKE, assert_close, gradients, inputs, made, mask_for

every = pytest.mark.parametrize("what", MAKE)
EPSILON = 2.0**-8
"""Half the distance from 1 to the next bfloat16."""


def autocast(**options):
    return torch.autocast("cpu", dtype=torch.bfloat16, **options)


def twins(what):
    """A float32 layer, and one in float64 with the same weights."""
    layer, wide = made(what, "float32"), made(what)
    wide.load_state_dict(layer.state_dict())
    return layer, wide


def own_output_dtype(what):
    """That of outputs: a cell of one's own gives what it gives."""
    return torch.bfloat16 if what == "one's own cell" else torch.float32


def error(found, wanted):
    """The largest difference, relative to the largest entry of each."""
    pairs = zip(flatten(found), flatten(wanted), strict=True)
    return max(((a.double() - b).abs().max() / b.abs().max().clamp(min=1e-3)).item() for a, b in pairs)


@every
@pytest.mark.parametrize("masked", [False, True])
def test_values_and_gradients_are_those_of_float64_within_bfloat16(what, masked):
    layer, wide = twins(what)
    x = inputs(what, batch=3, time=6, dtype=torch.float32)
    given = {"mask": mask_for(3, 6)} if masked else {}
    outputs, slopes = gradients(wide, x.double(), **given)
    with autocast():
        lower, found = gradients(layer, x, **given)
    assert {leaf.dtype for leaf in (*lower, *found)} <= {torch.float32, own_output_dtype(what)}
    assert 1e-5 < error(lower, outputs) < 8 * EPSILON  # lower indeed, and not by much
    assert 1e-5 < error(found, slopes) < 20 * EPSILON
    plain = gradients(layer, x, **given)
    assert error(plain[0], outputs) < 1e-5 and error(plain[1], slopes) < 1e-4


@every
def test_inference(what):
    layer, wide = twins(what)
    x = inputs(what, dtype=torch.float32)
    for no_graph in (torch.no_grad, torch.inference_mode):
        with autocast(), no_graph():
            found = flatten(layer(x))
        assert not any(leaf.requires_grad for leaf in found)
        assert 1e-5 < error(found, flatten(wide(x.double()))) < 8 * EPSILON


@every
def test_a_decorator_and_a_region_left_out(what):
    layer, x = made(what, "float32"), inputs(what, dtype=torch.float32)
    with autocast():
        wanted = layer(x)
        with autocast(enabled=False):
            assert_close(layer(x), run_plain(layer, x), atol=0, rtol=0)
    assert_close(autocast()(layer)(x), wanted, atol=0, rtol=0)


def run_plain(layer, x):
    with autocast(enabled=False):
        return layer(x)


@pytest.mark.parametrize("what", LAYERS)
def test_bfloat16_inputs_are_taken_under_it_only(what):
    layer = made(what, "float32")
    x = inputs(what, dtype=torch.bfloat16)
    with autocast():
        assert_close(layer(x), layer(x.float()), atol=2 * EPSILON)
        assert {leaf.dtype for leaf in flatten(layer(x))} == {own_output_dtype(what)}
    if what != "one's own cell":
        with pytest.raises(TypeError, match=r"expected a torch\.float32 tensor, got torch\.bfloat16"):
            layer(x)


@pytest.mark.parametrize("what", LAYERS)
def test_a_float64_layer_keeps_its_state_in_float64(what):
    layer, x = made(what), inputs(what)
    with autocast():
        found = flatten(layer(x))
    assert {leaf.dtype for leaf in found} == {torch.float64}
    assert error(found, flatten(layer(x))) < 8 * EPSILON


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_states_stay_in_the_weights_dtype_from_call_to_call(kind):
    layer = getattr(layers, kind)(3, stateful=True, return_state=True)
    wide = getattr(layers, kind)(3, stateful=True, return_state=True, dtype="float64")
    x = inputs("LSTM", dtype=torch.float32)
    for each in (layer, wide):
        each.build(x.shape)
    wide.set_weights(layer.get_weights())
    for _ in range(20):  # a state of bfloat16 would lose its way
        with autocast():
            outputs = layer(x)
        assert {leaf.dtype for leaf in (*outputs, *layer.states)} == {torch.float32}
        wide(x.double())
    assert error(layer.states, wide.states) < 8 * EPSILON
    layer(x)  # and outside again


def test_states_of_a_cell_of_ones_own_stay_in_the_weights_dtype():
    layer, wide = (layers.RNN(Minimal(3, dtype=dtype), stateful=True) for dtype in ("float32", "float64"))
    x = inputs("LSTM", dtype=torch.float32)
    for each in (layer, wide):
        each.build(x.shape)
    wide.set_weights([weight / 3 for weight in layer.get_weights()])
    layer.set_weights(wide.get_weights())
    for mask in (None, mask_for()):
        with autocast():
            assert layer(x, mask=mask).dtype is torch.bfloat16
        wide(x.double(), mask=mask)
        assert layer.states[0].dtype is torch.float32
    assert error(layer.states, wide.states) < 8 * EPSILON


def test_given_states_of_another_dtype():
    layer = made("LSTM", "float32")
    x, h = inputs("LSTM", dtype=torch.float32), torch.randn(2, 3)
    with autocast():
        found = layer(x, initial_state=[h.bfloat16(), h.double()])
        wanted = layer(x, initial_state=[h.bfloat16().float(), h])
    assert_close(list(found), list(wanted), atol=0, rtol=0)


@pytest.mark.parametrize("what", LAYERS)
def test_what_stands_in_masked_steps_does_not_matter(what):
    layer, x, mask = made(what, "float32"), inputs(what, dtype=torch.float32), mask_for()
    given, dirty = {"mask": mask}, x.clone()
    dirty[~mask] = torch.nan
    with autocast():
        wanted, found = gradients(layer, x, **given), gradients(layer, dirty, **given)
    for mine, right in zip(flatten(list(found)), flatten(list(wanted)), strict=True):
        assert torch.equal(mine, right)


@pytest.mark.parametrize("what", ["LSTM", "GRU", "stacked", "Bidirectional"])
def test_who_runs_it_is_told(what):
    layer, x = made(what, "float32"), inputs(what, dtype=torch.float32)
    with autocast(), observe() as choices:
        layer(x)
    assert choices and all("autocast to bfloat16" in str(choice.spec) for choice in choices)
    assert all(choice.engine == "reference" for choice in choices)
    assert any("torch.autocast" in str(choice) for choice in choices)
    assert what not in BY_LOOP


@pytest.mark.parametrize("dropout", [{}, {"dropout": 0.3}, {"dropout": 0.3, "recurrent_dropout": 0.3}], ids=str)
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_dropout_draws_the_same_masks(kind, dropout):
    layer, wide = (getattr(layers, kind)(3, seed=4, dtype=dtype, **dropout) for dtype in ("float32", "float64"))
    x = inputs("LSTM", dtype=torch.float32)
    for each in (layer, wide):
        each.build(x.shape)
    wide.set_weights(layer.get_weights())
    layer.cell._stream.counter = wide.cell._stream.counter = 0
    with autocast():
        found = layer(x, training=True)
    assert 1e-5 < error(found, wide(x.double(), training=True)) < 8 * EPSILON
    assert layer.cell._stream.counter == wide.cell._stream.counter == len(dropout)


# == Training =========================================================================================================


def data():
    x = np.random.default_rng(0).normal(size=(48, 6, 4)).astype("float32")
    x[::3, 4:] = 0
    return x, np.tanh(x.sum((1, 2)))[:, None].astype("float32")


def model_of(what):
    recurrent = {
        "LSTM": [layers.LSTM(8)],
        "masked": [layers.Masking(), layers.GRU(8, return_sequences=True), layers.LSTM(8)],
        "Bidirectional": [layers.Bidirectional(layers.GRU(6))],
        "dropout": [layers.LSTM(8, dropout=0.2, seed=3)],
    }[what]
    return Sequential([*recurrent, layers.Dense(1)])


@pytest.mark.parametrize("what", ["LSTM", "masked", "Bidirectional", "dropout"])
def test_fit_under_it_learns_as_fit_without(what):
    x, y = data()
    model = model_of(what)
    model(x, training=False)
    start, histories = model.get_weights(), []
    for enabled in (False, True):
        model.set_weights(start)
        for layer in model.layers[:1]:
            if what == "dropout":
                layer.cell._stream.counter = 0
        model.compile(ostinato.optimizers.Adam(0.02), "mse")
        with autocast(enabled=enabled):
            histories.append(model.fit(x, y, epochs=6, batch_size=16, verbose=0, seed=1).history["loss"])
            assert np.isfinite(model.evaluate(x, y, verbose=0))
            assert model.predict(x[:2], verbose=0).dtype == np.float32
        assert {weight.dtype for weight in model.weights} == {torch.float32}
        assert histories[-1][-1] < 0.7 * histories[-1][0]
    np.testing.assert_allclose(histories[1], histories[0], rtol=0.02)  # with weights of a step before it is far off
    assert histories[1] != histories[0]


def test_weights_that_are_written_in_a_region_are_used_in_it():
    """torch keeps what it has cast for as long as a region lasts."""
    layer, other = made("LSTM", "float32"), made("LSTM", "float32", seed=1)
    x = inputs("LSTM", dtype=torch.float32)
    with autocast():
        wanted = other(x)
    with autocast():
        layer(x)
        layer.set_weights(other.get_weights())
        assert_close(layer(x), wanted, atol=0, rtol=0)
        layer.cell.kernel.assign(0 * layer.cell.kernel)
        layer.cell.recurrent_kernel.assign_sub(layer.cell.recurrent_kernel)
        layer.cell.bias.assign(torch.zeros(12))
        assert not layer(x)[0].any()


def test_a_loop_of_ones_own_with_torchs_optimizer():
    model = model_of("masked")
    x, y = map(torch.from_numpy, data())
    model(x)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        with autocast():
            output = model(x)
            loss = torch.nn.functional.mse_loss(output.float(), y)
        loss.backward()  # outside, as torch advises
        assert all(p.grad.dtype is torch.float32 and p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_compiled_under_it():
    layer, x = made("LSTM", "float32"), inputs("LSTM", dtype=torch.float32)
    fast = torch.compile(layer, backend="aot_eager", fullgraph=True)
    with autocast():
        (found, *_), (wanted, *_) = fast(x), layer(x)
    torch.testing.assert_close(found, wanted, atol=2 * EPSILON, rtol=0)
    assert found.dtype is torch.float32
    torch.compiler.reset()
