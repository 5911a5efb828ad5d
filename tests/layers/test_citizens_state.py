"""Recurrent layers as torch's citizens, as far as their weights go: state dicts, copies, freezing, parametrizations.

Outputs and gradients are compared with those of a layer that holds the same weights in the plain way.
"""

import copy
import io
import pickle
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import ostinato
from cells import Nested
from ostinato import Input, Model, Sequential, layers
from ostinato.core.tracking import Weights
from ostinato.recurrence.nests import flatten
from side_by_side import tensor

MAKE = {
    "LSTM": lambda **k: layers.LSTM(4, **k),
    "LSTM without bias": lambda **k: layers.LSTM(4, use_bias=False, **k),
    "GRU": lambda **k: layers.GRU(4, **k),
    "GRU, reset before": lambda **k: layers.GRU(4, reset_after=False, **k),
    "SimpleRNN": lambda **k: layers.SimpleRNN(4, **k),
    "RNN": lambda **k: layers.RNN(layers.GRUCell(4, **k)),
    "stacked": lambda **k: layers.RNN([layers.LSTMCell(4, **k), layers.GRUCell(3, **k)]),
    "Bidirectional": lambda **k: layers.Bidirectional(layers.LSTM(4, **k)),
    "Bidirectional, its halves given": lambda **k: layers.Bidirectional(
        layers.GRU(4, **k), backward_layer=layers.GRU(3, go_backwards=True, **k)
    ),
    "Sequential": lambda **k: Sequential([layers.GRU(4, return_sequences=True, **k), layers.LSTM(3, **k)]),
    "TimeDistributed": lambda **k: layers.TimeDistributed(layers.LSTM(4, **k)),
}
"""Recurrent layers and wrappers, by what they are."""

CELL = ["kernel", "recurrent_kernel", "bias"]
KEYS = {
    "LSTM": [f"cell.{name}" for name in CELL],
    "LSTM without bias": [f"cell.{name}" for name in CELL[:2]],
    "GRU": [f"cell.{name}" for name in CELL],
    "GRU, reset before": [f"cell.{name}" for name in CELL],
    "SimpleRNN": [f"cell.{name}" for name in CELL],
    "RNN": [f"cell.{name}" for name in CELL],
    "stacked": [f"cell.cells.{position}.{name}" for position in (0, 1) for name in CELL],
    "Bidirectional": [f"{half}_layer.cell.{name}" for half in ("forward", "backward") for name in CELL],
    "Bidirectional, its halves given": [
        f"{half}_layer.cell.{name}" for half in ("forward", "backward") for name in CELL
    ],
    "Sequential": [f"{position}.cell.{name}" for position in (0, 1) for name in CELL],
    "TimeDistributed": [f"layer.cell.{name}" for name in CELL],
}


def inputs(what, dtype=torch.float32, seed=0):
    return tensor(*((2, 3, 4, 5) if what == "TimeDistributed" else (2, 4, 5)), dtype=dtype, seed=seed)


def made(what, seed=0, **options):
    """A built layer with random weights, biases included."""
    layer = MAKE[what](**options)
    layer(inputs(what, options.get("dtype", torch.float32)))
    layer.set_weights([tensor(*weight.shape, seed=seed + 7 * i) / 2 for i, weight in enumerate(layer.weights)])
    return layer


def run(layer, x):
    """Output, and the gradients of a weighted sum of it, by input and parameters."""
    x = x.clone().requires_grad_()
    output = layer(x)
    wanted = [x, *(parameter for parameter in layer.parameters() if parameter.requires_grad)]
    return output.detach(), torch.autograd.grad((output * tensor(*output.shape, dtype=output.dtype)).sum(), wanted)


def assert_alike(mine, right, x):
    """Outputs and gradients of two layers are equal, bit for bit."""
    for first, second in zip(flatten(list(run(mine, x))), flatten(list(run(right, x))), strict=True):
        assert torch.equal(first, second)


every = pytest.mark.parametrize("what", MAKE)

# == State dicts ======================================================================================================


@every
def test_a_state_dict_goes_onto_a_twin_and_says_where_weights_stand(what):
    layer, twin = made(what), made(what, seed=100)
    assert list(layer.state_dict()) == KEYS[what] == [name for name, _ in layer.named_parameters()]
    assert Weights(layer).names == KEYS[what]
    assert not torch.equal(layer(inputs(what)), twin(inputs(what)))
    answer = twin.load_state_dict(layer.state_dict())
    assert answer.missing_keys == answer.unexpected_keys == []
    assert_alike(twin, layer, inputs(what))
    assert all(mine is not other for mine, other in zip(twin.weights, layer.weights, strict=True))


