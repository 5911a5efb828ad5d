"""Functional models: what is drawn, what it computes, and what drawing leaves behind."""

import copy
import gc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.modules import module as torch_module

from ostinato import Input, Model, Sequential, layers
from ostinato.core.symbolic import WATCHED
from side_by_side import tensor

exactly = {"rtol": 0, "atol": 0}


def same(a, b):
    torch.testing.assert_close(a, b, **exactly)


# -- nests of inputs and outputs --------------------------------------------------------------------------------------


def test_several_inputs_and_outputs_by_hand():
    query, key = Input((4,), name="query"), Input((3,), name="key")
    left, right = layers.Dense(5, activation="tanh"), layers.Dense(5)
    total = layers.Dense(2)
    model = Model([query, key], (total(left(query) + right(key)), left(query)))
    a, b = tensor(6, 4), tensor(6, 3, seed=1)
    out = model([a, b])
    assert isinstance(out, tuple)
    hidden = torch.tanh(a @ left.kernel + left.bias)
    expected = (hidden + b @ right.kernel + right.bias) @ total.kernel + total.bias
    torch.testing.assert_close(out, (expected, hidden))


@pytest.mark.parametrize(
    "give",
    [
        lambda a, b: [a, b],
        lambda a, b: (a, b),
        lambda a, b: {"query": a, "key": b},
        lambda a, b: {"key": b, "query": a},
        lambda a, b: [a.numpy(), b.numpy()],
    ],
    ids=["list", "tuple", "by name", "by name in another order", "arrays"],
)
@pytest.mark.parametrize("container", [list, tuple, lambda pair: {"query": pair[0], "key": pair[1]}])
def test_data_in_any_of_the_ways_to_name_it(give, container):
    query, key = Input((2,), name="query"), Input((2,), name="key")
    model = Model(container([query, key]), query - 2 * key)
    a, b = tensor(3, 2), tensor(3, 2, seed=1)
    if isinstance(container([0, 0]), dict) and not isinstance(give(a, b), dict):
        # A dict is taken apart in the order of its sorted keys, and so is a list given in its place.
        same(model(give(b, a)), a - 2 * b)
    else:
        same(model(give(a, b)), a - 2 * b)


def test_outputs_keep_their_structure():
    start = Input((2,))
    model = Model({"x": start}, {"z": start * 2, "a": [start + 1, (start - 1,)]})
    x = tensor(3, 2)
    out = model({"x": x})
    assert list(out) == ["z", "a"]
    same(out, {"z": x * 2, "a": [x + 1, (x - 1,)]})
    found = model.predict({"x": x.numpy()}, batch_size=2, verbose=0)
    assert isinstance(found["a"], list) and isinstance(found["a"][1], tuple)
    np.testing.assert_array_equal(found["a"][1][0], (x - 1).numpy())
    np.testing.assert_array_equal(found["z"], (x * 2).numpy())


def test_an_input_that_no_output_needs_keeps_its_place():
    used, unused = Input((2,), name="used"), Input((3,), name="unused")
    model = Model([unused, used], layers.Dense(2)(used))
    assert model.input_names == ["unused", "used"]
    x = tensor(4, 2)
    same(model([tensor(4, 3), x]), model.layers[-1](x))
    with pytest.raises(ValueError, match=r"input 'unused' takes \(any, 3\), got \(4, 5\)"):
        model([tensor(4, 5), x])


def test_an_input_that_is_an_output():
    start = Input((2,))
    x = tensor(3, 2)
    same(Model(start, [start, start + 1])(x), [x, x + 1])


def test_a_missing_last_axis_of_size_one_is_added_as_in_keras():
    start = Input((5, 1))
    x = tensor(3, 5)
    same(Model(start, start * 2)(x), x.unsqueeze(-1) * 2)


# -- shared layers and models in models -------------------------------------------------------------------------------


def test_a_shared_layer_has_one_set_of_weights_and_gets_both_gradients():
    first, second = Input((None, 3)), Input((None, 3))
    shared = layers.GRU(4)
    model = Model([first, second], shared(first) - shared(second))
    assert model.layers.count(shared) == 1
    assert [w.data_ptr() for w in model.weights] == [w.data_ptr() for w in shared.weights]
    assert len(list(model.parameters())) == 3
    a, b = tensor(2, 5, 3), tensor(2, 4, 3, seed=1)
    (model([a, b]) * tensor(2, 4, seed=2)).sum().backward()
    got = shared.cell.kernel.grad.clone()
    shared.zero_grad()
    ((shared(a) - shared(b)) * tensor(2, 4, seed=2)).sum().backward()
    torch.testing.assert_close(got, shared.cell.kernel.grad)
    assert got.abs().max() > 0


