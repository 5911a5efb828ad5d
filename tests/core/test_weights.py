"""Weights with Keras's conveniences: what they do, beside Keras's variables, and that torch does not shake them off."""

import copy
import gc
import io
import pickle

import keras
import numpy as np
import pytest
import torch
from torch import nn

import ostinato
from ostinato import Input, Model, Sequential, constraints, layers, regularizers
from ostinato.core.weights import FixedWeight, Variable, Weight
from ostinato.training.metrics.variables import MetricVariable
from side_by_side import tensor

X = torch.arange(6.0).reshape(2, 3)


class Running(layers.Layer):
    """Multiplies by a trained weight, and by the sum of all it has seen; counts its calls."""

    def build(self, input_shape):
        self.total = self.add_weight(shape=(input_shape[-1],), initializer="zeros", trainable=False, name="total")
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, dtype="int64", name="count")
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="scale", constraint="non_neg")

    def call(self, inputs):
        self.total.assign(self.total + inputs.sum(0))
        self.count.assign_add(1)
        return inputs * self.scale * self.total


def seen(layer, calls, dtype=torch.float32):
    """Check what a `Running` layer holds after so many calls on X, and that it can be written to."""
    assert layer.total.tolist() == [3.0 * calls, 5.0 * calls, 7.0 * calls] and layer.total.dtype is dtype
    assert layer.count.item() == calls and layer.count.dtype is torch.int64
    for weight, name in ((layer.total, "total"), (layer.count, "count"), (layer.scale, "scale")):
        before = weight.numpy()
        assert weight.assign_add(1).numpy().tolist() == (before + 1).tolist()
        assert weight.assign_sub(1) is weight and weight.assign(before).numpy().tolist() == before.tolist()
        assert weight.name == name and weight.described == f"{layer.described}: weight {name!r}"
    assert isinstance(layer.scale.constraint, constraints.NonNeg) and layer.total.constraint is None
    assert layer.scale.trainable and not layer.total.trainable


# == What they do ==================================================================================================


def both(shape, dtype="float32", trainable=True):
    """A weight of ours and a variable of Keras, with the same values."""
    values = np.arange(int(np.prod(shape)), dtype="float64").reshape(shape) + 1
    mine = layers.Layer().add_weight(shape, "zeros", dtype=dtype, trainable=trainable)
    theirs = keras.Variable(values, dtype=dtype, trainable=trainable)
    assert mine.assign(values) is mine
    return mine, theirs


VALUES = {
    "a list": [[0.5, 1.5, 2.5], [-1.0, 0.0, 1.0]],
    "float64": np.linspace(-1, 1, 6).reshape(2, 3),
    "float32": np.linspace(-1, 1, 6, dtype="float32").reshape(2, 3),
    "int64": np.arange(6).reshape(2, 3),
    "uint8": np.arange(6, dtype="uint8").reshape(2, 3),
    "bool": np.array([[True, False, True]] * 2),
    "not contiguous": np.arange(6.0).reshape(3, 2).T,
    "a tensor": torch.linspace(-1, 1, 6).reshape(2, 3),
    "a float64 tensor": torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3),
    "a tensor with a gradient": torch.linspace(-1, 1, 6).reshape(2, 3).requires_grad_(),
    "a bfloat16 tensor": torch.linspace(-1, 1, 6, dtype=torch.bfloat16).reshape(2, 3),
}
FEWER = {"a number": 0.5, "a whole number": 2, "a row": np.array([1.0, 2.0, 3.0]), "a scalar": np.float64(0.25)}
DTYPES = ["float32", "float64", "bfloat16", "int32"]


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("method", ["assign", "assign_add", "assign_sub"])
def test_values_are_those_of_keras(method, value, dtype, trainable):
    if dtype == "int32" and trainable:
        trainable = False  # torch has no gradients of whole numbers
    mine, theirs = both((2, 3), dtype, trainable)
    assert getattr(mine, method)(VALUES[value]) is mine
    given = VALUES[value]
    getattr(theirs, method)(given.detach() if isinstance(given, torch.Tensor) else np.asarray(given))
    right = theirs.value.detach()
    assert torch.equal(mine, right) and mine.dtype is right.dtype
    assert mine.requires_grad is trainable and mine.grad_fn is None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", FEWER)
