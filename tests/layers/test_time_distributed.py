"""TimeDistributed: against the real Keras, against a loop over the steps, and with masks as Keras 2 has them."""

import json

import keras
import numpy as np
import pytest
import torch

import ostinato
from ostinato import layers
from side_by_side import MASKS, assert_same, give_weights, mask_of, tensor

INSIDE = {
    "Dense": (lambda layers: layers.Dense(3, activation="tanh"), (3, 5, 4)),
    "Dense on more axes": (lambda layers: layers.Dense(3), (3, 5, 2, 4)),
    "LSTM": (lambda layers: layers.LSTM(3), (3, 5, 6, 4)),
    "GRU, sequences": (lambda layers: layers.GRU(3, return_sequences=True, go_backwards=True), (3, 5, 6, 4)),
    "Bidirectional": (lambda layers: layers.Bidirectional(layers.LSTM(2)), (3, 5, 6, 4)),
    "Conv1D": (lambda layers: layers.Conv1D(3, 2), (3, 5, 6, 4)),
    "Conv2D": (lambda layers: layers.Conv2D(2, 3, strides=2, padding="same"), (3, 5, 6, 7, 2)),
    "BatchNormalization": (lambda layers: layers.BatchNormalization(), (3, 5, 4)),
    "LayerNormalization": (lambda layers: layers.LayerNormalization(), (3, 5, 4)),
    "TimeDistributed": (lambda layers: layers.TimeDistributed(layers.Dense(3)), (3, 5, 6, 4)),
}


class Own(layers.Layer):
    """A layer of one's own, that takes no mask."""

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 3), name="kernel")

    def call(self, inputs):
        return torch.tanh(inputs @ self.kernel)


class Masked(layers.Layer):
    """One that takes a mask, and shows what it was given."""

    def call(self, inputs, mask=None):
        return inputs if mask is None else inputs * mask.unsqueeze(-1)


def calls_of(module):
    """A list that grows with each call of a module."""
    calls = []
    module.register_forward_hook(lambda module, args, output: calls.append(tuple(args[0].shape)))
    return calls


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("inside", INSIDE)
def test_is_that_of_keras(inside, training):
    make, shape = INSIDE[inside]
    ours, theirs = (module.layers.TimeDistributed(make(module.layers)) for module in (ostinato, keras))
    for layer in (ours, theirs):
        layer.build(shape)
    values = [0.1 + np.abs(w) for w in ours.get_weights()]
    ours.set_weights(values), theirs.set_weights(values)
    outputs, _ = assert_same(ours, theirs, tensor(*shape), tolerance=1e-5, training=training)
    assert tuple(outputs[0].shape) == ours.compute_output_shape(shape) == theirs.compute_output_shape(shape)
    assert ours.compute_output_shape((None, None, *shape[2:]))[:2] == (None, None)
    for mine, right in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, right, rtol=1e-5, atol=1e-6)  # moving statistics


@pytest.mark.parametrize("mask", MASKS)
def test_a_mask_changes_no_value_around_a_built_in_layer(mask):
    ours, theirs = (module.layers.TimeDistributed(module.layers.Dense(3)) for module in (ostinato, keras))
    for layer in (ours, theirs):
        layer.build((3, 5, 4))
    give_weights(ours, theirs)
    assert_same(ours, theirs, tensor(3, 5, 4), mask=mask_of(mask))


@pytest.mark.parametrize("mask", ["right padding", "gaps", "a row without steps"])
def test_batch_normalization_sees_the_mask_of_each_step(mask):
    ours, theirs = (module.layers.TimeDistributed(module.layers.BatchNormalization()) for module in (ostinato, keras))
    assert_same(ours, theirs, tensor(3, 5, 4), mask=mask_of(mask), training=True, tolerance=1e-4)


BY_CALLS = {
    "a dense layer": (lambda: layers.Dense(3), (2, 5, 4), 1),
    "a recurrent layer": (lambda: layers.LSTM(3), (2, 5, 6, 4), 1),
    "a model of layers": (lambda: ostinato.Sequential([layers.LSTM(3), layers.Dense(2)]), (2, 5, 6, 4), 1),
    "dropout": (lambda: layers.Dropout(0.5), (2, 5, 4), 1),
    "dropout shared by all rows": (lambda: layers.Dropout(0.5, noise_shape=(1, None)), (2, 5, 4), 5),
    "a stateful layer": (lambda: layers.LSTM(3, stateful=True), (2, 5, 6, 4), 5),
    "one that mixes rows": (lambda: layers.BatchNormalization(), (2, 5, 4), 5),
    "a model with one that does": (lambda: ostinato.Sequential([layers.BatchNormalization()]), (2, 5, 4), 5),
    "a layer of one's own": (Own, (2, 5, 4), 5),
    "a model with one": (lambda: ostinato.Sequential([Own(), layers.Dense(2)]), (2, 5, 4), 5),
    "a torch module": (lambda: torch.nn.Linear(4, 3), (2, 5, 4), 5),
}