def test_models_in_models():
    inner_start = Input((4,))
    inner = Model(inner_start, layers.Dense(3, activation="relu")(inner_start), name="inner")
    chain = Sequential([layers.Dense(4), layers.Dense(4, activation="tanh")], name="chain")
    start = Input((2,))
    outer = Model(start, inner(chain(start)), name="outer")
    assert [layer.name for layer in outer.layers[1:]] == ["chain", "inner"]
    assert outer.count_params() == chain.count_params() + inner.count_params() == (12 + 20) + 15
    x = tensor(5, 2)
    same(outer(x), inner(chain(x)))
    same(Sequential([inner, layers.Dense(2)]).layers[0](tensor(5, 4)), inner(tensor(5, 4)))
    around = Sequential([chain, outer.get_layer("inner")])
    same(around(x), outer(x))


def test_a_model_with_several_outputs_in_a_model():
    start = Input((2,))
    pair = Model(start, {"sum": start + 1, "twice": start * 2}, name="pair")
    again = Input((2,))
    out = pair(again)
    assert out["sum"].shape == (None, 2)
    x = tensor(3, 2)
    same(Model(again, out["sum"] * out["twice"])(x), (x + 1) * (x * 2))


def test_a_part_of_a_model_as_a_feature_extractor():
    start = Input((None, 3))
    hidden = layers.LSTM(4, return_sequences=True, name="features")(start)
    model = Model(start, layers.Dense(2)(layers.GRU(3)(hidden)))
    features = Model(model.inputs, model.get_layer("features").output)
    x = tensor(2, 5, 3)
    same(features(x), model.get_layer("features")(x))
    assert [layer.name for layer in features.layers[1:]] == ["features"]
    assert features.weights[0] is model.weights[0]


def test_drawing_on_from_a_model_that_is_made():
    start = Input((3,))
    model = Model(start, layers.Dense(4)(start))
    linear = torch.nn.Linear(4, 2)
    longer = Model(model.inputs, linear(model.outputs[0]))
    x = tensor(2, 3)
    same(longer(x), linear(model(x)))


def test_a_deep_chain_needs_no_deep_stack():
    start = value = Input((2,))
    for _ in range(1500):
        value = value + 1
    model = Model(start, value)
    x = torch.zeros(1, 2)
    same(model(x), torch.full((1, 2), 1500.0))
    same(copy.deepcopy(model)(x), torch.full((1, 2), 1500.0))


# -- plain torch modules ----------------------------------------------------------------------------------------------


def test_plain_modules_are_one_node_each_and_their_parameters_the_models():
    start = Input((None, 6))
    lstm, linear = torch.nn.LSTM(6, 4, batch_first=True), torch.nn.Linear(4, 2)
    sequence, (h, c) = lstm(start)
    assert sequence.shape == (None, None, 4) and h.shape == (1, None, 4) and c.shape == (1, None, 4)
    model = Model(start, linear(sequence[:, -1]) + h[0].mean(-1, keepdim=True))
    assert [layer for layer in model.layers if not isinstance(layer, layers.Layer)] == [lstm, linear]
    assert {id(p) for p in model.parameters()} == {id(p) for p in (*lstm.parameters(), *linear.parameters())}
    x = tensor(3, 5, 6)
    sequence, (h, _) = lstm(x)
    same(model(x), linear(sequence[:, -1]) + h[0].mean(-1, keepdim=True))


def test_plain_modules_follow_the_mode_of_the_call():
    start = Input((4,))
    norm, dropout = torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5)
    model = Model(start, dropout(norm(start)))
    same(norm.running_mean, torch.zeros(4))
    same(norm.num_batches_tracked, torch.tensor(0))  # drawing ran the module's code and left its buffers alone
    x = 3 + tensor(64, 4)
    same(model(x, training=False), norm.eval()(x))
    same(norm.running_mean, torch.zeros(4))
    out = model(x, training=True)
    assert 0.3 < (out == 0).float().mean() < 0.7
    torch.testing.assert_close(norm.running_mean, 0.1 * x.mean(0))
    assert not norm.training  # as it was found


@pytest.mark.parametrize("training", [False, True])
def test_the_mode_that_fit_and_train_choose_reaches_plain_modules(training):
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, x):
            seen.append(self.training)
            return x

    start = Input((2,))
    model = Model(start, Spy()(start))
    seen.clear()
    model.train(training)
    model(tensor(2, 2))
    assert seen == [training]