@pytest.mark.parametrize("method", ["assign_add", "assign_sub"])
def test_sums_are_broadcast_as_in_keras(method, value, dtype):
    mine, theirs = both((2, 3), dtype, trainable=False)
    getattr(mine, method)(FEWER[value])
    getattr(theirs, method)(FEWER[value])
    assert torch.equal(mine, theirs.value) and mine.shape == (2, 3)


@pytest.mark.parametrize("trainable", [True, False])
def test_numbers_for_a_scalar(trainable):
    mine, theirs = both((), trainable=trainable)
    for value in (2, 0.5, np.float32(3.25), np.array(-1.0), torch.tensor(7.0), True):
        mine.assign(value)
        theirs.assign(value)
        assert mine.item() == theirs.value.item()


MISFITS = {
    "a number": (1.0, r"expected shape \(2, 3\), got \(\)"),
    "fewer axes": (np.zeros(3), r"expected shape \(2, 3\), got \(3,\)"),
    "a size of 1": (torch.zeros(1, 3), r"expected shape \(2, 3\), got \(1, 3\)"),
    "turned": (np.zeros((3, 2)), r"expected shape \(2, 3\), got \(3, 2\)"),
}
NO_NUMBERS = {
    "text": ("ones", "expected numbers of shape"),
    "nothing": (None, "expected numbers of shape"),
    "uneven lists": ([[1.0, 2.0, 3.0], [1.0]], "expected numbers of shape"),
    "an object": (object(), "expected numbers of shape"),
    "complex numbers": (np.full((2, 3), 1j), r"expected values of torch.float32, got torch.complex128.*\.real"),
}


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("what", [*MISFITS, *NO_NUMBERS])
def test_errors_say_whose_weight_it_is_what_was_expected_and_what_came(what, trainable):
    layer = layers.Layer(name="mine")
    layer.kernel = layer.add_weight((2, 3), "ones", trainable=trainable)
    value, told = {**MISFITS, **NO_NUMBERS}[what]
    with pytest.raises(ValueError, match=rf"Layer 'mine': weight 'kernel': {told}"):
        layer.kernel.assign(value)
    assert layer.kernel.eq(1).all()
    if what in MISFITS:
        with pytest.raises(ValueError):
            both((2, 3))[1].assign(value)


def test_a_sum_that_would_be_larger_than_the_weight():
    layer = layers.Layer(name="mine")
    layer.kernel = layer.add_weight((3,), "ones", trainable=False)
    with pytest.raises(ValueError, match=r"Layer 'mine': weight 'kernel': expected shape \(3,\), got \(2, 3\)"):
        layer.kernel.assign_add(np.ones((2, 3)))


def test_a_symbolic_tensor_is_no_value():
    layer = layers.Dense(2, name="mine")
    layer.build((None, 3))
    with pytest.raises(ValueError, match=r"Dense 'mine': weight 'bias': expected numbers.*SymbolicTensor"):
        layer.bias.assign(Input((2,)))


def test_set_weights_writes_nothing_unless_everything_fits():
    layer = layers.Dense(2, name="mine")
    layer.build((None, 3))
    before = layer.get_weights()
    good = [np.ones((3, 2)), np.ones(2)]
    for bad, told in (
        ([good[0]], r"Dense 'mine': set_weights got 1 arrays, expected 2"),
        ([good[0], np.ones(3)], r"Dense 'mine': set_weights got shape \(3,\) for 'bias', number 1; expected \(2,\)"),
        ([good[0], ["a", "b"]], r"Dense 'mine': weight 'bias': expected numbers of shape \(2,\)"),
        ([good[0], np.array([1j, 2j])], r"Dense 'mine': weight 'bias': expected values of torch.float32, got"),
    ):
        with pytest.raises(ValueError, match=told):
            layer.set_weights(bad)
        for mine, right in zip(layer.get_weights(), before, strict=True):
            np.testing.assert_array_equal(mine, right)
    layer.set_weights([torch.ones(3, 2, dtype=torch.float64), [3, 4]])
    assert layer.kernel.eq(1).all() and layer.bias.tolist() == [3, 4] and layer.bias.dtype is torch.float32


