"""Optimizers change weights as real Keras does, step by step."""

import os

os.environ["KERAS_BACKEND"] = "torch"

from typing import Any

import keras
import numpy as np
import pytest
import torch

from descents import CASES, DRIFTING, gradients, make, names, run, start
from ostinato.training import optimizers


@pytest.mark.parametrize(("name", "options"), CASES, ids=names)
def test_against_keras_over_50_steps(name: str, options: dict[str, Any]) -> None:
    parameters, ours = start(), make(name, options)
    ours.build(parameters)
    variables = [keras.Variable(each.detach().numpy()) for each in start()]
    theirs = getattr(keras.optimizers, name)(**options)
    rate = ours.learning_rate
    for step in range(50):
        run(ours, parameters, range(step, step + 1))
        theirs.apply(gradients(step), variables)
        assert ours.iterations == int(theirs.iterations) == step + 1
        for mine, their in zip(parameters, variables, strict=True):
            drift = (step + 1) * rate * 1e-5 if name in DRIFTING else 0.0
            torch.testing.assert_close(mine.data, their.value.data, rtol=2e-6, atol=1e-6 + drift)


def sgd(o: dict[str, Any], lr: float, w: Any, g: Any, t: int, s: dict[str, Any]) -> Any:
    momentum = o.get("momentum", 0.0)
    s["m"] = momentum * s["m"] - lr * g
    return w + (momentum * s["m"] - lr * g if o.get("nesterov") and momentum else s["m"])


def adam(o: dict[str, Any], lr: float, w: Any, g: Any, t: int, s: dict[str, Any]) -> Any:
    b1, b2 = o.get("beta_1", 0.9), o.get("beta_2", 0.999)
    s["m"], s["v"] = s["m"] + (g - s["m"]) * (1 - b1), s["v"] + (g * g - s["v"]) * (1 - b2)
    s["u"] = np.maximum(s["u"], s["v"]) if o.get("amsgrad") else s["v"]
    return w - lr * np.sqrt(1 - b2**t) / (1 - b1**t) * s["m"] / (np.sqrt(s["u"]) + o.get("epsilon", 1e-7))


def adamw(o: dict[str, Any], lr: float, w: Any, g: Any, t: int, s: dict[str, Any]) -> Any:
    return adam(o, lr, w - lr * o.get("weight_decay", 0.004) * w, g, t, s)


def rmsprop(o: dict[str, Any], lr: float, w: Any, g: Any, t: int, s: dict[str, Any]) -> Any:
    rho = o.get("rho", 0.9)
    s["v"], s["u"] = rho * s["v"] + (1 - rho) * g * g, rho * s["u"] + (1 - rho) * g
    d = lr * g / np.sqrt(s["v"] - (s["u"] ** 2 if o.get("centered") else 0) + o.get("epsilon", 1e-7))
    s["m"] = o.get("momentum", 0.0) * s["m"] + d
    return w - s["m"]


def adagrad(o: dict[str, Any], lr: float, w: Any, g: Any, t: int, s: dict[str, Any]) -> Any:
    s["v"] = s["v"] + g * g
    first = o.get("initial_accumulator_value", 0.1)
    return w - lr * g / np.sqrt(first + s["v"] + o.get("epsilon", 1e-7))


def adadelta(o: dict[str, Any], lr: float, w: Any, g: Any, t: int, s: dict[str, Any]) -> Any:
    rho, epsilon = o.get("rho", 0.95), o.get("epsilon", 1e-7)
    s["v"] = rho * s["v"] + (1 - rho) * g * g
    d = np.sqrt(s["u"] + epsilon) / np.sqrt(s["v"] + epsilon) * g
    s["u"] = rho * s["u"] + (1 - rho) * d * d
    return w - lr * d


def adamax(o: dict[str, Any], lr: float, w: Any, g: Any, t: int, s: dict[str, Any]) -> Any:
    b1, b2 = o.get("beta_1", 0.9), o.get("beta_2", 0.999)
    s["m"], s["u"] = b1 * s["m"] + (1 - b1) * g, np.maximum(b2 * s["u"], np.abs(g))
    return w - lr / (1 - b1**t) * s["m"] / (s["u"] + o.get("epsilon", 1e-7))


