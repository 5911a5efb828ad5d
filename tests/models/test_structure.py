"""What models are made of: layers, weights, names, summaries and copies, in Sequential, drawn and subclassed ones."""

import copy
import io
import pickle

import keras
import numpy as np
import pytest
import torch

import ostinato
from ostinato import Input, Model, Sequential, layers
from side_by_side import give_weights, tensor

exactly = {"rtol": 0, "atol": 0}


def same(a, b):
    torch.testing.assert_close(a, b, **exactly)


class Residual(Model):
    """Layers in attributes, a list and a dict, and a call of its own."""

    def __init__(self, units=4, **kwargs):
        super().__init__(**kwargs)
        self.embed = layers.Dense(units)
        self.blocks = [layers.Dense(units, activation="tanh") for _ in range(2)]
        self.heads = {"left": layers.Dense(1), "right": layers.Dense(2)}
        self.dropout = layers.Dropout(0.5)

    def call(self, inputs, training=False):
        x = self.embed(inputs)
        for block in self.blocks:
            x = x + block(x)
        x = self.dropout(x)
        return {name: head(x) for name, head in self.heads.items()}


def drawn():
    start = Input((None, 3), name="start")
    hidden = layers.GRU(4, return_sequences=True, name="gru")(start)
    return Model(start, layers.Dense(2, name="out")(torch.relu(hidden).mean(1)))


def chain():
    return Sequential([layers.LSTM(4, return_sequences=True), layers.GRU(3), layers.Dense(2)])


# -- Sequential -------------------------------------------------------------------------------------------------------


def test_add_and_pop():
    model = Sequential(name="grown")
    first, second, third = layers.Dense(4), layers.Dense(3), torch.nn.Linear(3, 2)
    for layer in (first, second, third):
        model.add(layer)
    assert model.layers == [first, second, third] and model.name == "grown"
    x = tensor(5, 6)
    same(model(x), third(second(first(x))))
    assert model.pop() is third
    same(model(x), second(first(x)))
    model.add(layers.Dense(7, name="new"))
    same(model(x), model.get_layer("new")(second(first(x))))
    assert model.get_layer(index=0) is first and model.get_layer(index=-1).name == "new"
    assert [key.split(".")[0] for key in model.state_dict()] == ["0", "0", "1", "1", "2", "2"]


def test_add_and_pop_of_a_model_whose_input_is_known():
    model = Sequential([Input((6,), name="start"), layers.Dense(4)])
    assert model.built and model.count_params() == 28
    assert model.inputs[0].shape == (None, 6) and model.outputs[0].shape == (None, 4)
    model.add(layers.Dense(3, name="last"))
    assert model.outputs[0].shape == (None, 3) and model.count_params() == 28 + 15
    assert model.input_names == ["start"] and model.output_names == ["last"]
    model.pop()
    assert model.outputs[0].shape == (None, 4) and model.count_params() == 28
    x = tensor(2, 6)
    same(Model(model.inputs, model.outputs)(x), [model(x)])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Sequential([layers.LSTM(4, input_shape=(None, 3)), layers.Dense(2)]),
        lambda: Sequential([layers.LSTM(4, batch_input_shape=(None, 5, 3)), layers.Dense(2)]),
        lambda: Sequential([Input((None, 3)), layers.LSTM(4), layers.Dense(2)]),
        lambda: Sequential([layers.InputLayer((5, 3)), layers.LSTM(4), layers.Dense(2)]),
    ],
    ids=["input_shape", "batch_input_shape", "Input", "InputLayer"],
)
def test_a_shape_on_the_first_layer_builds_the_model_at_once(make):
    model = make()
    assert model.built and len(model.layers) == 2
    assert [w.shape for w in model.get_weights()] == [(3, 16), (4, 16), (16,), (4, 2), (2,)]
    assert model.outputs[0].shape == (None, 2)
    x = tensor(2, 5, 3)
    same(model(x), model.layers[1](model.layers[0](x)))