@every
@pytest.mark.parametrize("assign", [False, True])
def test_a_state_dict_through_a_file_goes_onto_a_layer_that_was_just_built(what, assign):
    layer = made(what)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    twin = MAKE[what]()
    twin.build(tuple(inputs(what).shape))
    twin.load_state_dict(torch.load(file, weights_only=True), assign=assign)
    assert_alike(twin, layer, inputs(what))


@every
def test_a_state_dict_into_float64_and_back(what):
    layer, wide = made(what), made(what, seed=100, dtype=torch.float64)
    wide.load_state_dict(layer.state_dict())
    assert {weight.dtype for weight in wide.weights} == {torch.float64}
    assert_alike(wide, copy.deepcopy(layer).double(), inputs(what, torch.float64))
    back = made(what, seed=200)
    back.load_state_dict(wide.state_dict())
    assert_alike(back, layer, inputs(what))


@every
def test_strict_loading_names_what_is_missing_unexpected_or_of_another_size(what):
    layer = made(what)
    before = layer.get_weights()
    key = KEYS[what][0]
    state = layer.state_dict()
    fewer = {name: value for name, value in state.items() if name != key}
    for wrong, told in (
        (fewer, rf'Missing key\(s\) in state_dict: "{key}"'),
        ({**state, "cell.weight": torch.ones(1)}, r'Unexpected key\(s\) in state_dict: "cell.weight"'),
        ({**state, key: torch.ones(2, 2)}, rf"size mismatch for {key}"),
    ):
        with pytest.raises(RuntimeError, match=told):
            layer.load_state_dict(wrong)
    answer = layer.load_state_dict({**fewer, "more": torch.ones(1)}, strict=False)
    assert answer.missing_keys == [key] and answer.unexpected_keys == ["more"]
    for mine, right in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, right)


def test_weights_and_state_dict_agree_on_the_order():
    layer = made("Sequential")
    for mine, value in zip(layer.get_weights(), layer.state_dict().values(), strict=True):
        np.testing.assert_array_equal(mine, value.numpy())


def test_recorded_states_are_not_in_the_state_dict():
    layer = layers.LSTM(4, stateful=True)
    layer(inputs("LSTM"))
    assert layer.states is not None and list(layer.state_dict()) == KEYS["LSTM"] and list(layer.buffers()) == []


# == Copies and pickles ===============================================================================================


def saved(layer):
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
    "torch.save": saved,
    "to another process": lambda layer: pickle.loads(bytes(ForkingPickler.dumps(layer))),
}
copied = pytest.mark.parametrize("how", COPIES)


@every
@copied
def test_copies_are_exact_and_apart(what, how):
    layer = made(what, trainable=False) if what in ("LSTM", "GRU") else made(what)
    layer.trainable = True
    Weights(layer).all[0].requires_grad_(False)
    other = COPIES[how](layer)
    assert_alike(other, layer, inputs(what))
    assert [w.requires_grad for w in other.weights] == [w.requires_grad for w in layer.weights]
    assert other.get_config() == layer.get_config() and other.name == layer.name
    if how != "to another process":  # which shares memory, as torch has it
        before = layer(inputs(what)).detach()
        for weight in other.weights:
            weight.assign(weight * 0)
        assert torch.equal(layer(inputs(what)), before)


def test_another_process_shares_the_memory_of_weights():
    layer = layers.BatchNormalization()
    layer(tensor(4, 3), training=True)
    other = COPIES["to another process"](layer)
    for mine, there in zip(layer.weights, other.weights, strict=True):
        there.assign_add(1)
        assert torch.equal(mine, there) and type(mine) is type(there)


@copied
def test_copies_of_what_is_not_built(how):
    other = COPIES[how](layers.Bidirectional(layers.LSTM(3, kernel_initializer="ones", name="inside")))
    assert not other.built and other(tensor(2, 4, 5)).shape == (2, 6)
    assert other.forward_layer.kernel.eq(1).all() and other.forward_layer.name == "forward_inside"


@copied
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_recorded_states_go_along(how, mode):
    layer = layers.Bidirectional(layers.LSTM(4, stateful=True))
    with mode():
        layer(inputs("LSTM"))
    other = COPIES[how](layer)
    assert all(torch.equal(a, b) and a is not b for a, b in zip(layer.states, other.states, strict=True))
    assert_alike(other, layer, inputs("LSTM", seed=1))
    other.reset_states()
    assert layer.states is not None