def test_a_weight_written_onto_itself():
    mine, _ = both((2, 3), trainable=False)
    assert mine.assign(mine).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert mine.assign(mine.flip(0)).tolist() == [[4, 5, 6], [1, 2, 3]]


def test_numpy_and_what_numpy_makes_of_a_weight_are_copies():
    for trainable in (True, False):
        mine, _ = both((2, 3), trainable=trainable)
        for values in (mine.numpy(), np.asarray(mine), np.array(mine, int), mine.numpy(force=True)):
            assert values.tolist() == [[1, 2, 3], [4, 5, 6]]
            values[:] = 0
        assert mine.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert both((2,), "bfloat16")[0].numpy().dtype == np.float32


@pytest.mark.parametrize("trainable", [True, False])
def test_what_is_computed_from_a_weight_is_a_plain_tensor(trainable):
    mine, _ = both((2, 3), trainable=trainable)
    assert isinstance(mine, Variable) and mine.value is mine
    for made in (mine + 1, mine.detach(), mine.data, mine.clone(), mine.double(), torch.exp(mine), mine[0]):
        assert type(made) is torch.Tensor
    assert str(mine).startswith(f"{type(mine).__name__} containing:\ntensor([[1., 2., 3.]")
    assert ("requires_grad" in repr(mine)) is trainable


@pytest.mark.parametrize("trainable", [True, False])
def test_a_parameter_can_be_made_of_a_weight(trainable):
    """torch's `weight_norm` does so"""
    mine, _ = both((2, 3), trainable=trainable)
    for requires_grad in (True, False):
        made = nn.Parameter(mine, requires_grad)
        assert isinstance(made, nn.Parameter) and made.requires_grad is requires_grad
        assert made.data_ptr() == mine.data_ptr() and made.assign_add(1).tolist() == mine.tolist()
        module = layers.Dense(2)
        module.extra = made
        assert list(dict(nn.Module.named_parameters(module))) == ["extra"]
    assert nn.Parameter(mine.detach()).requires_grad
    assert isinstance(mine, nn.Parameter) is trainable


@pytest.mark.parametrize("what", ["total", "scale"])
def test_autograd_is_told_of_a_write(what):
    """A gradient that needs the old value is refused, as after any write in place; it is never wrong."""
    layer = Running()
    layer.build((None, 3))
    output = X.clone().requires_grad_() * getattr(layer, what)
    getattr(layer, what).assign([5.0, 5.0, 5.0])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_writes_in_every_mode(mode):
    layer = Running()
    with mode():
        layer(X)
        layer(X)
    seen(layer, 2)
    layer(X.clone().requires_grad_()).sum().backward()
    assert layer.scale.grad.tolist() == [3.0 * 9, 5.0 * 15, 7.0 * 21]


@pytest.mark.gpu
def test_values_from_another_device():
    layer = Running()
    layer.build((None, 3))
    layer.total.assign(torch.ones(3, device="cuda"))
    layer.to("cuda")
    layer.total.assign_add(torch.ones(3)).assign_add(np.ones(3))
    assert layer.total.device.type == "cuda" and layer.total.tolist() == [3, 3, 3]


# == Names, constraints, regularizers, what is trained ================================================================


def test_constraints_and_regularizers_are_those_of_the_layer():
    layer = layers.LSTM(2, kernel_regularizer="l1", recurrent_constraint="max_norm", bias_constraint="non_neg")
    layer.build((None, None, 3))
    assert isinstance(layer.kernel.regularizer, regularizers.L1) and layer.kernel.constraint is None
    assert isinstance(layer.recurrent_kernel.constraint, constraints.MaxNorm)
    assert isinstance(layer.cell.bias.constraint, constraints.NonNeg) and layer.bias.regularizer is None
    assert [weight.name for weight in layer.weights] == ["kernel", "recurrent_kernel", "bias"]


def penalty(weight):
    return 100.0 * weight.sum()


