"""Regularizers against the real Keras: values, gradients, names, configs, what is refused."""

import keras
import numpy as np
import pytest
import torch
from keras.src.regularizers import ALL_OBJECTS_DICT

import ostinato
from ostinato import layers, regularizers

CASES = [
    ("L1", {}),
    ("L1", {"l1": 0.3}),
    ("L1", {"l1": None}),
    ("L2", {}),
    ("L2", {"l2": 2}),
    ("L2", {"l2": 0.0}),
    ("L1L2", {}),
    ("L1L2", {"l1": 0.1}),
    ("L1L2", {"l1": 0.1, "l2": 0.2}),
    ("L1L2", {"l1": None, "l2": 0.2}),
    ("OrthogonalRegularizer", {}),
    ("OrthogonalRegularizer", {"factor": 0.5, "mode": "columns"}),
    ("OrthogonalRegularizer", {"factor": 0.5, "mode": "rows"}),
    ("Regularizer", {}),
]
cases = pytest.mark.parametrize(("name", "options"), CASES, ids=str)


def test_all_of_keras_are_there_and_nothing_else():
    assert sorted(regularizers.__all__) == sorted(name for name in dir(keras.regularizers) if not name.startswith("_"))
    assert all(getattr(regularizers, name).__doc__ for name in regularizers.__all__)


@cases
@pytest.mark.parametrize("shape", [(3, 4), (1, 5), (6, 2)], ids=str)
def test_values_and_gradients(name, options, shape):
    def run(library):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
        penalty = getattr(library.regularizers, name)(**options)(x)
        if not isinstance(penalty, torch.Tensor) or not penalty.requires_grad:
            return torch.as_tensor(penalty), torch.zeros(shape)
        return penalty.detach(), torch.autograd.grad(penalty, x)[0]

    for ours, right in zip(run(ostinato), run(keras), strict=True):
        torch.testing.assert_close(ours, right, equal_nan=True, check_dtype=False)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@cases
def test_dtype_and_arrays(name, options, dtype):
    regularizer = getattr(regularizers, name)(**options)
    x = torch.randn(3, 4, dtype=dtype)
    assert regularizer(x).dtype is dtype and regularizer(x).shape == ()
    if dtype is torch.float64:
        torch.testing.assert_close(regularizer(x.numpy()), regularizer(x))


@pytest.mark.parametrize("name", sorted(ALL_OBJECTS_DICT))
def test_names_and_configs(name):
    made, right = regularizers.get(name), keras.regularizers.get(name)
    assert type(made).__name__ == type(right).__name__
    if name.lower() == "regularizer":
        with pytest.raises(NotImplementedError, match="get_config"):
            made.get_config()
        return
    assert made.get_config() == pytest.approx(right.get_config())
    for config in (regularizers.serialize(made), keras.regularizers.serialize(right)):
        again = regularizers.deserialize(config)
        assert type(again) is type(made) and again.get_config() == pytest.approx(made.get_config())


def test_get_takes_classes_callables_and_none():
    assert regularizers.get(None) is None
    assert isinstance(regularizers.get(regularizers.L2), regularizers.L2)
    assert regularizers.get(torch.sum) is torch.sum
    assert regularizers.l1_l2 is regularizers.L1L2 and isinstance(regularizers.get("l1_l2"), regularizers.L1L2)


@pytest.mark.parametrize(
    "regularizer",
    ["l1", "l2", "l1_l2", regularizers.OrthogonalRegularizer(0.1, "columns")],
    ids=["l1", "l2", "l1_l2", "orthogonal"],
)
def test_in_a_layer(regularizer):
    layer = layers.Dense(3, kernel_regularizer=regularizer)
    layer.build((None, 4))
    torch.testing.assert_close(layer.losses[0], regularizers.get(regularizer)(layer.kernel))
    again = layers.Dense.from_config(layer.get_config())
    again.build((None, 4))
    again.set_weights(layer.get_weights())
    assert again.losses[0].item() == layer.losses[0].item()


MISUSES = {
    "negative": (lambda: regularizers.L1(-0.1), "L1: l1 must be a finite number, 0 or more, got -0.1"),
    "infinite": (lambda: regularizers.L2(float("inf")), "L2: l2 must be a finite number"),
    "NaN": (lambda: regularizers.L1L2(l2=float("nan")), "L1L2: l2 must be a finite number"),
    "text": (lambda: regularizers.L1L2("l1"), "L1L2: l1 must be"),
    "factor": (lambda: regularizers.OrthogonalRegularizer(-1.0), "factor must be"),
    "mode": (lambda: regularizers.OrthogonalRegularizer(mode="row"), "must be 'rows' or 'columns', got 'row'"),
    "no matrix": (lambda: regularizers.OrthogonalRegularizer()(np.ones(3)), r"expected a matrix, got shape \(3,\)"),
    "misspelt": (lambda: regularizers.get("l1_l3"), "regularizer 'l1_l3' is not known. Did you mean 'l1_l2'"),
    "a number": (lambda: regularizers.get(0.01), "expected a name, a config or a callable"),
}


@pytest.mark.parametrize("name", MISUSES)
def test_misuse(name):
    wrong, message = MISUSES[name]
    with pytest.raises(ValueError, match=message):
        wrong()
