"""The traps behind the decisions on layers: each test falls into one if the decision is undone.

The docstrings quote the decision. (What concerns recurrences and engines alone is tested beside them.)
"""

import copy
import gc
import pickle
import threading
import warnings

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.utils.parametrize as parametrize
from torch import nn
from torch.nn.modules.module import _has_any_global_hook

import ostinato
from cells import Counting, Nested, TensorShape
from ostinato import Input, Model, Sequential, layers
from ostinato.core.drawing import _OPEN, close_inputs
from ostinato.core.dtypes import default_device
from ostinato.core.tracking import Weights
from ostinato.recurrence.nests import flatten
from side_by_side import tensor

TOKENS = torch.tensor([[3, 1, 4, 0, 0], [2, 0, 0, 0, 0], [1, 2, 3, 4, 1]])


class Scale(layers.Layer):
    """One weight for each feature."""

    def build(self, input_shape):
        self.factor = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="factor")

    def call(self, inputs):
        return inputs * self.factor


# == Engines and autograd, from a layer's side =====================================================================


def test_a_second_derivative_has_the_right_value():
    """ "when its backward runs with gradients enabled (`create_graph=True`) it differentiates the reference loop" """
    layer = layers.LSTM(3, dtype="float64")
    x = tensor(2, 4, 2, dtype=torch.float64).requires_grad_()

    def slope(x):
        return torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)[0]

    direction = tensor(2, 4, 2, dtype=torch.float64, seed=1)
    (second,) = torch.autograd.grad((slope(x) * direction).sum(), x)
    step = 1e-6
    expected = (slope(x + step * direction) - slope(x - step * direction)) / (2 * step)
    torch.testing.assert_close(second, expected.detach(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_a_forward_derivative_is_not_zero(name):
    """ "a custom operator under `torch.func.jvp` returns a zero tangent, silently" """
    layer = getattr(layers, name)(3, dtype="float64")
    x, direction = tensor(2, 4, 2, dtype=torch.float64), tensor(2, 4, 2, dtype=torch.float64, seed=1)
    layer.build((None, None, 2))
    _, tangent = torch.func.jvp(layer, (x,), (direction,))
    expected = (layer(x + 1e-6 * direction) - layer(x - 1e-6 * direction)) / 2e-6
    assert tangent.abs().max() > 0.01
    torch.testing.assert_close(tangent, expected, rtol=1e-6, atol=1e-8)


def test_vmap_over_a_layer():
    """ "`Spec.transformed` (a functorch interpreter on the stack) makes every other engine refuse" """
    layer = layers.GRU(3)
    layer.build((None, None, 2))
    x = tensor(4, 2, 5, 2)
    torch.testing.assert_close(torch.func.vmap(layer)(x), torch.stack([layer(each) for each in x]))


def test_export_with_dynamic_time():
    """ "Spec holds no tensor value, no batch, no time (a symbolic size is unhashable and would break export)" """
    layer = layers.LSTM(3, return_sequences=True)
    layer.build((None, None, 2))
    time = torch.export.Dim("time", min=2, max=50)
    exported = torch.export.export(layer, (tensor(2, 5, 2),), dynamic_shapes={"args": ({1: time},)}, strict=False)
    longer = tensor(2, 9, 2)
    torch.testing.assert_close(exported.module()(longer), layer(longer))


# == Derived weights ===============================================================================================


def fresh(layer, x):
    """What a new layer with the same weights gives: nothing kept from before."""
    twin = type(layer).from_config(layer.get_config())
    twin.build(tuple(x.shape))
    twin.set_weights(layer.get_weights())
    return twin(x)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.parametrize("how", ["data", "assign", "set_weights", "copy_", "load", "load, assign", "swap"])
def test_a_written_weight_is_used_at_the_next_call(name, how):
    """ "Derived weights are never trusted on `_version`: fused optimizers and `.data` writes leave it unchanged" """
    layer = getattr(layers, name)(3)
    x = tensor(2, 4, 2)
    with torch.no_grad():
        before = layer(x)
        new = layer.kernel + 1
        if how == "data":
            layer.kernel.data[:] = new
        elif how == "assign":
            layer.kernel.assign(new.numpy())
        elif how == "set_weights":
            layer.set_weights([new.numpy(), *layer.get_weights()[1:]])
        elif how == "copy_":
            layer.kernel.copy_(new)
        elif how == "swap":
            layer.cell.kernel = nn.Parameter(new)
        else:
            state = {**layer.state_dict(), "cell.kernel": new}
            layer.load_state_dict(state, assign=how.endswith("assign"))
        after = layer(x)
        assert not torch.allclose(after, before)
        assert torch.equal(layer.kernel, new)
        torch.testing.assert_close(after, fresh(layer, x))


@pytest.mark.parametrize("options", [{"fused": True}, {"foreach": True}, {}], ids=str)
def test_an_optimizer_step_is_used_at_the_next_call(options):
    """ "Tested with fused and foreach optimizers" """
    layer = layers.GRU(3)
    x = tensor(2, 4, 2)
    layer(x).sum().backward()
    with torch.no_grad():
        before = layer(x)
    torch.optim.SGD(layer.parameters(), lr=0.5, **options).step()
    with torch.no_grad():
        after = layer(x)
        assert not torch.allclose(after, before)
        torch.testing.assert_close(after, fresh(layer, x))


def test_functional_call_uses_the_weights_it_is_given():
    """ "Tested with `functional_call`, parametrize" """
    layer = layers.LSTM(3)
    x = tensor(2, 4, 2)
    expected = layer(x)
    zeros = {name: torch.zeros_like(weight) for name, weight in layer.named_parameters()}
    assert torch.func.functional_call(layer, zeros, (x,)).eq(0).all()
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("weight", ["kernel", "recurrent_kernel", "bias"])
def test_a_parametrized_weight_is_used_and_listed_in_its_place(weight):
    """ "Tested with `functional_call`, parametrize" """

    class Double(nn.Module):
        def forward(self, x):
            return 2 * x

    layer, twin = layers.GRU(3), layers.GRU(3)
    x = tensor(2, 4, 2)
    for each in (layer, twin):
        each.build((None, None, 2))
    names = ["kernel", "recurrent_kernel", "bias"]
    twin.set_weights([w * (2 if name == weight else 1) for name, w in zip(names, layer.get_weights(), strict=True)])
    parametrize.register_parametrization(layer.cell, weight, Double())
    torch.testing.assert_close(layer(x), twin(x))
    assert [w.shape for w in layer.get_weights()] == [(2, 9), (3, 9), (2, 9)]
    assert len(layer.trainable_weights) == 3


# == Nests =========================================================================================================


def test_a_tuple_of_ints_is_two_states_and_a_torch_size_is_one():
    """ "a tuple `(5, 5)` means two states of 5 in Keras, and torch's pytree splits `torch.Size` in two" """
    two, one = [(5,), (5,)], [(5, 5)]
    for size, shapes in (((5, 5), two), (torch.Size([5, 5]), one), (TensorShape([5, 5]), one), ([(5, 5)], two)):
        states = layers.RNN(Counting(size), return_state=True)(tensor(2, 3, 4))[1:]
        assert [tuple(state.shape[1:]) for state in flatten(list(states))] == shapes


def test_a_dict_is_walked_in_one_order_whatever_order_it_was_made_in():
    """ "An input, a state, an output is a tensor or a list/tuple/dict of them. Normalised once, at the edge." """
    layer = layers.RNN(Counting({"b": 2, "a": 3}))
    states = {"a": torch.ones(2, 3), "b": torch.zeros(2, 2)}
    x = torch.zeros(2, 4, 5)
    first = layer(x, initial_state=states)
    assert torch.equal(layer(x, initial_state=dict(reversed(states.items()))), first)
    assert first.eq(1).all() and first.shape == (2, 3)


# == nn.Module under Keras's manners ===============================================================================


def test_attributes_and_layers_before_super_init():
    """ "`Layer.__new__` runs `Module.__init__`, so that attributes, layers too, may be set before `super()`" """

    class Early(layers.Layer):
        def __init__(self, units, **kwargs):
            self.units = units
            self.dense = layers.Dense(units)
            self.several = [layers.Dense(units)]
            self.scale = nn.Parameter(torch.ones(1))
            super().__init__(**kwargs)

        def call(self, inputs):
            return self.several[0](self.dense(inputs)) * self.scale

    layer = Early(3)
    assert layer(torch.ones(1, 2)).shape == (1, 3)
    assert len(layer.trainable_weights) == 5
    assert list(layer.state_dict()) == ["scale", "dense.kernel", "dense.bias", "several.0.kernel", "several.0.bias"]


class Weighty(layers.Layer):
    """Makes weights in every way there is."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.add_weight(shape=(1,), name="early")
        self.at_once = self.add_weight(shape=(2,), name="another_name")

    def build(self, input_shape):
        self.a = self.b = self.add_weight(shape=(3,), name="w")
        self.add_weight(shape=(4,), name="free")
        self.add_weight(shape=(5,), name="free")
        self.fixed = self.still = self.add_weight(shape=(6,), name="f", trainable=False)
        self.kernels = []
        for width in (7, 8):
            self.kernels.append(self.add_weight(shape=(width,), name="kernel"))
        self.named = {1: self.add_weight(shape=(9,), trainable=False, name="stat"), "x": "no weight"}

    def call(self, inputs):
        lists = sum(kernel.sum() for kernel in self.kernels) + self.named[1].sum()
        return inputs * (lists + self.a.sum() + self.b.sum() + self.fixed.sum() + self.still.sum())


KEYS = {
    "early": 1,
    "at_once": 2,
    "a": 3,
    "free": 4,
    "free_1": 5,
    "kernel": 7,
    "kernel_1": 8,
    "fixed": 6,
    "stat": 9,
}


def test_a_weight_is_registered_once_under_the_attribute_else_under_its_name():
    """ "A weight is registered when it is assigned, an unassigned one at the end of `build`, never twice." """
    layer = Weighty()
    assert {"early", "at_once"} == set(layer.state_dict())
    layer(torch.ones(2))
    assert {key: len(value) for key, value in layer.state_dict().items()} == KEYS
    assert [len(weight) for weight in layer.trainable_weights] == [1, 2, 3, 4, 5, 7, 8]
    assert [len(weight) for weight in layer.non_trainable_weights] == [6, 9]
    assert len(list(layer.parameters())) == 7 and len(list(layer.buffers())) == 2
    assert layer.a is layer.b and layer.fixed is layer.still


def moved(layer, how):
    if how == "double":
        return layer.double()
    if how == "meta":
        return layer.to("meta")
    if how == "copied":
        return copy.deepcopy(layer)
    if how == "pickled":
        return pickle.loads(pickle.dumps(layer))
    layer.load_state_dict({key: value.clone() for key, value in layer.state_dict().items()}, assign=True)
    return layer


HOW = ["double", "meta", "copied", "pickled", "load_state_dict(assign=True)"]


@pytest.mark.parametrize("how", HOW)
def test_second_names_and_lists_of_weights_mean_the_tensors_that_are_there_now(how):
    """ "never twice": torch puts other tensors in a weight's place, and every name for it must follow"""
    layer = Weighty()
    layer(torch.ones(2))
    layer = moved(layer, how)
    assert layer.a is layer.b is dict(layer.named_parameters())["a"]
    assert layer.fixed is layer.still is dict(layer.named_buffers())["fixed"]
    assert layer.kernels[0] is dict(layer.named_parameters())["kernel"] and len(layer.kernels) == 2
    assert layer.named[1] is dict(layer.named_buffers())["stat"] and layer.named["x"] == "no weight"
    if how == "double":
        assert layer(torch.ones(2, dtype=torch.float64)).dtype is torch.float64


def test_a_layer_with_lists_of_weights_can_be_drawn():
    """Shapes are found on the meta device, with copies of the weights in their places: in lists too."""
    x = Input((2,))
    model = Model(x, Weighty()(x))
    assert model(torch.ones(1, 2)).shape == (1, 2)


def test_weights_of_a_mixin_and_of_a_layer_that_forgets_super_init():
    class Mixin:
        def __init__(self):
            super().__init__()
            self.add_weight(shape=(1,), name="mixed")

    class Mixed(Mixin, layers.Layer):
        def call(self, inputs):
            return inputs

    class Forgets(layers.Layer):
        def __init__(self):
            self.add_weight(shape=(1,), name="own")

        def call(self, inputs):
            return inputs

    for layer, key in ((Mixed(), "mixed"), (Forgets(), "own")):
        layer(torch.ones(1))
        assert list(layer.state_dict()) == [key] and len(layer.trainable_weights) == 1


def test_a_weight_by_the_arguments_of_keras_3_and_2():
    layer = layers.Layer()
    made = [
        layer.add_weight((2, 3), "ones", name="w"),
        layer.add_weight(shape=(2, 3), initializer="ones", name="w"),
        layer.add_weight("w", shape=[2, 3], initializer="ones"),
        layer.add_weight("w", (2, 3)),
        layer.add_weight(name="w"),
    ]
    assert [tuple(weight.shape) for weight in made] == [(2, 3)] * 4 + [()]
    assert all(weight.eq(1).all() for weight in made[:3])
    with pytest.raises(TypeError, match=r"unknown arguments \['shap'\]"):
        layer.add_weight(shap=(2, 3))


def test_a_weight_made_after_the_build_is_registered_at_once():
    layer = Scale()
    layer(torch.ones(1, 2))
    layer.add_weight(shape=(5,), name="late")
    assert list(layer.state_dict()) == ["factor", "late"]


def test_a_build_that_failed_leaves_no_weights_to_the_next():
    class Fails(layers.Layer):
        fail = True

        def build(self, input_shape):
            self.add_weight(shape=(1,), name="free")
            if Fails.fail:
                raise RuntimeError("not yet")

        def call(self, inputs):
            return inputs

    layer = Fails()
    with pytest.raises(RuntimeError, match="not yet"):
        layer(torch.ones(1))
    assert not layer.built
    Fails.fail = False
    layer(torch.ones(1))
    assert list(layer.state_dict()) == ["free"]


def test_a_parameter_or_buffer_of_torch_is_a_weight_too():
    class Both(layers.Layer):
        def __init__(self):
            super().__init__()
            self.p = nn.Parameter(torch.ones(2))
            self.register_buffer("q", torch.ones(3))
            self.register_buffer("cache", torch.ones(4), persistent=False)
            self.linear = nn.Linear(2, 1)

        def call(self, inputs):
            return self.linear(inputs * self.p)

    layer = Both()
    assert [tuple(w.shape) for w in layer.weights] == [(2,), (3,), (1, 2), (1,)]
    layer.trainable = False
    assert layer.trainable_weights == []


def test_lists_and_dicts_of_layers_are_tracked():
    """ "Lists and dicts of layers are tracked." """

    class Many(layers.Layer):
        def __init__(self):
            super().__init__()
            self.several = [layers.Dense(1), layers.Dense(2)]
            self.later = []
            self.named = {"a": layers.Dense(3), "b": (layers.Dense(4), layers.Dense(5))}
            self.mixed = [1, layers.Dense(6), "text"]
            self.plain = [1, 2]

        def call(self, inputs):
            every = [*self.several, self.named["a"], *self.named["b"], self.mixed[1]]
            return [layer(inputs) for layer in every]

    layer = Many()
    layer(torch.ones(1, 2))
    assert [w.shape[1] for w in layer.get_weights() if w.ndim == 2] == [1, 2, 3, 4, 5, 6]
    assert "named.b.1.kernel" in layer.state_dict() and "mixed_modules.0.kernel" in layer.state_dict()
    layer.several.append(layers.Dense(7))
    layer.several[2].build((None, 2))
    assert "several.2.kernel" in layer.state_dict()
    assert layer.plain == [1, 2] and layer.mixed[0] == 1 and layer.mixed[2] == "text"
    twin = copy.deepcopy(layer)
    assert twin.mixed[1] is dict(twin.named_modules())["mixed_modules.0"] is not layer.mixed[1]


class Ordered(layers.Layer):
    def build(self, input_shape):
        self.z = self.add_weight(shape=(1,), name="z", regularizer="l2")
        self.fixed = self.add_weight(shape=(2,), name="f", trainable=False)
        self.a = self.add_weight(shape=(3,), name="a", constraint="non_neg")

    def call(self, inputs):
        return inputs


def options_of(layer):
    weights = Weights(layer)
    return weights.names, [tuple(w.shape) for w in weights.all], [loss.device.type for loss in weights.penalties()]


@pytest.mark.parametrize("how", HOW)
def test_order_regularizers_and_constraints_survive(how):
    """ "Order, regularizer and constraint of a weight live in the layer under its name (deepcopy, `.to("meta")`,
    `load_state_dict(assign=True)` lose what hangs on a Parameter)" """

    for layer in (Ordered(), layers.LSTM(2, kernel_regularizer="l1", bias_constraint="non_neg")):
        layer.build((None, None, 3))
        before = options_of(layer)
        constrained = [tuple(weight.shape) for weight, _ in Weights(layer).constrained()]
        after = moved(layer, how)
        names, shapes, penalties = options_of(after)
        assert (names, shapes) == before[:2] and len(penalties) == len(before[2]) == 1
        assert [tuple(weight.shape) for weight, _ in Weights(after).constrained()] == constrained
        assert len(constrained) == 1
        assert [tuple(w.shape) for w in after.weights] == shapes
        assert len(after.losses) == 1


def test_assign_value_and_numpy_are_conveniences_that_layers_put_back():
    """ "`assign`, `.value`, `.numpy()` are a convenience on a Parameter subclass": the truth is in the layer"""
    layer = Scale()
    layer(torch.ones(1, 2))
    weight = layer.factor
    assert weight.assign([3.0, 4.0]) is weight and weight.value is weight
    values = weight.numpy()
    values[:] = 0
    assert weight.tolist() == [3.0, 4.0]
    with pytest.raises(ValueError, match=r"expected shape \(2,\), got \(3,\)"):
        weight.assign([1.0, 2.0, 3.0])
    layer.load_state_dict({"factor": torch.full((2,), 5.0)}, assign=True)
    assert layer.factor is not weight and layer.factor.assign(layer.factor + 1).tolist() == [6.0, 6.0]
    assert layer(torch.ones(1, 2)).tolist() == [[6.0, 6.0]]
    assert layer.get_weights()[0].tolist() == [6.0, 6.0]
    layer.set_weights([np.array([1.0, 2.0])])
    assert layer(torch.ones(1, 2)).tolist() == [[1.0, 2.0]]
    assert isinstance(copy.deepcopy(layer).factor, nn.Parameter)


@pytest.mark.parametrize("put", [nn.Parameter, torch.clone], ids=["a parameter", "a plain tensor"])
def test_the_library_asks_for_no_more_than_a_parameter(put):
    """ "NOT relied upon": what stands in a weight's place, by whatever way, is used, listed and trained"""
    layer = layers.LSTM(3)
    x = tensor(2, 4, 2)
    layer(x)
    values = [put(torch.full_like(weight, 0.1)) for weight in layer.weights]
    with torch.no_grad():
        for name, value in zip(["kernel", "recurrent_kernel", "bias"], values, strict=True):
            layer.cell._parameters[name] = value.requires_grad_()
    twin = layers.LSTM(3)
    twin.build((None, None, 2))
    twin.set_weights([np.full(weight.shape, 0.1) for weight in layer.weights])
    torch.testing.assert_close(layer(x), twin(x))
    layer(x).sum().backward()
    assert all(weight.grad is not None for weight in values)
    assert all(mine is value for mine, value in zip(layer.trainable_weights, values, strict=True))
    assert [w.shape for w in layer.get_weights()] == [v.shape for v in values]


def test_a_weight_is_a_parameter_and_its_results_are_plain_tensors():
    layer = Scale()
    layer(torch.ones(1, 2))
    assert isinstance(layer.factor, nn.Parameter) and type(layer.factor * 2) is torch.Tensor
    assert type(layer.factor.detach()) is torch.Tensor
    assert torch.equal(pickle.loads(pickle.dumps(layer)).factor, layer.factor)


def test_weights_that_are_not_trainable_are_buffers():
    """ "Non-trainable weights are buffers" """
    layer = layers.BatchNormalization()
    layer(torch.ones(2, 3), training=False)
    assert [name for name, _ in layer.named_buffers()] == ["moving_mean", "moving_variance"]
    assert [name for name, _ in layer.named_parameters()] == ["gamma", "beta"]
    assert len(layer.state_dict()) == len(layer.weights) == 4


def test_a_frozen_layer_keeps_its_parameters():
    layer = layers.Dense(2)
    layer(torch.ones(1, 3))
    layer.trainable = False
    assert len(list(layer.parameters())) == 2 and layer.trainable_weights == []
    assert len(layer.non_trainable_weights) == 2
    layer.trainable = True
    assert len(layer.trainable_weights) == 2
    unbuilt = layers.Dense(2, trainable=False)
    unbuilt(torch.ones(1, 3))
    assert unbuilt.trainable_weights == [] and not unbuilt.kernel.requires_grad


class Block(layers.Layer):
    """Makes layers after `super().__init__`, in a list, and in build; one of them a torch module."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = layers.Dense(2)
        self.several = [layers.Dense(2), nn.Linear(2, 2)]

    def build(self, input_shape):
        self.late = layers.Dense(2)

    def call(self, inputs):
        return self.late(self.several[1](self.several[0](self.first(inputs))))


def test_freezing_reaches_layers_that_are_not_there_or_not_built_yet():
    frozen = Block(trainable=False)
    frozen(torch.ones(1, 2))
    assert frozen.trainable_weights == [] and len(frozen.weights) == 8
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    layer = Block()
    layer.trainable = False
    layer(torch.ones(1, 2))
    assert layer.trainable_weights == []
    layer.trainable = True
    assert len(layer.trainable_weights) == 8


def test_state_dict_keys_are_never_automatic_names():
    """ "state_dict keys are attribute names and positions (`0.cell.kernel`), never automatic names" """

    def sequential():
        return Sequential([layers.LSTM(3, return_sequences=True), layers.Bidirectional(layers.GRU(2)), nn.Linear(4, 1)])

    def drawn():
        x = Input((None, 2))
        return Model(x, layers.Dense(1)(layers.RNN(layers.LSTMCell(3))(x)))

    for make in (sequential, drawn):
        first = make()
        [layers.LSTM(1) for _ in range(3)], [layers.Dense(1) for _ in range(3)]  # the next automatic names differ
        second = make()
        for model in (first, second):
            model(tensor(2, 4, 2))
        assert list(first.state_dict()) == list(second.state_dict())
        assert not any("lstm" in key or "dense" in key for key in first.state_dict())
        second.load_state_dict(first.state_dict())
        torch.testing.assert_close(second(tensor(2, 4, 2)), first(tensor(2, 4, 2)))
    model = sequential()
    model(tensor(2, 4, 2))
    keys = list(model.state_dict())
    assert keys[:4] == ["0.cell.kernel", "0.cell.recurrent_kernel", "0.cell.bias", "1.forward_layer.cell.kernel"]


def test_an_lstm_is_an_rnn_with_a_cell_in_it():
    """ "LSTM is an RNN with a `cell` child. Aliases are properties." """
    layer = layers.LSTM(3)
    assert isinstance(layer, layers.RNN) and [name for name, _ in layer.named_children()] == ["cell"]
    layer(tensor(1, 2, 4))
    layer.cell.kernel = nn.Parameter(torch.zeros(4, 12))
    assert layer.kernel is layer.cell.kernel
    assert len(layer.state_dict()) == 3


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.LSTM(3),
        lambda: Sequential([layers.Dense(2), layers.GRU(3)]),
        lambda: layers.Bidirectional(layers.GRU(3)),
        lambda: nn.Sequential(layers.Dense(3))[0],
    ],
    ids=["layer", "model", "wrapper", "inside a torch module"],
)
def test_parameters_of_an_unbuilt_layer_raise(make):
    """ "`parameters()` of an unbuilt layer raises and names `build(input_shape)`": an optimizer would miss them"""
    with pytest.raises(ValueError, match=r"is not built.*build\(input_shape\)"):
        list(make().parameters())
    with pytest.raises(ValueError, match=r"is not built.*build\(input_shape\)"):
        torch.optim.SGD(make().parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"is not built.*build\(input_shape\)"):
        make().count_params()


def test_layers_without_weights_have_none_from_the_start():
    for layer in (layers.Dropout(0.5), layers.Masking(), Sequential([nn.Linear(2, 1)])):
        assert len(list(layer.parameters())) == (2 if isinstance(layer, Sequential) else 0)


def test_properties_let_no_attribute_error_out():
    """ "Properties let no AttributeError out": torch's __getattr__ would say that the property is not there"""

    class Broken(layers.Layer):
        @property
        def wanted(self):
            return self.missing

    with pytest.raises(RuntimeError, match=r"Broken.wanted failed: .*no attribute 'missing'"):
        _ = Broken().wanted
    with pytest.raises(RuntimeError, match=r"LSTM.kernel failed: .*no attribute 'kernel'"):
        _ = layers.LSTM(3).kernel
    with pytest.raises(AttributeError, match="no attribute 'missing'"):
        _ = Broken().missing


# == Training mode =================================================================================================


class Mode(layers.Layer):
    """Keeps the modes it ran in."""

    def __init__(self, inner=None, force=None, **kwargs):
        super().__init__(**kwargs)
        self.inner, self.force, self.seen = inner, force, []

    def call(self, inputs, training=None):
        self.seen.append(training)
        if self.inner is None:
            return inputs
        return self.inner(inputs) if self.force is None else self.inner(inputs, training=self.force)


def test_the_order_in_which_the_mode_is_found():
    """ "the call's `training=`, else that of the enclosing call, else `.train()/.eval()/fit`, else inference" """
    x = torch.ones(1)
    inner = Mode()
    outer = Mode(inner)
    cases = [
        ("nothing said", lambda: outer(x), False),
        ("the call", lambda: outer(x, training=True), True),
        ("train()", lambda: outer.train()(x), True),
        ("eval()", lambda: outer.eval()(x), False),
        ("the call beats eval()", lambda: outer.eval()(x, training=True), True),
        ("the call beats train()", lambda: outer.train()(x, training=False), False),
    ]
    for what, call, expected in cases:
        call()
        assert (outer.seen[-1], inner.seen[-1]) == (expected, expected), what
    outer.eval()
    inner.train()
    outer(x)
    assert inner.seen[-1] is False  # the enclosing call beats the inner layer's own train()
    inner(x)
    assert inner.seen[-1] is True
    Mode(inner, force=True)(x, training=False)
    assert inner.seen[-1] is True  # the inner call beats the enclosing one
    Mode(inner, force=False)(x, training=True)
    assert inner.seen[-1] is False


def test_the_mode_of_a_call_ends_with_the_call():
    class Raises(layers.Layer):
        def call(self, inputs):
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        Raises()(torch.ones(1), training=True)
    mode = Mode()
    mode(torch.ones(1))
    assert mode.seen == [False]


def test_layers_run_in_inference_by_default_as_in_keras():
    """ "else inference, as in Keras": torch's modules train by default"""
    x = tensor(4, 3)
    with torch.no_grad():
        assert torch.equal(layers.Dropout(0.5)(x), x)
        layer = layers.BatchNormalization()
        layer(x)
        assert layer.moving_mean.eq(0).all()
        model = Sequential([layers.Dense(3), nn.Dropout(0.5)])
        torch.testing.assert_close(model(x), model.layers[0](x))


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.Dropout(0.5),
        lambda: layers.BatchNormalization(),
        lambda: layers.LSTM(2, recurrent_dropout=0.5),
        lambda: layers.Bidirectional(layers.GRU(2, dropout=0.5)),
        lambda: Sequential([layers.Dense(2), layers.Dropout(0.5)]),
    ],
    ids=["Dropout", "BatchNormalization", "LSTM", "Bidirectional", "Sequential"],
)
def test_a_warning_once_where_training_would_differ_and_nobody_said(make):
    """ "there, a layer that would behave differently in training warns once if autograd records" """
    x = tensor(2, 3, 2)
    layer = make()
    with pytest.warns(UserWarning, match="runs in inference mode while autograd records"):
        layer(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(x)  # once
        make()(x, training=False)
        make()(x, training=True)
        make().eval()(x)
        make().train()(x)
        with torch.no_grad():
            make()(x)
        layers.Dropout(0.0)(x)
        layers.BatchNormalization(trainable=False)(x)
        layers.Dense(2)(x)


def test_a_thread_has_a_mode_of_its_own():
    """ "that of the enclosing call (a `threading.local`)": a call in one thread does not leak into another"""
    entered, leave = threading.Event(), threading.Event()

    class Waits(layers.Layer):
        def call(self, inputs, training=None):
            entered.set()
            assert leave.wait(10)
            return inputs

    thread = threading.Thread(target=lambda: Waits()(torch.ones(1), training=True))
    thread.start()
    try:
        assert entered.wait(10)
        mode = Mode()
        mode(torch.ones(1))
        assert mode.seen == [False]
    finally:
        leave.set()
        thread.join(10)
    assert not thread.is_alive()


def test_shapes_found_in_one_thread_do_not_stop_another_from_recording():
    """The same `threading.local` says that shapes are being inferred, when nothing a call does may last."""
    entered, leave = threading.Event(), threading.Event()

    class Waits(layers.Layer):
        def call(self, inputs):
            entered.set()
            assert leave.wait(10)
            return inputs

    x = Input((3,))
    thread = threading.Thread(target=lambda: Waits()(x))
    thread.start()
    try:
        assert entered.wait(10)
        layer = layers.GRU(2, stateful=True)
        layer(tensor(1, 2, 3))
        assert layer.states is not None and layer.kernel.device.type == "cpu"
    finally:
        leave.set()
        thread.join(10)


def test_batch_normalization_that_is_not_trainable_infers():
    """ "BatchNormalization with `trainable=False` infers." """
    layer = layers.BatchNormalization(trainable=False)
    x = 5 + tensor(4, 3)
    torch.testing.assert_close(layer(x, training=True), x / (1 + 1e-3) ** 0.5)
    assert layer.moving_mean.eq(0).all()


# == Mask attributes ===============================================================================================


def masked_stack():
    return [layers.Embedding(5, 3, mask_zero=True), layers.LSTM(3, return_sequences=True), layers.GRU(2)]


def unmasked(stack):
    value = stack[0](TOKENS)
    for layer in stack[1:]:
        value = layer(value, mask=torch.ones_like(TOKENS, dtype=torch.bool))
    return value


def drawn_from(stack):
    value = inputs = Input((None,), dtype="int64")
    for layer in stack:
        value = layer(value)
    return Model(inputs, value)


@pytest.fixture
def process_group():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore:Using .torch.compile.module.:UserWarning")  # torch, while a model is being drawn
@pytest.mark.parametrize("put_together", [Sequential, drawn_from], ids=["Sequential", "drawn"])
@pytest.mark.parametrize("wrapped", [0, 1, 2], ids=["maker", "middle", "end"])
@pytest.mark.parametrize("wrapper", ["compile", "DDP", "hook"])
def test_masks_survive_wrapped_layers(wrapper, wrapped, put_together, process_group):
    """ "Mask attributes are lost by compiled modules and DDP: Sequential, Graph and the training step carry (value,
    mask) explicitly" """
    stack = masked_stack()
    with torch.no_grad():
        expected = Sequential(stack)(TOKENS)
        assert not torch.allclose(expected, unmasked(stack))
        layer = stack[wrapped]
        if wrapper == "compile":
            torch.compiler.reset()
            stack[wrapped] = torch.compile(layer, backend="eager")
        elif wrapper == "DDP":
            stack[wrapped] = nn.parallel.DistributedDataParallel(layer)
        model = put_together(stack)
        if wrapper == "hook":
            layer.register_forward_hook(lambda module, args, output: output.clone())
        torch.testing.assert_close(model(TOKENS), expected)


@pytest.mark.filterwarnings("ignore:Using .torch.compile.module.:UserWarning")
def test_a_compiled_layer_that_is_not_built_can_be_drawn():
    """Shapes need no compiler: a compiled layer is asked for them as it was written."""
    torch.compiler.reset()
    layer = layers.LSTM(3, return_sequences=True)
    model = drawn_from([layers.Embedding(5, 3, mask_zero=True), torch.compile(layer, backend="eager"), layers.GRU(2)])
    assert layer.built and [type(each).__name__ for each in model.layers[1:]] == ["Embedding", "OptimizedModule", "GRU"]
    with torch.no_grad():
        torch.testing.assert_close(model(TOKENS), Sequential([model.layers[1], layer, model.layers[3]])(TOKENS))


def test_masks_pass_explicitly_through_layers_that_return_new_tensors():
    """A tensor attribute would be lost by every layer that computes; models do not ask for attributes at all."""
    seen = []

    class Looks(layers.Layer):
        supports_masking = True

        def call(self, inputs, mask=None):
            seen.append((hasattr(inputs, "_keras_mask"), mask))
            return inputs * 2

    model = Sequential([layers.Embedding(5, 3, mask_zero=True), layers.Dense(3), Looks(), layers.GRU(2)])
    with torch.no_grad():
        model(TOKENS)
    (attribute, mask), *_ = seen
    assert attribute is False and torch.equal(mask, TOKENS != 0)


def test_a_stale_attribute_does_not_reach_into_a_model():
    """ "tensor attributes are read and written only at the edge of an eager public call" """
    stack = masked_stack()
    embedded = stack[0](TOKENS)
    assert torch.equal(embedded._keras_mask, TOKENS != 0)
    model = Sequential(stack[1:])
    edge = model(embedded)
    torch.testing.assert_close(edge, stack[2](stack[1](embedded)))
    assert not torch.allclose(edge, model(embedded.detach()))
    torch.testing.assert_close(model(embedded.detach(), mask=TOKENS != 0), edge)


def test_a_mask_that_ends_says_so_once():
    class Opaque(layers.Layer):
        def call(self, inputs):
            return inputs

    model = Sequential([layers.Embedding(5, 3, mask_zero=True), Opaque(), layers.GRU(2)])
    with pytest.warns(UserWarning, match="does not support masking"):
        model(TOKENS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(TOKENS)
    with pytest.warns(UserWarning, match="Linear is a plain torch module and carries no mask"):
        Sequential([layers.Embedding(5, 3, mask_zero=True), nn.Linear(3, 2), layers.GRU(2)])(TOKENS)


# == Device and dtype ==============================================================================================


def devices_of(layer):
    return {weight.device.type for weight in layer.weights}


def test_where_weights_are_built():
    """ "Weights built from a torch input take its device; else an explicit `with torch.device(...)`, else CUDA, else
    the CPU." The meta device stands for the other one."""
    home = "cuda" if torch.cuda.is_available() else "cpu"
    layer = layers.LSTM(2)
    layer(torch.empty(1, 2, 3, device="meta"))
    assert devices_of(layer) == {"meta"}
    layer = layers.LSTM(2)
    with torch.device("meta"):
        layer.build((None, None, 3))
    assert devices_of(layer) == {"meta"}
    layer = layers.LSTM(2)
    with torch.device("meta"):
        layer(torch.zeros(1, 2, 3, device="cpu"))  # the input's device goes before the context's
    assert devices_of(layer) == {"cpu"}
    layer = layers.LSTM(2)
    assert layer(np.zeros((1, 2, 3))).device.type == home and devices_of(layer) == {home}
    layer = layers.LSTM(2)
    layer.build((None, None, 3))
    assert devices_of(layer) == {home}


def test_an_explicit_cpu_goes_before_a_gpu_that_is_there(monkeypatch):
    """ "else an explicit `with torch.device(...)`, else CUDA": as in the guide's `with tf.device("CPU:0")`"""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    assert default_device() == torch.device("cuda", 0)
    for name in ("cpu", "cpu:0"):
        with torch.device(name):
            assert default_device() == torch.device("cpu")
    with torch.device("meta"):
        assert default_device() == torch.device("meta")


def test_the_cpu_by_every_name():
    with torch.device("cpu:0"):
        layer = layers.Dense(2)
        layer.build((None, 3))
    assert layer.kernel.device == torch.device("cpu")


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.LSTM(2),
        lambda: layers.RNN([layers.LSTMCell(2), layers.GRUCell(3)]),
        lambda: layers.Bidirectional(layers.GRU(2)),
        lambda: Sequential([layers.Dense(2), layers.GRU(3)]),
        lambda: layers.RNN(Counting(3)),
    ],
    ids=["LSTM", "stacked", "Bidirectional", "Sequential", "own cell"],
)
def test_to_and_double_before_build_are_remembered(make):
    """ "`.to()` and `.double()` before build are remembered." """
    layer = make().double()
    output = layer(tensor(2, 3, 4, dtype=torch.float64))
    assert output.dtype is torch.float64 and {w.dtype for w in layer.weights} <= {torch.float64}
    again = make().double()
    assert again(np.zeros((2, 3, 4), dtype="float32")).dtype is torch.float64
    meta = make().to("meta")
    if not isinstance(meta, Sequential):
        meta.build((None, None, 4))
        assert devices_of(meta) <= {"meta"}