def test_a_plain_sequential_around_an_unbuilt_layer():
    ours = layers.Dense(4)
    plain = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), ours)
    start = Input((3,))
    out = plain(start)
    assert out.shape == (None, 4)
    model = Model(start, out)
    assert ours.built and ours.kernel.shape == (5, 4) and ours.kernel.device.type == "cpu"
    assert model.count_params() == 3 * 5 + 5 + 5 * 4 + 4
    x = tensor(2, 3)
    same(model(x), plain(x))


def test_a_plain_module_called_on_two_inputs():
    a, b = Input((3,)), Input((4,))
    bilinear = torch.nn.Bilinear(3, 4, 2)
    x, y = tensor(5, 3), tensor(5, 4, seed=1)
    same(Model([a, b], bilinear(a, b))([x, y]), bilinear(x, y))


def test_torchs_global_hooks_are_gone_after_the_model_is_made():
    gc.collect()  # what earlier tests drew and never made into a model
    start = Input((3,))
    assert WATCHED and torch_module._global_forward_hooks and torch_module._global_forward_pre_hooks
    linear = torch.nn.Linear(3, 2)
    model = Model(start, linear(start))
    assert not WATCHED
    assert not torch_module._global_forward_hooks and not torch_module._global_forward_pre_hooks
    assert not torch_module._global_forward_hooks_always_called
    with pytest.raises(ValueError, match=r"Linear was called on a symbolic tensor of a model that is already made"):
        linear(start)
    assert model.outputs and WATCHED  # asking for them says that one draws on
    Model(model.inputs, linear(start))
    assert not WATCHED


def test_a_module_that_fails_while_it_is_drawn_leaves_nothing_behind():
    start = Input((3,))
    norm = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Linear(5, 2))
    with pytest.raises(RuntimeError, match=r"shapes cannot be multiplied|reduction dim"):
        norm(start)
    same(norm[0].running_mean, torch.zeros(3))
    assert all(p.device.type == "cpu" for p in norm.parameters())
    good = torch.nn.Linear(3, 2)
    x = tensor(2, 3)
    same(Model(start, good(start))(x), good(x))


# -- torch functions and operators ------------------------------------------------------------------------------------


FUNCTIONS = {
    "x + 1": (lambda x: x + 1, (None, 5, 4)),
    "1 - x": (lambda x: 1 - x, (None, 5, 4)),
    "x * x": (lambda x: x * x, (None, 5, 4)),
    "2 ** x": (lambda x: 2**x, (None, 5, 4)),
    "x / 3": (lambda x: x / 3, (None, 5, 4)),
    "3 // (x + 9)": (lambda x: 3 // (x + 9), (None, 5, 4)),
    "-x": (lambda x: -x, (None, 5, 4)),
    "abs": (abs, (None, 5, 4)),
    "x > 0": (lambda x: x > 0, (None, 5, 4)),
    "x @ y": (lambda x: x @ torch.ones(4, 3), (None, 5, 3)),
    "y @ x": (lambda x: torch.ones(2, 5) @ x, (None, 2, 4)),
    "y + x": (lambda x: torch.ones(4) + x, (None, 5, 4)),
    "x[:, -1]": (lambda x: x[:, -1], (None, 4)),
    "x[:, 1:4:2]": (lambda x: x[:, 1:4:2], (None, 2, 4)),
    "x[..., None, :2]": (lambda x: x[..., None, :2], (None, 5, 1, 2)),
    "x[x > 0]": (lambda x: torch.where(x > 0, x, torch.zeros(())), (None, 5, 4)),
    "mean": (lambda x: x.mean(1), (None, 4)),
    "transpose": (lambda x: x.transpose(0, 1), (5, None, 4)),
    "T": (lambda x: x.mT, (None, 4, 5)),
    "flatten": (lambda x: x.flatten(1), (None, 20)),
    "cat": (lambda x: torch.cat([x, x * 2], dim=-1), (None, 5, 8)),
    "stack": (lambda x: torch.stack([x, x], 1), (None, 2, 5, 4)),
    "relu": (torch.relu, (None, 5, 4)),
    "softmax": (lambda x: torch.nn.functional.softmax(x, dim=-1), (None, 5, 4)),
    "einsum": (lambda x: torch.einsum("btf,fg->bg", x, torch.ones(4, 2)), (None, 2)),
    "clamp": (lambda x: x.clamp(min=0.5), (None, 5, 4)),
    "max": (lambda x: x.max(dim=1).values, (None, 4)),
    "split": (lambda x: x.split(2, dim=-1)[1], (None, 5, 2)),
    "to": (lambda x: x.double(), (None, 5, 4)),
}


@pytest.mark.parametrize(("function", "shape"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_and_operators(function, shape):
    start = Input((5, 4))
    drawn = function(start)
    assert drawn.shape == shape
    x = tensor(3, 5, 4)
    out, expected = Model(start, drawn)(x), function(x)
    assert out.dtype == expected.dtype
    same(out, expected)


def test_unknown_sizes_are_kept_apart_from_known_ones():
    start = Input((None, None, 4))
    assert start.mean(1).shape == (None, None, 4)
    assert start.flatten(2).shape == (None, None, None)
    assert (start * 2).sum((1, 2)).shape == (None, 4)
    assert Input(batch_shape=(7, None)).sum(1).shape == (7,)


def test_equality_of_two_symbolic_tensors_is_of_the_objects_so_that_lists_can_tell_them_apart():
    a, b = Input((2,)), Input((2,))
    assert (a == a) is True and (a == b) is False
    assert [a, b].index(b) == 1 and a in {a} and b not in {a}
    x, y = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 3.0]])
    same(Model([a, b], [a != b, a == 1, a != 1])([x, y]), [x != y, x == 1, x != 1])