def nadam(o: dict[str, Any], lr: float, w: Any, g: Any, t: int, s: dict[str, Any]) -> Any:
    b1, b2 = o.get("beta_1", 0.9), o.get("beta_2", 0.999)
    b = [b1 * (1 - 0.5 * 0.96**i) for i in range(1, t + 2)]
    s["m"], s["v"] = b1 * s["m"] + (1 - b1) * g, b2 * s["v"] + (1 - b2) * g * g
    n = b[t] * s["m"] / (1 - np.prod(b)) + (1 - b[t - 1]) * g / (1 - np.prod(b[:t]))
    return w - lr * n / (np.sqrt(s["v"] / (1 - b2**t)) + o.get("epsilon", 1e-7))


def lion(o: dict[str, Any], lr: float, w: Any, g: Any, t: int, s: dict[str, Any]) -> Any:
    b1, b2 = o.get("beta_1", 0.9), o.get("beta_2", 0.99)
    c = b1 * s["m"] + (1 - b1) * g
    s["m"] = b2 * s["m"] + (1 - b2) * g
    return w - lr * np.sign(c)


FORMULAS = {each.__name__: each for each in (sgd, adam, adamw, rmsprop, adagrad, adadelta, adamax, nadam, lion)}


def keras_formula(name: str, w: Any, grads: list[Any], lr: float, o: dict[str, Any]) -> Any:
    """Keras's published formulas in NumPy float64."""
    state = {key: np.zeros_like(w) for key in "mvu"}
    for t, g in enumerate(grads, start=1):
        w = FORMULAS[name.lower()](o, lr, w, g, t, state)
    return w


@pytest.mark.parametrize(("name", "options"), CASES, ids=names)
def test_against_the_formula_in_float64(name: str, options: dict[str, Any]) -> None:
    parameters, ours = start(torch.float64), make(name, options)
    before = [each.detach().numpy().copy() for each in parameters]
    ours.build(parameters)
    run(ours, parameters, range(50), torch.float64)
    for index, (mine, w) in enumerate(zip(parameters, before, strict=True)):
        assert mine.dtype == torch.float64
        grads = [gradients(step, torch.float64)[index].numpy() for step in range(50)]
        expected = keras_formula(name, w, grads, ours.learning_rate, options)
        np.testing.assert_allclose(mine.detach().numpy(), expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("name", "options"), CASES, ids=names)
def test_bfloat16_and_a_mixture_of_dtypes(name: str, options: dict[str, Any]) -> None:
    options = {**options, "learning_rate": 0.1}
    exact, ours, mixed = start(torch.float64), make(name, options), make(name, options)
    ours.build(exact)
    run(ours, exact, range(3), torch.float64)
    dtypes = [
        torch.bfloat16,
        torch.float32,
        torch.float64,
        torch.bfloat16,
        torch.float32,
        torch.float64,
        torch.bfloat16,
    ]
    parameters = [torch.nn.Parameter(each.detach().to(dtype)) for each, dtype in zip(start(), dtypes, strict=True)]
    mixed.build(parameters)
    for step in range(3):
        for parameter, gradient in zip(parameters, gradients(step), strict=True):
            parameter.grad = gradient.to(parameter.dtype)
        mixed.step()
    for parameter, expected, dtype in zip(parameters, exact, dtypes, strict=True):
        assert parameter.dtype == dtype
        tolerance = 0.05 if dtype == torch.bfloat16 else 1e-5
        scale = 1 + expected.abs().max().item()
        torch.testing.assert_close(parameter.double(), expected, rtol=tolerance, atol=tolerance * scale)


def test_a_centered_variance_is_never_rounded_below_zero() -> None:
    parameter, theirs = torch.nn.Parameter(torch.zeros(64)), keras.Variable(np.zeros(64, "float32"))
    ours = optimizers.RMSprop(0.1, centered=True)
    ours.build([parameter])
    keras_one = keras.optimizers.RMSprop(0.1, centered=True)
    gradient = torch.linspace(1, 1e4, 64)
    for _ in range(300):
        parameter.grad = gradient.clone()
        ours.step()
        keras_one.apply([gradient.clone()], [theirs])
    assert torch.isfinite(parameter).all()
    assert not torch.isfinite(theirs.value).all()  # else the deviation has no reason any more
