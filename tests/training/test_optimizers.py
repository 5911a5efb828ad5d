"""Optimizers change weights as real Keras does, step by step."""

import os

os.environ["KERAS_BACKEND"] = "torch"

from typing import Any

import keras
import numpy as np
import pytest
import torch

from descents import CASES, gradients, make, names, run, start
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
            # Keras takes powers of beta_2 in float32, which puts a few parts in a million into each of Adam's steps.
            drift = (step + 1) * rate * 1e-5 if name == "Adam" else 0.0
            torch.testing.assert_close(mine.data, their.value.data, rtol=2e-6, atol=1e-6 + drift)


def keras_formula(name: str, w: Any, grads: list[Any], lr: float, o: dict[str, Any]) -> Any:
    """Keras's published formulas in NumPy float64."""
    m, v, a, hat = (np.zeros_like(w) for _ in range(4))
    for t, g in enumerate(grads, start=1):
        if name == "SGD":
            momentum = o.get("momentum", 0.0)
            m = momentum * m - lr * g
            w = w + (momentum * m - lr * g if o.get("nesterov") and momentum else m)
        elif name == "Adam":
            b1, b2 = o.get("beta_1", 0.9), o.get("beta_2", 0.999)
            m, v = m + (g - m) * (1 - b1), v + (g * g - v) * (1 - b2)
            hat = np.maximum(hat, v) if o.get("amsgrad") else v
            w = w - lr * np.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(hat) + o.get("epsilon", 1e-7))
        else:
            rho = o.get("rho", 0.9)
            v, a = rho * v + (1 - rho) * g * g, rho * a + (1 - rho) * g
            d = lr * g / np.sqrt(v - (a * a if o.get("centered") else 0) + o.get("epsilon", 1e-7))
            m = o.get("momentum", 0.0) * m + d
            w = w - m
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