def test_a_parameter_that_is_a_plain_modules_too_is_one_weight():
    linear = torch.nn.Linear(3, 3)
    start = Input((3,))
    model = Model(start, linear(start) @ linear.weight)
    assert len(list(model.parameters())) == len(model.weights) == 2
    x = tensor(2, 3)
    same(model(x), linear(x) @ linear.weight)


def test_a_parameter_caught_in_a_function_becomes_the_models():
    scale = torch.nn.Parameter(torch.full((4,), 3.0))
    start = Input((4,))
    model = Model(start, torch.relu(start * scale) + scale)
    assert [p is scale for p in model.parameters()] == [True]
    x = tensor(2, 4)
    model(x).sum().backward()
    torch.testing.assert_close(scale.grad, 2 + (x * (x > 0)).sum(0))
    same(model(x), torch.relu(x * scale) + scale)
    model.double()
    assert model(x.double()).dtype is torch.float64


def test_a_constant_caught_in_a_function_moves_with_the_model_and_is_no_weight():
    start = Input((2,))
    model = Model(start, start * torch.tensor([1.0, 2.0]))
    assert not model.weights and not model.state_dict()
    x = tensor(3, 2, dtype=torch.float64)
    same(model.double()(x), x * torch.tensor([1.0, 2.0], dtype=torch.float64))


@settings(max_examples=15, deadline=None)
@given(
    steps=st.lists(st.sampled_from(["dense", "double", "tanh", "add", "linear"]), min_size=1, max_size=6),
    batch=st.sampled_from([0, 1, 3]),
)
def test_any_drawing_computes_what_its_calls_compute(steps, batch):
    start = value = Input((3,))
    calls = []
    for step in steps:
        call = {
            "dense": layers.Dense(3),
            "double": lambda x: x * 2,
            "tanh": torch.tanh,
            "add": lambda x: x + x.mean(-1, keepdim=True),
            "linear": torch.nn.Linear(3, 3),
        }[step]
        calls.append(call)
        value = call(value)
    assert value.shape == (None, 3)
    x = expected = tensor(batch, 3)
    for call in calls:
        expected = call(expected)
    same(Model(start, value)(x), expected)


# -- masks ------------------------------------------------------------------------------------------------------------


def test_masks_go_through_a_functional_model():
    start = Input((None,), dtype="int64")
    embedding = layers.Embedding(9, 4, mask_zero=True)
    first, norm = layers.GRU(5, return_sequences=True), layers.BatchNormalization()
    both, dense = layers.Bidirectional(layers.LSTM(3, return_sequences=True)), layers.Dense(2)
    model = Model(start, dense(both(norm(first(embedding(start))))))
    tokens = torch.tensor([[1, 2, 3, 0, 0], [4, 0, 5, 6, 7], [0, 0, 0, 0, 0]])
    mask = tokens != 0
    hidden = norm(first(embedding.embeddings[tokens], mask=mask), mask=mask, training=False)
    expected = dense(both(hidden, mask=mask))
    got = model(tokens, training=False)
    torch.testing.assert_close(got, expected)
    same(model.compute_mask(tokens)[0], mask)
    same(got._keras_mask, mask)
    unmasked = dense(both(norm(first(embedding.embeddings[tokens]), training=False)))
    assert (unmasked - expected).abs().max() > 1e-3