def test_a_number_of_features_on_the_first_layer_is_its_shape_as_in_keras():
    ours = Sequential([layers.Dense(4, input_dim=3), layers.Dense(2)])
    with pytest.warns(UserWarning, match="Do not pass an `input_shape`/`input_dim`"):
        theirs = keras.Sequential([keras.layers.Dense(4, input_dim=3), keras.layers.Dense(2)])
    assert ours.built and [w.shape for w in ours.get_weights()] == [w.shape for w in theirs.get_weights()]
    assert ours.input_shape == theirs.input_shape == (None, 3)
    copy = layers.Dense.from_config(layers.Dense(4, input_dim=3).get_config())
    assert Sequential([copy]).built


@pytest.mark.parametrize(
    "nest", [lambda a, b: a, lambda a, b: [a, b], lambda a, b: {"a": a, "b": b}], ids=["one", "list", "dict"]
)
def test_the_shapes_of_a_drawn_model_are_those_that_keras_tells(nest):
    shapes = []
    for library in (ostinato, keras):
        a, b = library.Input((5, 3), name="a"), library.Input((None, 3), name="b")
        lstm = library.layers.LSTM(4, return_sequences=True)
        model = library.Model(nest(a, b), nest(lstm(a), lstm(b)))
        shapes.append((model.input_shape, model.output_shape))
    assert shapes[0] == shapes[1]


def test_a_subclassed_model_has_no_shapes():
    for name in ("input_shape", "output_shape"):
        with pytest.raises(ValueError, match="it has no inputs or outputs"):
            getattr(Residual(), name)


def test_build_with_a_shape_and_by_the_first_call_give_the_same_weights():
    built, called = chain(), chain()
    built.build((None, None, 3))
    called(tensor(2, 5, 3))
    assert built.built and called.built
    shapes = [w.shape for w in built.get_weights()]
    assert shapes == [w.shape for w in called.get_weights()] and len(shapes) == 8
    called.set_weights(built.get_weights())
    same(built(tensor(2, 5, 3)), called(tensor(2, 5, 3)))
    assert built.compute_output_shape((7, 5, 3)) == (7, 2)


def test_a_second_layer_of_one_name_is_refused_and_not_added():
    model = Sequential([layers.Dense(2, name="a"), layers.Dense(2, name="b")])
    with pytest.raises(ValueError, match="there is a layer 'a' already; names must differ"):
        model.add(layers.Dense(2, name="a"))
    assert [layer.name for layer in model.layers] == ["a", "b"]


# -- subclassed models ------------------------------------------------------------------------------------------------


def test_a_subclassed_model_finds_its_layers_in_lists_and_dicts():
    model = Residual()
    x = tensor(3, 5)
    out = model(x, training=False)
    assert [type(layer).__name__ for layer in model.layers] == ["Dense"] * 5 + ["Dropout"]
    assert [w.shape for w in model.get_weights()] == [
        (5, 4), (4,), (4, 4), (4,), (4, 4), (4,), (4, 1), (1,), (4, 2), (2,),
    ]  # fmt: skip
    assert list(model.state_dict())[2] == "blocks.0.kernel" and "heads.right.bias" in model.state_dict()
    hidden = model.embed(x)
    for block in model.blocks:
        hidden = hidden + block(hidden)
    same(out, {"left": model.heads["left"](hidden), "right": model.heads["right"](hidden)})
    assert model.count_params() == sum(p.numel() for p in model.parameters()) == 24 + 20 + 20 + 5 + 10


def test_the_training_flag_reaches_the_layers_of_a_subclassed_model():
    model = Residual(50)
    x = tensor(3, 5)
    plain = model(x, training=False)
    same(model(x, training=False), plain)
    assert (model(x, training=True)["left"] - plain["left"]).abs().max() > 1e-3
    model.train()
    assert (model(x)["left"] - plain["left"]).abs().max() > 1e-3
    model.eval()
    same(model(x), plain)