def loaded_anew(model):
    model.load_state_dict(copy.deepcopy(model.state_dict()), assign=True)
    return model


LATER = {
    "at once": lambda model: model,
    "double": lambda model: model.double(),
    "copied": copy.deepcopy,
    "pickled": lambda model: pickle.loads(pickle.dumps(model)),
    "load, assign": loaded_anew,
}


@pytest.mark.parametrize("how", LATER)
def test_a_constraint_and_a_regularizer_that_are_set_later_are_kept_to(how):
    model = Sequential([layers.Dense(1, kernel_initializer="ones", use_bias=False)])
    model.build((None, 2))
    model.layers[0].kernel.constraint, model.layers[0].kernel.regularizer = constraints.NonNeg(), penalty
    model = LATER[how](model)
    kernel = model.layers[0].kernel
    assert [loss.item() for loss in model.losses] == [200.0]
    model.compile(ostinato.optimizers.SGD(0.1), "mse")
    data = np.zeros((4, 2), "float64" if how == "double" else "float32")
    model.fit(data, np.zeros((4, 1)), verbose=0)
    assert kernel.tolist() == [[0.0], [0.0]]
    kernel.constraint = None
    model.fit(data, np.zeros((4, 1)), verbose=0)
    torch.testing.assert_close(kernel.data.float(), torch.full((2, 1), -10.0))


def test_what_is_neither_callable_nor_none_is_refused_and_so_is_a_weight_of_no_layer():
    layer = layers.Dense(1, name="mine")
    layer.build((None, 2))
    for what in ("constraint", "regularizer"):
        with pytest.raises(ValueError, match=f"Dense 'mine': weight 'kernel': {what} must be callable or None, got 3"):
            setattr(layer.kernel, what, 3)
    alone = copy.deepcopy(layer.kernel)
    assert alone.constraint is None and alone.described == "weight" and alone.name == "weight"
    with pytest.raises(ValueError, match="no layer's weight"):
        alone.constraint = constraints.NonNeg()
    kernel = layer.kernel
    del layer
    gc.collect()  # layers and what they are made of refer to each other
    assert kernel.constraint is None and kernel.assign([[1.0], [2.0]]).tolist() == [[1.0], [2.0]]


def test_trainable():
    layer = Running()
    layer.build((None, 3))
    layer.scale.trainable = False
    assert not layer.scale.requires_grad and layer.trainable_weights == [] and len(layer.non_trainable_weights) == 3
    layer.scale.trainable = True
    assert len(layer.trainable_weights) == 1
    layer.total.trainable = False
    with pytest.raises(ValueError, match=r"weight 'total': it was made with trainable=False.*add_weight"):
        layer.total.trainable = True
    layer.trainable = False
    layer.trainable = True
    assert [weight.trainable for weight in layer.weights] == [True, False, False]


# == What torch does to parameters and buffers =======================================================================


def through_meta(layer):
    values = layer.get_weights()
    layer.to("meta")
    assert layer.total.is_meta and layer.total.assign(np.ones(3)) is layer.total
    layer.to_empty(device="cpu")
    layer.set_weights(values)
    return layer


def loaded(layer, **options):
    other = Running()
    other.build((None, 3))
    other.load_state_dict({key: value.clone() for key, value in layer.state_dict().items()}, **options)
    return other


def saved(layer):
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def swapping(layer, act):
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        return act(layer)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)


def by_hand(layer):
    for kept in (layer._parameters, layer._buffers):
        for name, weight in kept.items():
            kept[name] = nn.Parameter(weight.data) if weight.requires_grad else weight.data
    return layer


SURVIVED = {
    "nothing": lambda layer: layer,
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
    "torch.save": saved,
    "to": lambda layer: layer.to("cpu"),
    "to and back": lambda layer: layer.double().float(),
    "to(dtype) with swapped tensors": lambda layer: swapping(layer, lambda each: each.double().float()),
    "meta and to_empty": through_meta,
    "load_state_dict": loaded,
    "load_state_dict(assign=True)": lambda layer: loaded(layer, assign=True),
    "load with swapped tensors": lambda layer: swapping(layer, loaded),
    "requires_grad_": lambda layer: layer.requires_grad_(False).requires_grad_(True),
    "share_memory": lambda layer: layer.share_memory(),
    "plain tensors in their places": by_hand,
}