def test_each_branch_carries_its_own_mask():
    words, tags = Input((None,), dtype="int64", name="words"), Input((None,), dtype="int64", name="tags")
    one, two = layers.Embedding(9, 4, mask_zero=True), layers.Embedding(9, 3, mask_zero=True)
    left, right = layers.LSTM(4), layers.GRU(4)
    model = Model([words, tags], torch.cat([left(one(words)), right(two(tags))], -1))
    a, b = torch.tensor([[1, 2, 0], [3, 0, 0]]), torch.tensor([[4, 0, 0, 0], [5, 6, 7, 0]])
    expected = [left(one.embeddings[a], mask=a != 0), right(two.embeddings[b], mask=b != 0)]
    torch.testing.assert_close(model([a, b]), torch.cat(expected, -1))


def test_masks_given_to_the_call_of_a_model():
    start = Input((None, 3))
    lstm = layers.LSTM(4)
    model = Model(start, lstm(start))
    x, mask = tensor(2, 5, 3), torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]]).bool()
    same(model(x, mask=mask), lstm(x, mask=mask))
    x._keras_mask = mask
    same(model(x), lstm(x, mask=mask))


def test_a_mask_through_models_in_models():
    inner = Sequential([layers.Embedding(9, 4, mask_zero=True), layers.GRU(3, return_sequences=True)])
    start = Input((None,), dtype="int64")
    last = layers.LSTM(2)
    model = Model(start, last(inner(start)))
    tokens = torch.tensor([[1, 2, 0], [3, 4, 5]])
    embedding, gru = inner.layers
    mask = tokens != 0
    same(model(tokens), last(gru(embedding.embeddings[tokens], mask=mask), mask=mask))


def test_a_mask_that_ends_at_a_plain_module_is_told():
    start = Input((None,), dtype="int64")
    embedding, linear, gru = layers.Embedding(9, 4, mask_zero=True), torch.nn.Linear(4, 3), layers.GRU(2)
    model = Model(start, gru(linear(embedding(start))))
    tokens = torch.tensor([[1, 2, 0]])
    with pytest.warns(UserWarning, match=r"Linear is a plain torch module and carries no mask"):
        got = model(tokens)
    same(got, gru(linear(embedding.embeddings[tokens])))


def test_states_and_masks_of_an_encoder_and_decoder():
    source, target = Input((None,), dtype="int64"), Input((None,), dtype="int64")
    one, two = layers.Embedding(9, 4, mask_zero=True), layers.Embedding(8, 4, mask_zero=True)
    encoder, decoder = layers.LSTM(5, return_state=True), layers.LSTM(5)
    _, h, c = encoder(one(source))
    model = Model([source, target], decoder(two(target), initial_state=[h, c]))
    a, b = torch.tensor([[1, 2, 0], [3, 4, 5]]), torch.tensor([[1, 0], [2, 3]])
    _, h, c = encoder(one.embeddings[a], mask=a != 0)
    expected = decoder(two.embeddings[b], initial_state=[h, c], mask=b != 0)
    torch.testing.assert_close(model([a, b]), expected)
    hidden = encoder(one.embeddings[a])[1]
    assert (decoder(two.embeddings[b], initial_state=[hidden, c], mask=b != 0) - expected).abs().max() > 1e-5


# -- the call's mode --------------------------------------------------------------------------------------------------


def test_training_reaches_every_layer_of_a_drawn_model():
    start = Input((50,))
    model = Model(start, Sequential([layers.Dropout(0.5)])(layers.Dropout(0.5)(start)))
    x = torch.ones(20, 50)
    same(model(x, training=False), x)
    share = (model(x, training=True) == 0).float().mean()
    assert 0.65 < share < 0.85


def test_an_input_that_is_collected_while_torch_compiles():
    """Its hooks are among the compiler's guards; taken away in between they were an internal error of the compiler."""
    gc.collect()
    symbols = [Input((3,))]

    def backend(graph, inputs):
        symbols.clear()
        gc.collect()
        return graph.forward

    layer = layers.Activation("tanh")
    compiled = torch.compile(lambda x: layer(x), backend=backend)
    same(compiled(torch.ones(2, 3)), torch.ones(2, 3).tanh())
    assert not symbols and not WATCHED and not torch_module._global_forward_hooks
    torch._dynamo.reset()