def test_numpy_is_cast():
    """ "NumPy is cast" """
    layer = layers.Dense(2)
    for dtype in ("float64", "float16", "float32", "int64", "uint8", "bool"):
        assert layer(np.ones((1, 3), dtype=dtype)).dtype is torch.float32
    read_only = np.ones((1, 3))
    read_only.flags.writeable = False
    assert layer(read_only).shape == (1, 2)
    state = np.ones((1, 2))
    assert layers.GRU(2)(torch.ones(1, 3, 4), initial_state=[state]).dtype is torch.float32


@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.LSTM(2),
        lambda: layers.Bidirectional(layers.LSTM(2)),
        lambda: layers.RNN([layers.LSTMCell(2)]),
        lambda: layers.Dense(2),
        lambda: layers.BatchNormalization(trainable=False),
        lambda: Sequential([layers.Dense(2)]),
    ],
    ids=["LSTM", "Bidirectional", "RNN", "Dense", "BatchNormalization", "Sequential"],
)
def test_a_torch_tensor_of_another_floating_dtype_is_refused(make, built):
    """ "a torch tensor of another floating dtype raises, unless under autocast" """
    layer = make()
    if built:
        layer(torch.ones(2, 3, 4))
    for dtype in (torch.float64, torch.bfloat16):
        with pytest.raises(TypeError, match=f"expected a torch.float32 tensor, got {dtype}"):
            layer(torch.ones(2, 3, 4, dtype=dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.ones(2, 3, 4, dtype=torch.bfloat16)).shape[0] == 2
        assert {weight.dtype for weight in layer.weights} == {torch.float32}


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_weights_built_without_gradients_can_be_trained_later(mode):
    """Weights are made outside inference mode, whatever the first call is in."""
    model = Sequential([layers.Embedding(5, 3), layers.LSTM(2), layers.BatchNormalization(), layers.Dense(1)])
    with mode():
        model(TOKENS, training=False)
    assert not any(weight.is_inference() for weight in model.weights)
    model(TOKENS, training=True).sum().backward()
    assert all(weight.grad is not None for weight in model.trainable_weights)
    assert len(model.trainable_weights) == 1 + 3 + 2 + 2


# == Graphs ========================================================================================================


def test_a_parameter_caught_in_a_graph_is_the_models():
    """ "a Parameter caught in it is registered or it raises" """
    x = Input((2,))
    caught, shift = nn.Parameter(torch.full((2,), 3.0)), torch.ones(2)
    model = Model(x, torch.relu(x * caught) + shift)
    assert [p is caught for p in model.parameters()] == [True]
    output = model(torch.ones(1, 2))
    assert output.tolist() == [[4.0, 4.0]]
    output.sum().backward()
    assert caught.grad is not None
    assert model.double()(torch.ones(1, 2, dtype=torch.float64)).dtype is torch.float64  # the constant moves too
    with pytest.raises(ValueError, match="requires grad but is no Parameter"):
        x * (caught * 2)


def test_a_layers_weight_used_in_a_graph_is_not_lost():
    x = Input((2,))
    dense = layers.Dense(2, use_bias=False)
    hidden = dense(x)
    model = Model(x, nn.functional.linear(hidden, dense.kernel))
    assert len(model.trainable_weights) == 1
    torch.testing.assert_close(model(torch.eye(2)), dense.kernel @ dense.kernel.t())
    with pytest.raises(ValueError, match="requires grad but is no Parameter"):
        hidden @ dense.kernel.t()


def test_unknown_sizes_are_told_from_known_ones():
    """ "Shapes come from two runs on the meta device with different sizes for None." """
    x = Input((None, 4))
    assert torch.cat([x, x], 1).shape == (None, None, 4)
    assert x.flatten(1).shape == (None, None)
    assert x.mean(1).shape == (None, 4)
    assert x[:, 0].shape == (None, 4) and x[:, :3].shape == (None, 3, 4)
    assert x.transpose(0, 1).shape == (None, None, 4)
    assert x.unsqueeze(-1).expand(-1, -1, -1, 3).shape == (None, None, 4, 3)
    fixed = Input((3, 4))
    assert fixed.flatten(1).shape == (None, 12) and fixed.sum((1, 2)).shape == (None,)
    batched = Input(batch_shape=(3, None))
    assert (batched + 1).shape == (3, None)
    assert (x[..., 0] > 0).dtype is torch.bool


def test_an_input_without_dtype_takes_any():
    """ "`Input` without dtype accepts any." """
    assert Input((3,)).dtype is None and Input((3,), dtype="int64").dtype is torch.int64
    x = Input((3,))
    model = Model(x, x * 2)
    for dtype in (torch.float32, torch.float64, torch.int64):
        assert model(torch.ones(1, 3, dtype=dtype)).dtype is dtype
    tokens = Input((None,))
    model = Model(tokens, layers.Embedding(5, 2)(tokens))
    assert model(TOKENS).shape == (3, 5, 2)


def test_one_node_for_each_module_whatever_its_forward_does():
    """ "Any `nn.Module` or torch function on a symbolic tensor is one node" """
    calls = []

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(2, 2)

        def forward(self, x):
            calls.append(x.device.type)
            return torch.tanh(self.inner(x)) + x * 2 if x.shape[0] else x

    x = Input((2,))
    odd = Odd()
    model = Model(x, odd(x))
    assert model.layers[1:] == [odd] and set(calls) == {"meta"}
    torch.testing.assert_close(model(torch.ones(1, 2)), odd(torch.ones(1, 2)))
    assert odd.inner.weight.device.type == "cpu"


@pytest.fixture
def nothing_drawn():
    """No model is being drawn, whatever other tests left half done."""
    close_inputs(list(_OPEN))


def test_hooks_of_drawing_are_gone_with_it(nothing_drawn):
    """torch has no other hold on a module's call than global hooks: they last no longer than the drawing."""
    x = Input((2,))
    assert _has_any_global_hook()
    model = Model(x, nn.Linear(2, 1)(x))
    assert not _has_any_global_hook()
    Sequential([layers.Dense(2, input_shape=(3,))])
    assert not _has_any_global_hook()
    abandoned = Input((2,))
    assert _has_any_global_hook()
    del abandoned
    gc.collect()
    assert not _has_any_global_hook()
    _ = model.outputs  # to draw on from
    del model, x, _
    gc.collect()
    assert not _has_any_global_hook()


def test_a_deep_model_can_be_copied():
    """Copying follows the graph from its inputs: it is no deeper for a model of many layers."""
    value = inputs = Input((2,))
    for _ in range(150):
        value = value + 1
    model = Model(inputs, layers.Dense(1)(value))
    twin = copy.deepcopy(model)
    assert torch.equal(twin(torch.ones(1, 2)), model(torch.ones(1, 2)))
    twin.set_weights([np.zeros((2, 1)), np.ones(1)])
    assert twin(torch.ones(1, 2)).item() == 1 and model(torch.ones(1, 2)).item() != 1
    assert pickle.loads(pickle.dumps(model))(torch.ones(1, 2)).shape == (1, 1)


# == Randomness ====================================================================================================


def test_draws_are_functions_of_seed_and_counter():
    """ "dropout masks and data order are functions of (seed, counter)" """
    stream = ostinato.random.Stream(5)
    first = [stream.next() for _ in range(4)]
    again = ostinato.random.Stream(5, counter=2)
    assert [again.next(), again.next()] == first[2:]
    assert len(set(first)) == 4 and all(0 <= each < 2**63 for each in first)
    assert ostinato.random.Stream(6).next() not in first


def test_one_source_of_seeds():
    """ "One source: `utils.set_random_seed`" """
    found = []
    for _ in range(2):
        ostinato.utils.set_random_seed(11)
        model = Sequential([layers.Embedding(5, 4), layers.LSTM(3, dropout=0.5), layers.Dropout(0.5)])
        found.append([model(TOKENS, training=True) for _ in range(2)])
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    assert not torch.equal(found[0][0], found[0][1])


def test_without_a_seed_torch_governs():
    ostinato.random.DEFAULT.seed = None
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        found.append(layers.Dense(4, use_bias=False)(torch.ones(1, 5)))
    assert torch.equal(*found)


# == Calls =========================================================================================================


def test_accepted_and_refused_options():
    """ "`unroll`, `implementation`, `use_cudnn` are accepted; `use_cudnn=True` raises" """
    x = tensor(2, 3, 4)
    plain = layers.LSTM(3)
    plain.build((None, None, 4))
    for options in ({"unroll": True}, {"implementation": 1}, {"use_cudnn": False}, {"use_cudnn": "auto"}):
        layer = layers.LSTM(3, **options)
        layer.build((None, None, 4))
        layer.set_weights(plain.get_weights())
        assert torch.equal(layer(x), plain(x))
    for cls in (layers.LSTM, layers.GRU):
        with pytest.raises(ValueError, match="use_cudnn=True"):
            cls(3, use_cudnn=True)(x)


def test_compile_is_keras_compile_and_torch_compile_is_a_function(nothing_drawn):
    """ "`Module.compile` is shadowed by Keras's `compile`" """
    model = Sequential([layers.Dense(1, input_shape=(2,))])
    model.compile(optimizer="sgd", loss="mse")
    assert model._compiled_call_impl is None and model.optimizer is not None
    torch.compiler.reset()
    compiled = torch.compile(model, backend="eager")
    torch.testing.assert_close(compiled(torch.ones(1, 2)), model(torch.ones(1, 2)))


def test_a_layer_is_a_torch_module():
    """In torch's own containers and loops a layer behaves as any module does."""
    net = nn.Sequential(layers.LSTM(3), nn.Linear(3, 1))
    net(tensor(2, 4, 5))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    losses = []
    for _ in range(20):
        loss = net(tensor(2, 4, 5)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    other = nn.Sequential(layers.LSTM(3), nn.Linear(3, 1))
    other(tensor(2, 4, 5))
    other.load_state_dict(net.state_dict())
    torch.testing.assert_close(other(tensor(2, 4, 5)), net(tensor(2, 4, 5)))
    assert len(list(net.named_modules())) == 4


def test_forward_hooks_fire_on_layers_and_on_layers_in_models():
    fired = []
    model = Sequential([layers.LSTM(3), layers.Dense(2)])
    for layer in (model, *model.layers):
        layer.register_forward_hook(lambda module, args, output: fired.append(type(module).__name__))
        layer.register_forward_pre_hook(lambda module, args: fired.append(f"before {type(module).__name__}"))
    model(tensor(1, 2, 3))
    assert fired == ["before Sequential", "before LSTM", "LSTM", "before Dense", "Dense", "Sequential"]


def test_the_nested_cell_is_built_once():
    """The guide's cell under `functional_call`, a copy and a second call: three ways into `build`."""
    cell = Nested(2, 3, 4)
    layer = layers.RNN(cell)
    inputs = (tensor(1, 2, 5), tensor(1, 2, 2, 3))
    layer(inputs)
    before = [id(weight) for weight in layer.weights]
    layer(inputs)
    layer.build([(1, 2, 5), (1, 2, 2, 3)])
    assert [id(weight) for weight in layer.weights] == before
    for mine, right in zip(flatten(copy.deepcopy(layer)(inputs)), flatten(layer(inputs)), strict=True):
        assert torch.equal(mine, right)