def test_a_subclassed_model_is_built_by_a_shape():
    model = Residual()
    model.build((None, 5))
    assert model.count_params() == 79
    assert model.compute_output_shape((7, 5)) == {"left": (7, 1), "right": (7, 2)}
    assert all(w.device.type == "cpu" for w in model.weights)


def test_a_subclassed_model_with_a_token_input_is_built_by_a_shape():
    class Tagger(Model):
        def __init__(self):
            super().__init__()
            self.embedding, self.lstm = layers.Embedding(9, 4, mask_zero=True), layers.LSTM(3)

        def call(self, inputs):
            return self.lstm(self.embedding(inputs))

    model = Tagger()
    model.build((None, 6))
    assert model.count_params() == 36 + (4 * 12 + 3 * 12 + 12)
    tokens = torch.tensor([[1, 2, 0], [3, 0, 0]])
    same(model(tokens), model.lstm(model.embedding.embeddings[tokens], mask=tokens != 0))


def test_a_subclass_that_draws_itself():
    class Drawn(Model):
        def __init__(self, units):
            start = Input((3,))
            super().__init__(start, layers.Dense(units, name="only")(start))

    model = Drawn(4)
    x = tensor(2, 3)
    same(model(x), model.get_layer("only")(x))
    assert len(model.layers) == 2 and model.count_params() == 16


# -- against Keras ----------------------------------------------------------------------------------------------------


def encoder_decoder(k, model, start):
    source, target = start((None,), dtype="int64", name="source"), start((None,), dtype="int64", name="target")
    encoded = k.Embedding(11, 6, name="source_embedding")(source)
    _, h, c = k.LSTM(5, return_state=True, name="encoder")(encoded)
    decoded = k.LSTM(5, name="decoder")(k.Embedding(9, 6, name="target_embedding")(target), initial_state=[h, c])
    return model([source, target], k.Dense(4, name="out")(decoded))


def two_by_two(k, model, start):
    text, number = start((None, 3), name="text"), start((4,), name="number")
    hidden = k.Bidirectional(k.GRU(3), name="both")(text)
    wide = k.Dense(6, activation="tanh", name="wide")(number)
    joined = k.BatchNormalization(name="norm")(k.Dense(6, name="narrow")(hidden))
    return model([text, number], [k.Dense(1, name="late")(joined), k.Dense(2, name="early")(wide)])


def side_by_side(make):
    ours, theirs = make(layers, Model, Input), make(keras.layers, keras.Model, keras.Input)
    give_weights(ours, theirs)
    return ours, theirs


DATA = {
    encoder_decoder: [np.array([[1, 2, 10], [3, 0, 4]]), np.array([[1, 8], [2, 3]])],
    two_by_two: [tensor(2, 5, 3).numpy(), tensor(2, 4, seed=1).numpy()],
}


@pytest.mark.parametrize("make", DATA)
def test_weights_are_in_keras_order_and_give_keras_outputs(make):
    ours, theirs = side_by_side(make)  # compares the shapes of get_weights() first
    assert [layer.name for layer in ours.layers] == [layer.name for layer in theirs.layers]
    names = [name.rpartition("/")[0].split("/")[0] for name in (v.path for v in theirs.weights)]
    owners = [layer.name for layer in ours.layers if isinstance(layer, layers.Layer) for _ in layer.weights]
    assert owners == names
    mine = ours.predict(DATA[make], verbose=0)
    right = theirs.predict(DATA[make], verbose=0)
    for a, b in zip(mine if isinstance(mine, list) else [mine], right if isinstance(right, list) else [right],
                    strict=True):  # fmt: skip
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert ours.count_params() == theirs.count_params()
    trainable = [tuple(w.shape) for w in ours.trainable_weights]
    assert trainable == [tuple(w.shape) for w in theirs.trainable_weights]
    assert len(ours.non_trainable_weights) == len(theirs.non_trainable_weights)


def summary_of(model):
    lines = []
    model.summary(line_length=160, print_fn=lines.append)  # wide enough for every row to be one line
    return "\n".join(lines)