OF_A_LAYER = ("copy", "meta and to_empty", "plain tensors in their places")
CASES = [
    (how, inside)
    for how in SURVIVED
    for inside in (False, True)
    if not (inside and how.startswith((*OF_A_LAYER, "load")))
]


@pytest.mark.parametrize(("how", "inside"), CASES)
def test_conveniences_survive(how, inside):
    """inside: what is moved or copied is a model with the layer in it."""
    model = Sequential([Running()]) if inside else Running()
    model(X)
    other = SURVIVED[how](model)
    layer, before = (other.layers[0], model.layers[0]) if inside else (other, model)
    seen(layer, 1)
    other(X)
    seen(layer, 2)
    assert list(dict(layer.named_parameters())) == ["scale"] and list(dict(layer.named_buffers())) == ["total", "count"]
    if how != "plain tensors in their places":
        kinds = [Weight, FixedWeight, FixedWeight]
        assert [type(weight) for weight in layer.weights] == kinds
        assert layer.total is dict(layer.named_buffers())["total"] is layer.non_trainable_weights[0]
        layer.scale.constraint = None  # it is this layer's, not the one's that it was copied from
        assert Weight.constraint.fget(layer.scale) is None
    if how in ("deepcopy", "pickle", "torch.save"):
        seen(before, 1)


def test_a_weight_that_is_another_dtype_of_itself():
    layer = Running()
    layer(X)
    layer.double()
    layer(X.double())
    seen(layer, 2, torch.float64)
    layer = Running(dtype="bfloat16")
    layer(X.bfloat16())
    seen(layer, 1, torch.bfloat16)


def test_files_of_weights_name_no_class_of_ours():
    layer = Running()
    layer(X)
    for kept in (layer.state_dict(), layer.state_dict(keep_vars=True), layer.weights, layer.scale, layer.total):
        file = io.BytesIO()
        torch.save(kept, file)
        file.seek(0)
        again = torch.load(file, weights_only=True)
        assert type(again) is not Weight and b"ostinato" not in pickle.dumps(kept)
    assert all(type(value) is torch.Tensor for value in layer.state_dict().values())


def test_a_parameter_of_ones_own_is_itself_put_in_a_weights_place():
    layer = Running()
    layer(X)
    mine = nn.Parameter(torch.full((3,), 2.0))
    layer.scale = mine
    assert layer.scale is mine is layer.trainable_weights[0] and layer.scale.assign_add(1) is mine
    plain = torch.zeros(3)
    layer.total = plain
    layer(X)
    assert layer.total.tolist() == plain.tolist() == [3, 5, 7] and type(plain) is torch.Tensor
    layer.scale = nn.Parameter(torch.ones(3))
    layer.total.assign([3, 5, 7])
    layer.count.assign(1)
    seen(layer, 1)


def test_a_layer_that_replaces_its_buffer_as_torch_has_it():
    class Torchlike(layers.Layer):
        def build(self, input_shape):
            self.total = self.add_weight(shape=(3,), initializer="zeros", trainable=False)

        def call(self, inputs):
            self.total = self.total + inputs.sum(0)
            return inputs * self.total

    layer = Torchlike()
    layer(X)
    layer(X)
    assert layer.total.tolist() == [6, 10, 14] and list(layer.state_dict()) == ["total"]
    assert layer.total.assign([0, 0, 0]).tolist() == [0, 0, 0]


def test_one_weight_in_two_layers():
    first, second = Running(name="first"), Running(name="second")
    first(X)
    second(X)
    second.total, second.scale = first.total, first.scale
    second(X)
    assert second.total is first.total and second.scale is first.scale
    assert first.total.tolist() == [6, 10, 14] and first.total.described == "Running 'first': weight 'total'"
    assert list(second.state_dict()) == ["scale", "total", "count"]


def functional(layer, weights, *args):
    return torch.func.functional_call(layer, weights, args)