@copied
def test_dropout_goes_on_where_it_was(how):
    layer = layers.GRU(4, dropout=0.3, recurrent_dropout=0.3, seed=5)
    layer(inputs("GRU"), training=True)
    other = COPIES[how](layer)
    for _ in range(3):
        assert torch.equal(layer(inputs("GRU"), training=True), other(inputs("GRU"), training=True))


@copied
def test_a_cell_of_ones_own_with_nests(how):
    layer = layers.RNN(Nested(2, 3, 4), return_state=True)
    given = tensor(2, 4, 5), tensor(2, 4, 2, 3)
    right = flatten(list(layer(given)))
    assert all(torch.equal(a, b) for a, b in zip(flatten(list(COPIES[how](layer)(given))), right, strict=True))


@copied
@pytest.mark.parametrize("cell", [layers.LSTMCell(4), layers.StackedRNNCells([layers.GRUCell(4), layers.LSTMCell(3)])])
def test_a_cell_alone(how, cell):
    states = cell.get_initial_state(batch_size=2)
    output, new = cell(tensor(2, 5), states)
    again, newer = COPIES[how](cell)(tensor(2, 5), states)
    assert torch.equal(output, again) and all(
        torch.equal(*pair) for pair in zip(flatten(new), flatten(newer), strict=True)
    )


def test_a_layer_is_copied_without_the_model_that_it_is_in():
    layer, x = layers.LSTM(4), Input((None, 5))
    alone = len(pickle.dumps(made("LSTM")))
    model = Model(x, layers.Dense(5000)(layer(x)))
    assert len(pickle.dumps(layer)) < alone + 500 < 20_000 < len(pickle.dumps(model))
    assert copy.deepcopy(layer)._nodes == pickle.loads(pickle.dumps(layer))._nodes == []
    layers_inside = Sequential([layers.Input((None, 5)), layers.LSTM(4), layers.Dense(5000)]).layers
    assert len(pickle.dumps(layers_inside[0])) < alone + 500


def test_a_copy_during_training_holds_no_graph():
    layer = layers.LSTM(4, activity_regularizer="l2")
    output = layer(inputs("LSTM"))
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other.losses == [] and all(weight.grad is None for weight in other.weights)
    (output.sum() + sum(layer.losses)).backward()
    assert layer.kernel.grad is not None


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "torch.save"])
@pytest.mark.parametrize("drawn", [False, True])
def test_a_model_in_the_middle_of_its_training(how, drawn):
    """Optimizer, metrics, dropout: the copy's training goes on with the same numbers."""
    ostinato.utils.set_random_seed(0)
    inside = [layers.GRU(4, dropout=0.3, seed=3, kernel_regularizer="l2", bias_constraint="non_neg")]
    inside += [layers.BatchNormalization(), layers.Dense(1)]
    model = Sequential(inside)
    if drawn:
        value = x = Input((None, 5))
        for layer in inside:
            value = layer(value)
        model = Model(x, value)
    data, targets = tensor(12, 4, 5), tensor(12, 1, seed=1)
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(data, targets, batch_size=4, epochs=2, verbose=0, seed=1)
    other = COPIES[how](model)
    histories = [each.fit(data, targets, batch_size=4, epochs=2, verbose=0, seed=2).history for each in (model, other)]
    assert histories[0] == histories[1] and model.optimizer.iterations == other.optimizer.iterations == 12
    for mine, right in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, right)


def test_what_python_cannot_pickle_is_refused_by_name():
    """A function without a name of its own, and a parametrized layer: keep the `state_dict` of those."""
    layer = layers.LSTM(3, activation=lambda x: x)
    layer(inputs("LSTM"))
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(layer)
    assert torch.equal(copy.deepcopy(layer)(inputs("LSTM")), layer(inputs("LSTM")))
    layer = made("LSTM")
    parametrize.register_parametrization(layer.cell, "kernel", Doubled())
    with pytest.raises(RuntimeError, match=r"only supported through state_dict\(\)"):
        pickle.dumps(layer)


class Indexed(torch.utils.data.Dataset):
    """Samples that a layer computes."""

    def __init__(self, layer):
        self.layer = layer

    def __len__(self):
        return 4

    def __getitem__(self, index):
        with torch.no_grad():
            return self.layer(tensor(1, 4, 5, seed=index))[0]


