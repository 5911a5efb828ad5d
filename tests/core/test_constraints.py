"""Constraints against the real Keras: values, gradients, names, configs, what is refused; after an optimizer's step."""

import keras
import numpy as np
import pytest
import torch
from keras.src.constraints import ALL_OBJECTS_DICT

import ostinato
from ostinato import constraints, layers

CASES = [
    ("MaxNorm", {}),
    ("MaxNorm", {"max_value": 0.5, "axis": 1}),
    ("MaxNorm", {"max_value": 1.5, "axis": [0, 1]}),
    ("NonNeg", {}),
    ("UnitNorm", {}),
    ("UnitNorm", {"axis": -1}),
    ("UnitNorm", {"axis": (0, 1)}),
    ("MinMaxNorm", {}),
    ("MinMaxNorm", {"min_value": 1.0, "max_value": 2.0, "axis": 1}),
    ("MinMaxNorm", {"min_value": 1.0, "max_value": 1.5, "rate": 0.3, "axis": [0, 1]}),
    ("Constraint", {}),
]
cases = pytest.mark.parametrize(("name", "options"), CASES, ids=str)


def test_all_of_keras_are_there_and_nothing_else():
    assert sorted(constraints.__all__) == sorted(name for name in dir(keras.constraints) if not name.startswith("_"))
    assert all(getattr(constraints, name).__doc__ for name in constraints.__all__)


@cases
@pytest.mark.parametrize("shape", [(3, 4), (1, 5), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_values_and_gradients(name, options, shape, scale):
    def run(library):
        w = (scale * torch.randn(shape, generator=torch.Generator().manual_seed(1))).requires_grad_()
        out = getattr(library.constraints, name)(**options)(w)
        (grad,) = torch.autograd.grad((out * torch.linspace(-1, 1, out.numel()).reshape(out.shape)).sum(), w)
        return out.detach(), grad

    for ours, right in zip(run(ostinato), run(keras), strict=True):
        torch.testing.assert_close(ours, right)


@cases
def test_dtypes_arrays_and_zeros(name, options):
    constraint = getattr(constraints, name)(**options)
    w = torch.randn(3, 4, dtype=torch.float64)
    assert constraint(w).dtype is torch.float64
    np.testing.assert_array_equal(constraint(w.numpy()), constraint(w))
    assert torch.equal(constraint(torch.zeros(3, 4)), torch.zeros(3, 4))


def test_non_neg_lets_no_nan_turn_into_zero():
    assert torch.isnan(constraints.NonNeg()(torch.tensor([float("nan")]))).all()
    assert constraints.NonNeg()(torch.tensor([float("-inf"), float("inf")])).tolist() == [0.0, float("inf")]


@pytest.mark.parametrize("name", sorted(ALL_OBJECTS_DICT))
def test_names_and_configs(name):
    made, right = constraints.get(name), keras.constraints.get(name)
    assert type(made).__name__ == type(right).__name__
    assert made.get_config() == right.get_config()
    for config in (constraints.serialize(made), keras.constraints.serialize(right)):
        again = constraints.deserialize(config)
        assert type(again) is type(made) and again.get_config() == made.get_config()


def test_get_takes_classes_callables_and_none():
    assert constraints.get(None) is None
    assert isinstance(constraints.get(constraints.NonNeg), constraints.NonNeg)
    assert constraints.get(torch.relu) is torch.relu
    assert constraints.max_norm is constraints.MaxNorm


@cases
def test_fit_keeps_weights_where_they_may_be(name, options):
    if options.get("axis") == [0, 1] or options.get("axis") == (0, 1) or name == "Constraint":
        options = {key: value for key, value in options.items() if key != "axis"}
    x = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
    y = np.random.default_rng(1).normal(size=(16, 2)).astype("float32")
    weights = []
    for library in (ostinato, keras):
        constraint = getattr(library.constraints, name)(**options)
        model = library.Sequential([library.Input((3,)), library.layers.Dense(2, kernel_constraint=constraint)])
        model.set_weights([np.linspace(-2, 2, 6, dtype="float32").reshape(3, 2), np.zeros(2, "float32")])
        model.compile(optimizer=library.optimizers.SGD(0.1), loss="mse")
        model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for ours, right in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("identifier", "message"),
    [("max_nrom", "Did you mean 'max_norm'"), (3, "expected a name, a config or a callable")],
)
def test_misuse(identifier, message):
    with pytest.raises(ValueError, match=message):
        layers.Dense(2, kernel_constraint=identifier)