@pytest.mark.parametrize("make", DATA)
def test_summary_counts_as_keras_does(make):
    ours, theirs = side_by_side(make)
    text = summary_of(ours)
    trainable = sum(int(np.prod(w.shape)) for w in theirs.trainable_weights)
    assert f"Total params: {theirs.count_params():,} (" in text
    assert f" Trainable params: {trainable:,} (" in text
    assert f"Non-trainable params: {theirs.count_params() - trainable:,} (" in text
    assert "Connected to" in text
    for layer in theirs.layers:
        row = next(line for line in text.splitlines() if layer.name + " (" in line)
        assert type(layer).__name__ in row and f" {layer.count_params():,} " in row
    row = next(line for line in text.splitlines() if " out (" in line or " late (" in line)
    assert "(None, 4)" in row if make is encoder_decoder else "(None, 1)" in row
    connected = next(line for line in text.splitlines() if " decoder (" in line or " late (" in line)
    assert "target_embedding[0]" in connected if make is encoder_decoder else "norm[0]" in connected


def test_summary_of_chains_and_of_what_is_not_built():
    model = chain()
    text = summary_of(model)
    assert text.count("0 (unbuilt)") == 3 and text.count("?") == 3 and "Total params: 0 (0.00 B)" in text
    model.build((None, None, 3))
    text = summary_of(model)
    assert "Connected to" not in text and "?" not in text
    assert "(None, None, 4)" in text and "(None, 3)" in text and "(None, 2)" in text
    assert "Total params: 217 (868.00 B)" in text
    assert model.count_params() == 4 * (3 + 4 + 1) * 4 + 3 * (4 + 3 + 2) * 3 + (3 + 1) * 2 == 217
    assert "Connected to" not in summary_of(drawn()) and "torch function" in summary_of(drawn())


def test_summary_prints_to_the_screen_by_default(capsys):
    Sequential([Input((3,)), layers.Dense(2, name="only_one")], name="[tiny]").summary()
    text = capsys.readouterr().out
    assert 'Model: "[tiny]"' in text and "only_one (Dense)" in text and "8" in text


# -- copies, states, freezing -----------------------------------------------------------------------------------------


def subclassed():
    model = Residual()
    model.build((None, 3))
    return model


def ready(make):
    model = make()
    if make is chain:
        model.build((None, None, 3))
    return model, tensor(2, 3) if make is subclassed else tensor(2, 5, 3)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"])
@pytest.mark.parametrize("make", [chain, drawn, subclassed])
def test_copies_compute_the_same_with_weights_of_their_own(make, duplicate):
    model, x = ready(make)
    other = duplicate(model)
    before = model(x, training=False)
    same(other(x, training=False), before)
    with torch.no_grad():
        for weight in other.weights:
            weight.add_(1)
    same(model(x, training=False), before)
    changed = other(x, training=False)
    change = changed["left"] - before["left"] if make is subclassed else changed - before
    assert change.abs().max() > 1e-3
    assert {id(w) for w in other.weights}.isdisjoint(id(w) for w in model.weights)
    assert [layer.name for layer in other.layers] == [layer.name for layer in model.layers]


@pytest.mark.parametrize("make", [chain, drawn])
def test_forward_hooks_fire_inside_models(make):
    model, x = ready(make)
    seen = []
    layer = next(each for each in model.layers if isinstance(each, layers.GRU))
    handle = layer.register_forward_hook(lambda module, args, output: seen.append(output.detach().clone()))
    before = model(x)
    handle.remove()
    assert len(seen) == 1
    source = x if make is drawn else model.layers[0](x)
    same(seen[0], layer(source))
    handle = layer.register_forward_hook(lambda module, args, output: output * 0)
    assert (model(x) - before).abs().max() > 1e-4  # what a hook returns is what goes on
    handle.remove()
    same(model(x), before)
    assert len(seen) == 1