def test_workers_of_a_data_loader_take_a_layer_along():
    layer = made("LSTM")
    loader = torch.utils.data.DataLoader(Indexed(layer), batch_size=2, num_workers=1, multiprocessing_context="spawn")
    right = torch.cat([layer(tensor(1, 4, 5, seed=index)) for index in range(4)])
    torch.testing.assert_close(torch.cat(list(loader)), right)


# == Freezing =======================================================================================================


@every
@pytest.mark.parametrize("optimizer", [lambda p: torch.optim.Adam(p, lr=0.1), lambda p: torch.optim.SGD(p, lr=0.1)])
def test_only_what_requires_a_gradient_moves(what, optimizer):
    layer = made(what)
    frozen = [weight for weight in layer.weights if weight.name == "recurrent_kernel"]
    for weight in frozen:
        weight.requires_grad_(False)
    assert [id(weight) for weight in layer.non_trainable_weights] == [id(weight) for weight in frozen]
    assert len(layer.trainable_weights) == len(layer.weights) - len(frozen)
    before = layer.get_weights()
    step = optimizer(layer.parameters())
    layer(inputs(what)).square().sum().backward()
    step.step()
    for weight, old in zip(layer.weights, before, strict=True):
        assert torch.equal(weight, torch.from_numpy(old)) is any(weight is each for each in frozen)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", lambda p: torch.optim.RMSprop(p, lr=0.01)])
@pytest.mark.parametrize("jit", [False, True])
def test_fit_moves_only_what_requires_a_gradient(optimizer, jit, monkeypatch):
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function: compiler(function, backend="aot_eager"))
    model = made("Sequential")
    model.add(layers.Dense(1))
    model(inputs("LSTM"))
    model.layers[0].cell.kernel.requires_grad_(False)
    model.layers[1].cell.trainable = False
    model.layers[2].bias.trainable = False
    before = model.get_weights()
    assert len(model.trainable_weights) == 3 and len(model.non_trainable_weights) == 5
    model.compile(optimizer, "mse", jit_compile=jit)
    model.fit(tensor(8, 4, 5), tensor(8, 1), batch_size=4, verbose=0)
    moved = [not np.array_equal(new, old) for new, old in zip(model.get_weights(), before, strict=True)]
    assert moved == [False, True, True, False, False, False, True, False]


@every
def test_trainable_reaches_cells_and_back(what):
    layer = made(what)
    layer.trainable = False
    assert layer.trainable_weights == [] and len(list(layer.parameters())) == len(layer.weights)
    x = inputs(what).requires_grad_()
    layer(x).sum().backward()
    assert x.grad.ne(0).any() and all(weight.grad is None for weight in layer.weights)
    layer.trainable = True
    assert len(layer.trainable_weights) == len(layer.weights)
    cells = [module for module in layer.modules() if isinstance(module, layers.LSTMCell | layers.GRUCell)]
    for cell in cells[:1]:
        cell.trainable = False
        assert layer.trainable and len(layer.trainable_weights) == len(layer.weights) - len(cell.weights)
    assert made(what, trainable=False).trainable_weights == [] if what in ("LSTM", "GRU", "SimpleRNN") else True


# == Parametrizations =================================================================================================


class Doubled(nn.Module):
    """Twice the original."""

    def forward(self, original):
        return 2 * original

    def right_inverse(self, weight):
        return weight / 2


class OneWay(nn.Module):
    """Something that has no inverse."""

    def forward(self, original):
        return original.tanh() + 0.5


REGISTER = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "one's own": lambda module, name: parametrize.register_parametrization(module, name, Doubled()),
    "without an inverse": lambda module, name: parametrize.register_parametrization(module, name, OneWay()),
}


def cell_of(layer):
    """The first cell in a layer."""
    return next(
        module for module in layer.modules() if hasattr(module, "recurrent_kernel") and hasattr(module, "gates")
    )


def plain_twin(what, layer):
    """A layer that holds in the plain way what another one computes."""
    twin = made(what)
    cells = [[m for m in each.modules() if hasattr(m, "gates")] for each in (layer, twin)]
    for mine, other in zip(*cells, strict=True):
        for name in CELL:
            if getattr(mine, name) is not None:
                getattr(other, name).assign(getattr(mine, name))
    return twin