def test_functional_call_reads_and_writes_what_it_is_given():
    layer = Running()
    layer(X)
    given = {"total": torch.ones(3), "count": torch.tensor(5), "scale": torch.full((3,), 2.0, requires_grad=True)}
    output = functional(layer, given, X)
    seen(layer, 1)
    assert given["total"].tolist() == [4, 6, 8] and given["count"].item() == 6
    assert all(type(value) is torch.Tensor for value in given.values())
    assert torch.equal(output, X * 2 * given["total"])
    output.sum().backward()
    assert torch.equal(given["scale"].grad, X.sum(0) * given["total"])


class Shifted(Running):
    """Uses its weights, and writes to none."""

    def call(self, inputs):
        return inputs * self.scale + self.total


def test_gradients_reach_what_functional_call_puts_in_a_buffers_place():
    layer = Shifted()
    layer(X)
    given = {name: tensor(3, seed=seed).requires_grad_() for seed, name in enumerate(("total", "scale"))}
    output = functional(layer, given, X)
    assert torch.equal(output, X * given["scale"] + given["total"])
    output.sum().backward()
    assert given["total"].grad.tolist() == [2, 2, 2] and torch.equal(given["scale"].grad, X.sum(0))
    assert layer.scale.grad is None and not layer.total.requires_grad


def test_functional_call_under_vmap():
    layer = Shifted()
    layer(X)
    given = {"total": tensor(4, 3), "scale": tensor(4, 3, seed=1)}
    found = torch.func.vmap(functional, (None, 0, None))(layer, given, X)
    assert torch.equal(found, X * given["scale"][:, None] + given["total"][:, None])


# == In models ====================================================================================================


class TheirRunning(keras.layers.Layer):
    """`Running` on Keras."""

    def build(self, input_shape):
        self.total = self.add_weight(shape=(input_shape[-1],), initializer="zeros", trainable=False, name="total")
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, dtype="int64", name="count")
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="scale", constraint="non_neg")

    def call(self, inputs):
        self.total.assign(self.total + keras.ops.sum(inputs, 0))
        self.count.assign_add(1)
        return inputs * self.scale * self.total


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("built", [False, True])
def test_in_fit_as_in_keras(built, jit):
    """Building a model by a call on data enters nothing: each batch counts once."""
    x = np.random.default_rng(0).uniform(0.1, 1, (12, 3)).astype("float32")
    y = np.random.default_rng(1).uniform(0.1, 1, (12, 3)).astype("float32")
    ours, theirs = Sequential([Running()]), keras.Sequential([TheirRunning()])
    if built:
        ours.build((None, 3))
    ours.compile(ostinato.optimizers.SGD(0.001), "mse", jit_compile=jit)
    theirs.compile(keras.optimizers.SGD(0.001), "mse", jit_compile=False)
    for model in (ours, theirs):
        model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
        model.predict(x, batch_size=4, verbose=0)
    mine, right = ours.layers[0], theirs.layers[0]
    assert mine.count.item() == int(right.count) == 9
    np.testing.assert_allclose(mine.total.numpy(), 3 * x.sum(0), rtol=1e-5)
    for weight, value in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(weight, value, rtol=1e-5)


def test_what_build_assigns_lasts():
    class Begins(Running):
        def build(self, input_shape):
            super().build(input_shape)
            self.total.assign([1.0, 2.0, 3.0])
            self.scale.assign([4.0, 5.0, 6.0])

    for make in (lambda: Sequential([Begins()]), lambda: Model(x := Input((3,)), Begins()(x))):
        model = make()
        model.compile(ostinato.optimizers.SGD(0.0), "mse")
        model.fit(X, X, verbose=0)
        assert model.layers[-1].total.tolist() == [4, 7, 10] and model.layers[-1].scale.tolist() == [4, 5, 6]


def test_drawing_changes_nothing():
    x = Input((3,))
    layer = Running()
    model = Model(x, layer(x))
    model.compute_output_shape((None, 3))
    assert layer.total.eq(0).all() and layer.count.item() == 0
    model(X)
    seen(layer, 1)