@pytest.mark.parametrize("case", BY_CALLS)
def test_number_of_calls(case):
    """All steps at once where rows do not see each other, else one call for each."""
    make, shape, number = BY_CALLS[case]
    layer = layers.TimeDistributed(make())
    calls = calls_of(layer.layer)
    layer(tensor(*shape), training=True)
    rows = 10 if number == 1 else 2
    assert calls == [(rows, *shape[2:])] * number


def test_states_go_from_step_to_step():
    inner = layers.LSTM(3, stateful=True)
    x = tensor(2, 5, 6, 4)
    found = layers.TimeDistributed(inner)(x)
    inner.reset_states()
    torch.testing.assert_close(found, torch.stack([inner(x[:, t]) for t in range(5)], 1))


# -- masks ---------------------------------------------------------------------------------------------------------


def held_by_hand(values, mask):
    """Each masked step with the value before it, zeros before the first: step by step, in NumPy."""
    values, mask = values.detach().numpy(), mask.numpy()
    outputs = np.zeros_like(values)
    for row in range(len(values)):
        before = np.zeros_like(values[row, 0])
        for t in range(values.shape[1]):
            before = values[row, t] if mask[row, t] else before
            outputs[row, t] = before
    return torch.from_numpy(outputs)


@pytest.mark.parametrize("mask", [name for name in MASKS if name != "none"])
@pytest.mark.parametrize("inside", [Own, lambda: torch.nn.Linear(4, 3)], ids=["a layer", "a torch module"])
def test_one_of_ones_own_holds_the_output_before(inside, mask):
    layer = layers.TimeDistributed(inside())
    x = tensor(3, 5, 4)
    right = held_by_hand(layer(x), mask_of(mask))
    torch.testing.assert_close(layer(x, mask=mask_of(mask)), right)
    torch.testing.assert_close(layer(x, mask=mask_of(mask).float().numpy()), right)


def test_one_that_takes_a_mask_gets_its_slice_of_it():
    x = tensor(3, 5, 4)
    found = layers.TimeDistributed(Masked())(x, mask=mask_of("gaps"))
    torch.testing.assert_close(found, x * mask_of("gaps").unsqueeze(-1))