@pytest.mark.parametrize("what", ["LSTM", "GRU", "SimpleRNN", "stacked", "Bidirectional", "Sequential"])
@pytest.mark.parametrize("weight", ["kernel", "recurrent_kernel"])
@pytest.mark.parametrize("how", REGISTER)
def test_parametrized(what, weight, how):
    layer = made(what)
    x = inputs(what)
    cell = cell_of(layer)
    REGISTER[how](cell, weight)
    layer.eval()
    twin = plain_twin(what, layer)
    torch.testing.assert_close(layer(x), twin(x), rtol=1e-5, atol=1e-6)

    # Gradients reach the originals, through what is computed from them.
    computed = getattr(cell, weight)
    same = cell_of(twin)
    (slope,) = torch.autograd.grad(twin(x).square().sum(), getattr(same, weight))
    originals = [*cell.parametrizations[weight].parameters(recurse=False)]
    right = torch.autograd.grad(computed, originals, slope)
    found = torch.autograd.grad(layer(x).square().sum(), originals)
    for mine, expected in zip(found, right, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-5)
    assert sum(original is each for original in originals for each in layer.trainable_weights) == len(originals)

    # State dicts, copies, getting and setting.
    other = made(what, seed=50)
    REGISTER[how](cell_of(other), weight)
    other.eval().load_state_dict(layer.state_dict())
    for each in (other, copy.deepcopy(layer)):
        assert torch.equal(each(x), layer(x))
    before = layer.get_weights()
    layer.set_weights([0.5 * value for value in before])
    layer.set_weights(before)
    assert torch.equal(layer(x), other(x))
    with pytest.raises(AttributeError, match="assign"):
        getattr(cell, weight).assign(0)  # it is computed

    # And back.
    parametrize.remove_parametrizations(cell, weight)
    assert list(layer.state_dict()) == KEYS[what] or set(layer.state_dict()) == set(KEYS[what])
    torch.testing.assert_close(layer(x), other(x))
    assert [w.shape for w in layer.get_weights()] == [w.shape for w in twin.get_weights()]
    getattr(cell, weight).assign(getattr(cell, weight) * 0)
    assert getattr(cell, weight).eq(0).all() and getattr(cell, weight).name == weight


def test_training_a_parametrized_weight():
    """The kernel of each step is orthogonal; regularizers see what is computed."""
    model = Sequential([layers.GRU(4, recurrent_regularizer=lambda w: w.square().sum()), layers.Dense(1)])
    model.build((None, 4, 5))
    parametrizations.orthogonal(model.layers[0].cell, "recurrent_kernel")
    assert [loss.item() for loss in model.losses] == pytest.approx([4.0])  # four orthonormal rows
    model.compile(ostinato.optimizers.SGD(0.1), "mse")
    before = model.layers[0].recurrent_kernel.detach()
    history = model.fit(tensor(8, 4, 5), tensor(8, 1), epochs=3, verbose=0).history
    kernel = model.layers[0].recurrent_kernel.detach()
    torch.testing.assert_close(kernel @ kernel.t(), torch.eye(4), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(kernel, before) and all(loss > 4 for loss in history["loss"])


def test_a_penalty_has_the_gradient_of_what_is_computed():
    layer = layers.LSTM(3, kernel_regularizer=lambda w: w.square().sum())
    layer(inputs("LSTM"))
    parametrize.register_parametrization(layer.cell, "kernel", Doubled())
    (loss,) = layer.losses
    loss.backward()
    original = layer.cell.parametrizations.kernel.original
    torch.testing.assert_close(original.grad, 8 * original.detach())
    original.requires_grad_(False)
    assert layer.losses == []


def test_a_constraint_on_a_parametrized_weight_is_refused():
    model = Sequential([layers.GRU(4, recurrent_constraint="non_neg", name="mine"), layers.Dense(1)])
    model.build((None, 4, 5))
    parametrize.register_parametrization(model.layers[0].cell, "recurrent_kernel", Doubled())
    model.compile("sgd", "mse")
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"weight 'recurrent_kernel' is parametrized.*constraint.*NonNeg"):
        model.fit(tensor(8, 4, 5), tensor(8, 1), verbose=0)
    assert all(np.array_equal(new, old) for new, old in zip(model.get_weights(), before, strict=True))


# == Functions of weights ===========================================================================================