def test_a_weight_caught_in_a_graph_stays_what_it_is():
    x = Input((3,))
    layer = Running()
    model = Model(x, layer(x) + layer.total)
    model.trainable = False
    model.trainable = True
    assert not layer.total.requires_grad and [name for name, _ in model.named_parameters()] == ["0.scale"]
    assert list(model.state_dict()) == ["0.scale", "0.total", "0.count"] and len(model.weights) == 3
    assert torch.equal(model(X), X * layer.total + layer.total)


# == torch.compile ==================================================================================================


class Written(layers.Layer):
    """Writes to a weight that is trained, then uses it."""

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(3, 3), initializer="ones")

    def call(self, inputs):
        self.kernel.assign(self.kernel * 0.5)
        return inputs @ self.kernel


@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
@pytest.mark.parametrize("make", [Running, Written])
def test_compiled_without_a_break_and_with_the_right_gradients(make, backend):
    """Inductor computes cheap things again for the backward: from a weight that was written to, it would be wrong."""
    torch.compiler.reset()
    quick, plain = make(), make()
    for layer in (quick, plain):
        layer.build((None, 3))
    compiled = torch.compile(quick, backend=backend, fullgraph=True)
    for _ in range(3):
        output, right = compiled(X), plain(X)
        assert torch.equal(output, right)
    output.sum().backward()
    right.sum().backward()
    for mine, other in zip(quick.weights, plain.weights, strict=True):
        assert torch.equal(mine, other) and type(mine) is type(other)
        assert mine.grad is None if other.grad is None else torch.equal(mine.grad, other.grad)
    with torch.no_grad():
        assert torch.equal(compiled(X), plain(X))
    if make is Running:
        seen(quick, 4)


def test_a_compiled_layer_follows_what_is_loaded_and_assigned():
    torch.compiler.reset()
    layer = Running()
    layer.build((None, 3))
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    compiled(X)
    layer.total.assign(np.zeros(3))
    layer.scale.assign([2.0, 2.0, 2.0])
    assert torch.equal(compiled(X), 2 * X * torch.tensor([3.0, 5.0, 7.0]))
    layer.load_state_dict({key: torch.zeros_like(value) for key, value in layer.state_dict().items()}, assign=True)
    layer.scale.assign([1.0, 1.0, 1.0])
    assert torch.equal(compiled(X), X * torch.tensor([3.0, 5.0, 7.0]))
    seen(layer, 1)


@pytest.mark.filterwarnings("ignore:While compiling, we found certain side effects")
@pytest.mark.parametrize("make", [Running, lambda: layers.BatchNormalization().eval()])
def test_exported_strictly(make):
    """As buffers, which an exported program may write to."""
    layer, twin = make(), make()
    layer.build((None, 3))
    twin.build((None, 3))
    program = torch.export.export(layer, (X,), strict=True)
    kinds = {spec.target: spec.kind.name for spec in program.graph_signature.input_specs if spec.target}
    assert {name for name, kind in kinds.items() if kind == "BUFFER"} == set(dict(layer.named_buffers()))
    exported = program.module()
    for _ in range(3):
        assert torch.equal(exported(X), twin(X))


def test_functional_call_inside_compiled_code():
    torch.compiler.reset()
    layer = Running()
    layer.build((None, 3))
    given = {"total": torch.ones(3), "count": torch.tensor(5), "scale": torch.full((3,), 2.0)}
    output = torch.compile(functional, backend="aot_eager", fullgraph=True)(layer, given, X)
    assert torch.equal(output, X * 2 * torch.tensor([4.0, 6.0, 8.0])) and given["count"].item() == 6
    assert layer.count.item() == 0


# == One concept ====================================================================================================


def test_the_states_of_metrics_are_variables_too():
    state = ostinato.metrics.Metric().add_variable((2,), "ones", name="state")
    assert isinstance(state, MetricVariable) and isinstance(state, Variable) and not isinstance(state, nn.Parameter)
    assert state.assign_add(1).assign_sub([0.5, 1.0]).numpy().tolist() == [1.5, 1.0]
    with pytest.raises(ValueError, match="variable 'state': expected numbers of shape"):
        state.assign("two")