@pytest.mark.parametrize("garbage", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("mask", ["right padding", "gaps", "a row without steps"])
@pytest.mark.parametrize("inside", ["Dense", "BatchNormalization", "Own", "a torch module"])
def test_garbage_in_masked_steps_reaches_no_gradient(inside, mask, garbage):
    make = {
        "Dense": lambda: layers.Dense(3),
        "BatchNormalization": layers.BatchNormalization,
        "Own": Own,
        "a torch module": lambda: torch.nn.Linear(4, 3),
    }[inside]
    layer, used = layers.TimeDistributed(make()), mask_of(mask)
    layer(tensor(3, 5, 4), mask=used, training=False)

    def run(fill):
        x = tensor(3, 5, 4).masked_fill(~used.unsqueeze(-1), fill).requires_grad_()
        outputs = layer(x, mask=used, training=False)
        wanted = [x, *layer.trainable_weights]
        loss = (outputs * tensor(*outputs.shape, seed=1) * used.unsqueeze(-1)).sum()
        return outputs[used], torch.autograd.grad(loss, wanted)

    (found, gradients), (right, expected) = run(garbage), run(0.0)
    torch.testing.assert_close(found, right)
    torch.testing.assert_close(gradients, expected)
    assert all(each.isfinite().all() for each in gradients)


def hung(outputs):
    return getattr(outputs, "_keras_mask", None)


def test_masks_of_what_comes_out():
    """The layer's own mask of each step where it has one, else which steps are used (Keras 2)."""
    words = torch.tensor([[[1, 2, 0], [3, 0, 0]], [[4, 5, 6], [0, 0, 0]]])
    embedded = layers.TimeDistributed(layers.Embedding(9, 4, mask_zero=True))(words)
    assert torch.equal(hung(embedded), words != 0)
    encoder = layers.TimeDistributed(layers.LSTM(3))
    encoded = encoder(embedded)
    assert torch.equal(hung(encoded), torch.tensor([[True, True], [True, False]]))
    inner = encoder.layer(layers.Embedding(9, 4)(words[0]) * 0 + embedded[0], mask=words[0] != 0)
    torch.testing.assert_close(encoded[0], inner)
    sequences = layers.TimeDistributed(layers.LSTM(3, return_sequences=True))(embedded)
    assert torch.equal(hung(sequences), words != 0)
    assert torch.equal(
        hung(layers.TimeDistributed(Own())(embedded[:, :, 0], mask=words[:, :, 0] != 0)), words[..., 0] != 0
    )
    assert hung(layers.TimeDistributed(layers.Dense(3))(tensor(2, 5, 4))) is None
    steps = tensor(2, 3, 4, 5).index_fill(2, torch.tensor([1]), 0.0)
    masked = layers.TimeDistributed(layers.Masking())(steps)
    assert torch.equal(hung(masked), (steps != 0).any(-1))


def test_a_model_inside_makes_the_mask():
    words = torch.tensor([[[1, 2, 0], [3, 0, 0]], [[4, 5, 6], [0, 0, 0]]])
    inner = ostinato.Sequential([layers.Embedding(9, 4, mask_zero=True), layers.LSTM(3, return_sequences=True)])
    layer = layers.TimeDistributed(inner)
    layer.build(tuple(words.shape))
    calls = calls_of(inner.layers[1])
    outputs = layer(words)
    assert torch.equal(hung(outputs), words != 0) and len(calls) == 1
    assert torch.equal(layer.compute_mask(words), words != 0)


@pytest.mark.parametrize("inside", [lambda: layers.Dense(3), Own, Masked])
def test_the_mask_goes_on_to_the_next_layer(inside):
    x, used = tensor(3, 5, 4), mask_of("gaps")
    distributed, after = layers.TimeDistributed(inside()), layers.LSTM(2)
    symbol = ostinato.Input((None, 4))
    model = ostinato.Model(symbol, after(distributed(layers.Masking()(symbol))))
    found = model(x * used.unsqueeze(-1))
    right = after(distributed(x * used.unsqueeze(-1), mask=used), mask=used)
    torch.testing.assert_close(found, right)


def test_hooked_and_compiled_layers_keep_the_mask():
    x, used = tensor(3, 5, 4), mask_of("gaps")
    x._keras_mask = used
    layer = layers.TimeDistributed(layers.Dense(3))
    right = layer(x)
    around = layers.TimeDistributed(torch.compile(layer.layer, backend="eager"))
    assert torch.equal(around(x), right) and torch.equal(hung(around(x)), used)
    after = layers.LSTM(2)
    expected = after(right, mask=used)
    compiled = ostinato.Sequential([layers.Masking(), torch.compile(layer, backend="eager"), after])
    torch.testing.assert_close(compiled(x.masked_fill(~used.unsqueeze(-1), 0)), expected)
    calls_of(layer)
    assert torch.equal(hung(layer(x)), used)
    hooked = ostinato.Sequential([layers.Masking(), layer, after])
    torch.testing.assert_close(hooked(x.masked_fill(~used.unsqueeze(-1), 0)), expected)


# -- forms of inputs and outputs -----------------------------------------------------------------------------------


class Two(layers.Layer):
    """Takes and returns a dict."""

    def call(self, inputs):
        return {"sum": inputs["a"] + inputs["b"].sum(-1, keepdim=True), "largest": inputs["a"].argmax(-1)}


def test_nests_in_and_out():
    inputs = {"a": tensor(2, 5, 4), "b": tensor(2, 5, 3, seed=1)}
    layer = layers.TimeDistributed(Two())
    outputs = layer(inputs)
    torch.testing.assert_close(outputs["sum"], inputs["a"] + inputs["b"].sum(-1, keepdim=True))
    assert torch.equal(outputs["largest"], inputs["a"].argmax(-1))
    symbols = {key: ostinato.Input((None, *value.shape[2:])) for key, value in inputs.items()}
    drawn = layer(symbols)
    assert drawn["sum"].shape == (None, None, 4) and drawn["largest"].shape == (None, None)
    assert drawn["largest"].dtype is torch.int64
    found = ostinato.Model(symbols, drawn)(inputs)
    assert torch.equal(found["sum"], outputs["sum"]) and torch.equal(found["largest"], outputs["largest"])


def test_a_layer_that_merges():
    pair = [tensor(2, 5, 4), tensor(2, 5, 3, seed=1)]
    layer = layers.TimeDistributed(layers.Concatenate())
    assert torch.equal(layer(pair), torch.cat(pair, -1))
    assert layer.compute_output_shape([(2, 5, 4), (2, 5, 3)]) == (2, 5, 7)


def test_a_layer_that_returns_states():
    x = tensor(2, 5, 6, 4)
    inner = layers.LSTM(3, return_state=True)
    found = layers.TimeDistributed(inner)(x)
    for t in range(5):
        torch.testing.assert_close(tuple(each[:, t] for each in found), inner(x[:, t]))


@pytest.mark.parametrize("batch, time", [(0, 5), (2, 0), (0, 0), (1, 1)])
@pytest.mark.parametrize("inside", [lambda: layers.Dense(3), lambda: layers.LSTM(3, stateful=True), Own])
def test_empty_and_single(inside, batch, time):
    layer = layers.TimeDistributed(inside())
    shape = (6, 4) if isinstance(layer.layer, layers.LSTM) else (4,)
    found = layer(
        tensor(batch, time, *shape), mask=torch.ones(batch, time, dtype=torch.bool) if shape == (4,) else None
    )
    assert found.shape == (batch, time, 3)


def test_around_a_torch_module():
    linear = torch.nn.Linear(4, 3).double()
    layer = layers.TimeDistributed(linear)
    x = tensor(2, 5, 4, dtype=torch.float64)
    torch.testing.assert_close(layer(x), linear(x))
    torch.testing.assert_close(layer(x.numpy()), linear(x))
    assert layer.dtype is torch.float64 and [*layer.state_dict()] == ["layer.weight", "layer.bias"]
    symbol = ostinato.Input((None, 4), dtype="float64")
    drawn = layer(symbol)
    assert drawn.shape == (None, None, 3)
    torch.testing.assert_close(ostinato.Model(symbol, drawn)(x), linear(x))
    with pytest.raises(TypeError, match="get_config"):
        layer.get_config()


def test_the_mode_reaches_what_is_inside():
    x = torch.ones(2, 5, 4)
    for inner in (layers.Dropout(0.5), torch.nn.Dropout(0.5), layers.TorchModule(torch.nn.Dropout(0.5))):
        layer = layers.TimeDistributed(inner)
        assert torch.equal(layer(x, training=False), x)
        assert set(layer(x, training=True).unique().tolist()) == {0.0, 2.0}
        assert layer._differs_in_training()


@pytest.mark.parametrize("inside", [lambda: layers.Dense(3), Own])
@pytest.mark.parametrize("mask", ["none", "gaps"])
def test_compiled(inside, mask):
    layer = layers.TimeDistributed(inside())
    x = tensor(3, 5, 4)
    right = layer(x, mask=mask_of(mask))
    found = torch.compile(layer, backend="eager", fullgraph=True)(x, mask=mask_of(mask))
    torch.testing.assert_close(found, right)


def test_trains_in_a_model():
    model = ostinato.Sequential([layers.Masking(), layers.TimeDistributed(layers.Dense(1)), layers.LSTM(2)])
    model.compile("adam", "mse")
    losses = model.fit(tensor(8, 5, 4).numpy(), np.ones((8, 2)), epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_configs_there_and_back_and_from_keras():
    layer = layers.TimeDistributed(layers.Conv1D(3, 2, name="inner"), name="outer")
    config = json.loads(json.dumps(layers.serialize(layer)))
    assert json.loads(json.dumps(layers.serialize(layers.deserialize(config)))) == config
    theirs = keras.layers.TimeDistributed(keras.layers.Conv1D(3, 2, name="inner"), name="outer")
    loaded = layers.deserialize(json.loads(json.dumps(keras.saving.serialize_keras_object(theirs))))
    assert (loaded.name, loaded.layer.name, loaded.layer.filters) == ("outer", "inner", 3)
    for each in (loaded, theirs):
        each.build((2, 5, 6, 4))
    give_weights(loaded, theirs)
    assert_same(loaded, theirs, tensor(2, 5, 6, 4))


MISUSED = {
    "no layer": (lambda: layers.TimeDistributed("dense"), "layer must be a layer or a torch module, got 'dense'"),
    "a class": (lambda: layers.TimeDistributed(layers.Dense), "layer must be a layer or a torch module"),
    "two axes": (lambda: layers.TimeDistributed(layers.Dense(3))(tensor(2, 4)), "at least 3 dimensions"),
    "unlike times": (
        lambda: layers.TimeDistributed(layers.Concatenate())([tensor(2, 5, 4), tensor(2, 6, 4)]),
        "the same batch and time",
    ),
    "a mask of another time": (
        lambda: layers.TimeDistributed(layers.Dense(3))(tensor(2, 5, 4), mask=torch.ones(2, 6)),
        r"shape \(2, 6\), but must be \(batch, time, ...\) with batch 2 and time 5",
    ),
    "a mask without time": (
        lambda: layers.TimeDistributed(layers.Dense(3))(tensor(2, 5, 4), mask=torch.ones(2)),
        "but must be",
    ),
}


@pytest.mark.parametrize("case", MISUSED)
def test_misuse(case):
    misuse, message = MISUSED[case]
    with pytest.raises(ValueError, match=message):
        misuse()