@every
def test_functional_call_gives_the_values_of_the_weights_it_is_passed(what):
    layer, other = made(what), made(what, seed=100)
    x = inputs(what)
    before = layer.get_weights()
    given = {name: weight.detach().clone().requires_grad_() for name, weight in other.named_parameters()}
    output = torch.func.functional_call(layer, given, (x,))
    assert torch.equal(output, other(x))
    found = torch.autograd.grad(output.square().sum(), list(given.values()))
    right = torch.autograd.grad(other(x).square().sum(), list(other.parameters()))
    for mine, expected in zip(found, right, strict=True):
        torch.testing.assert_close(mine, expected)
    for mine, old in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, old)
    some = {KEYS[what][-1]: torch.zeros_like(given[KEYS[what][-1]])}
    layer.load_state_dict({**layer.state_dict(), **some})
    assert torch.equal(torch.func.functional_call(made(what), some, (x,)), layer(x))


@every
def test_gradients_by_torch_func(what):
    layer = made(what, dtype=torch.float64)
    x = inputs(what, torch.float64)
    weights = {name: weight.detach() for name, weight in layer.named_parameters()}

    def loss(weights):
        return torch.func.functional_call(layer, weights, (x,)).square().sum()

    found = torch.func.grad(loss)(weights)
    right = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    for mine, expected in zip(found.values(), right, strict=True):
        torch.testing.assert_close(mine, expected)
    stacked = {name: torch.stack([weight, 2 * weight]) for name, weight in weights.items()}
    values = torch.func.vmap(loss)(stacked)
    torch.testing.assert_close(values[0], loss(weights))
    torch.testing.assert_close(values[1], loss({name: 2 * weight for name, weight in weights.items()}))


def test_an_ensemble_of_layers():
    members = [made("GRU", seed=100 * i) for i in range(3)]
    x = inputs("GRU")
    weights, buffers = torch.func.stack_module_state(members)
    first = copy.deepcopy(members[0]).to("meta")
    found = torch.func.vmap(lambda w, b: torch.func.functional_call(first, (w, b), (x,)))(weights, buffers)
    torch.testing.assert_close(found, torch.stack([member(x) for member in members]))


@pytest.mark.parametrize("what", ["LSTM", "GRU", "SimpleRNN", "Bidirectional"])
def test_gradients_of_initial_states(what):
    layer = made(what, dtype=torch.float64)
    x = inputs(what, torch.float64)
    count = {"LSTM": 2, "Bidirectional": 4}.get(what, 1)
    states = [tensor(2, 4, dtype=torch.float64, seed=i).requires_grad_() for i in range(count)]
    torch.autograd.gradcheck(lambda *states: layer(x, initial_state=list(states)), states)
    layer.trainable = False
    grads = torch.autograd.grad(layer(x, initial_state=states).sum(), states)
    assert all(grad.ne(0).any() for grad in grads)


@every
def test_vectors_of_parameters_and_clipped_gradients(what):
    layer, other = made(what), made(what, seed=100)
    vector = nn.utils.parameters_to_vector(layer.parameters())
    assert len(vector) == layer.count_params()
    nn.utils.vector_to_parameters(vector, other.parameters())
    assert_alike(other, layer, inputs(what))
    layer(inputs(what)).square().sum().backward()
    grads = [parameter.grad.clone() for parameter in layer.parameters()]
    norm = torch.stack([grad.norm() for grad in grads]).norm()
    torch.testing.assert_close(nn.utils.clip_grad_norm_(layer.parameters(), 0.1), norm)
    for parameter, grad in zip(layer.parameters(), grads, strict=True):
        torch.testing.assert_close(parameter.grad, grad * 0.1 / norm)


@every
@pytest.mark.parametrize("how", ["a step", "a fused step", "data", "data of a new tensor", "copy_", "assign_sub"])
def test_what_is_written_is_used_by_the_next_call(what, how):
    layer, right = made(what), made(what)
    x = inputs(what)
    layer(x).square().sum().backward()
    grads = [parameter.grad for parameter in layer.parameters()]
    if "step" in how:
        torch.optim.SGD(layer.parameters(), lr=0.5, fused=how == "a fused step").step()
    with torch.no_grad():
        for weight, grad in zip(layer.weights, grads, strict=True):
            if how == "data":
                weight.data.sub_(0.5 * grad)
            elif how == "data of a new tensor":
                weight.data = weight.data - 0.5 * grad
            elif how == "copy_":
                weight.copy_(weight - 0.5 * grad)
            elif how == "assign_sub":
                weight.assign_sub(0.5 * grad.numpy())
    old = right(x)
    right.set_weights([value - 0.5 * grad.numpy() for value, grad in zip(right.get_weights(), grads, strict=True)])
    assert not torch.allclose(layer(x), old)
    torch.testing.assert_close(layer(x), right(x))