@pytest.mark.parametrize("make", [chain, drawn])
def test_a_hook_leaves_masks_as_they_are(make):
    model, x = ready(make)
    mask = torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]]).bool()
    before = model(x, mask=mask)
    handles = [layer.register_forward_hook(lambda *_: None) for layer in model.layers]
    same(model(x, mask=mask), before)
    for handle in handles:
        handle.remove()
    assert (model(x) - before).abs().max() > 1e-4


def test_state_dicts_between_models_whose_layers_were_built_in_another_order():
    def make(order):
        model = Residual()
        for name in order:
            {"embed": model.embed, "left": model.heads["left"], "block": model.blocks[1]}[name].build(
                (None, 3 if name == "embed" else 4)
            )
        model(tensor(2, 3), training=False)
        return model

    one, two = make(["embed", "block", "left"]), make(["left", "block", "embed"])
    assert list(one.state_dict()) == list(two.state_dict())
    x = tensor(4, 3)
    assert (one(x, training=False)["left"] - two(x, training=False)["left"]).abs().max() > 1e-4
    assert str(two.load_state_dict(one.state_dict())) == "<All keys matched successfully>"
    same(two(x, training=False), one(x, training=False))
    buffer = io.BytesIO()
    torch.save(one.state_dict(), buffer)
    buffer.seek(0)
    three = make(["block", "embed", "left"])
    three.load_state_dict(torch.load(buffer))
    same(three(x, training=False), one(x, training=False))


@pytest.mark.parametrize("make", [chain, drawn, subclassed])
def test_trainable_reaches_every_weight(make):
    model, _ = ready(make)
    count = len(model.weights)
    model.trainable = False
    assert model.trainable_weights == [] and len(model.non_trainable_weights) == count
    assert not any(p.requires_grad for p in model.parameters())
    model.trainable = True
    assert len(model.trainable_weights) == count
    model.layers[-1 if make is not subclassed else 0].trainable = False
    assert len(model.trainable_weights) == count - 2


def test_a_model_that_is_made_frozen():
    start = Input((3,))
    linear = torch.nn.Linear(3, 3)
    model = Model(start, layers.Dense(2)(linear(start)), trainable=False)
    assert not model.trainable_weights and not linear.weight.requires_grad
    assert not Sequential([Input((3,)), layers.Dense(2)], trainable=False).trainable_weights


def test_predict_of_nests_in_batches():
    model = subclassed()
    x = tensor(7, 3)
    found = model.predict(x.numpy(), batch_size=3, verbose=0)
    expected = model(x, training=False)
    assert sorted(found) == ["left", "right"]
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name].detach().numpy(), rtol=1e-5, atol=1e-6)
    a, b = Input((3,), name="a"), Input((2,), name="b")
    pair = Model({"a": a, "b": b}, (torch.cat([a, b], 1), [a * 2]))
    data = {"b": tensor(7, 2, seed=1).numpy(), "a": x.numpy()}
    joined, (twice,) = pair.predict(data, batch_size=4, verbose=0)
    np.testing.assert_array_equal(joined, np.concatenate([data["a"], data["b"]], 1))
    np.testing.assert_array_equal(twice, 2 * data["a"])
    one = pair.predict_on_batch(data)
    np.testing.assert_array_equal(one[0], joined)


def test_get_layer_and_layers_of_a_drawn_model():
    model = drawn()
    assert [layer.name for layer in model.layers] == ["start", "gru", "out"]
    assert model.get_layer("gru") is model.layers[1] is model.get_layer(index=1)
    assert [symbol.shape for symbol in model.inputs + model.outputs] == [(None, None, 3), (None, 2)]
    assert model.input_names == ["start"] and model.output_names == ["out"]
    assert [key for key, _ in model.named_parameters()] == [
        "0.cell.kernel", "0.cell.recurrent_kernel", "0.cell.bias", "3.kernel", "3.bias",
    ]  # fmt: skip


def test_a_drawn_model_says_that_it_has_no_config_yet():
    x = Input((3,))
    model = Model(x, layers.Dense(2)(x))
    with pytest.raises(NotImplementedError, match="was drawn: this version does not write"):
        model.get_config()
