"""Optimizers as Keras's own training steps call them: apply, apply_gradients, variables."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import functools
from collections.abc import Callable
from typing import Any

import keras
import pytest
import torch

from descents import CASES, OPTIONS, gradients, make, names, run, start
from ostinato.training import optimizers


@pytest.mark.parametrize("options", [*OPTIONS, {}], ids=names)
def test_apply_is_a_step(options: dict[str, Any]) -> None:
    one, two, three = start(), start(), start()
    stepping, applying, pairing = (make("Adam", options) for _ in range(3))
    stepping.build(one)
    for step in range(5):
        run(stepping, one, range(step, step + 1))
        applying.apply(gradients(step), two) if step % 2 == 0 else applying.apply(gradients(step))
        assert pairing.apply_gradients(zip(gradients(step), three, strict=True)) == stepping.iterations
        assert applying.iterations == stepping.iterations
    for a, b, c in zip(one, two, three, strict=True):
        assert torch.equal(a, b) and torch.equal(a, c)
        assert b.grad is None


def test_gradients_on_the_parameters_do_not_count_and_stay() -> None:
    one, two = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(2))
    optimizer = optimizers.SGD(1.0)
    optimizer.build([one, two])
    kept = one.grad = torch.full((2,), 100.0)
    other = two.grad = torch.full((2,), 7.0)
    optimizer.apply([torch.ones(2)], [one])  # some of the variables
    assert torch.equal(one.data, -torch.ones(2)) and torch.equal(two.data, torch.zeros(2))
    assert one.grad is kept and two.grad is other
    with pytest.raises(ValueError, match="sparse_coo"):
        optimizer.apply([torch.ones(2).to_sparse()], [two])
    assert one.grad is kept and two.grad is other


def test_hooks_run_and_gradients_of_another_dtype_are_taken() -> None:
    weight = torch.nn.Parameter(torch.zeros(2, dtype=torch.bfloat16))
    optimizer, calls = optimizers.SGD(0.5), []
    optimizer.build([weight])
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    optimizer.apply([torch.ones(2, requires_grad=True) * 2])
    assert calls == ["after"] and weight.data.tolist() == [-1.0, -1.0]


def test_missing_gradients() -> None:
    parameters, optimizer = start(), optimizers.SGD(0.1)
    optimizer.apply([])
    assert optimizer.iterations == 0 and not optimizer.built
    named = [(f"layer.{number}", each) for number, each in enumerate(parameters)]
    optimizer.build(named)
    grads: list[Any] = gradients(0)
    grads[2] = None
    with pytest.warns(UserWarning, match=r"SGD 'sgd': gradients do not exist for variables \['layer.2'\]"):
        optimizer.apply(grads, parameters)
    assert torch.equal(parameters[2], start()[2]) and not torch.equal(parameters[0], start()[0])


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda o, p: optimizers.SGD().apply([torch.ones(1)]), ValueError, r"apply\(grads\) needs trainable_variables"),
        (lambda o, p: o.apply([None] * 7), ValueError, "no gradients provided for any variable; all 7 are None"),
        (lambda o, p: o.apply(gradients(0)[:3]), ValueError, "apply got 3 gradients for 7 trainable variables"),
        (lambda o, p: o.apply([torch.ones(1)], [torch.nn.Parameter(torch.ones(1))]), ValueError, "unknown variable of"),
        (
            lambda o, p: o.apply([torch.ones(3)], p[:1]),
            ValueError,
            r"variable 0 \(28, 12\) must be \(28, 12\) on cpu, g",
        ),
        (
            lambda o, p: o.apply([1.0], p[:1]),
            TypeError,
            r"gradient of variable 0 \(28, 12\) must be a tensor, got float",
        ),
    ],
)
def test_what_apply_refuses(wrong: Callable[[Any, Any], Any], error: type[Exception], message: str) -> None:
    parameters, optimizer = start(), optimizers.SGD(0.1)
    optimizer.build(parameters)
    with pytest.raises(error, match=message):
        wrong(optimizer, parameters)
    assert optimizer.iterations == 0
    assert all(torch.equal(one, other) for one, other in zip(parameters, start(), strict=True))


@pytest.mark.parametrize(("name", "options"), CASES, ids=names)
def test_variables_are_keras_s(name: str, options: dict[str, Any]) -> None:
    for more in ({}, {"use_ema": True, "gradient_accumulation_steps": 2}):
        ours, theirs = make(name, {**options, **more}), getattr(keras.optimizers, name)(**options, **more)
        variables, parameters = [keras.Variable(each.detach().numpy()) for each in start()], start()
        for step in range(4):
            ours.apply(gradients(step), parameters)
            theirs.apply(gradients(step), variables)
        expected = [each.value.double() for each in theirs.variables]
        if name == "Nadam":  # ours keeps the product of the betas in the parameter groups, as a number
            expected.pop()
        found = [each.double() for each in ours.variables]
        assert [each.item() for each in found[:2]] == pytest.approx([each.item() for each in expected[:2]])
        for their in expected:  # each parameter's own stand together here
            same = [i for i, each in enumerate(found) if each.shape == their.shape
                    and torch.allclose(each, their, rtol=1e-5, atol=1e-6)]  # fmt: skip
            assert same
            found.pop(same[0])
        assert not found


def test_variables_before_anything_is_kept() -> None:
    assert [each.item() for each in optimizers.SGD(0.5).variables] == [0, 0.5]
    assert [each.item() for each in optimizers.SGD(lambda: 0.5).variables] == [0]


def test_factories() -> None:
    parameters = start()
    pairs = [(str(number), each) for number, each in enumerate(parameters)]
    for factory in (functools.partial(torch.optim.AdamW, lr=0.5), lambda given: torch.optim.AdamW(given, lr=0.5)):
        for given in (parameters, pairs):
            made = optimizers.named.bind(optimizers.get(factory), given)
            assert isinstance(made, torch.optim.AdamW) and made.param_groups[0]["lr"] == 0.5
            assert made.param_groups[0]["params"] == parameters


@pytest.mark.parametrize("name", ["adamw", "ADAGRAD", "AdaDelta", "adamax", "NAdam", "Lion", "lion"])
def test_names_in_any_case(name: str) -> None:
    assert type(optimizers.get(name)).__name__ == type(keras.optimizers.get(name)).__name__
    assert isinstance(optimizers.get(type(optimizers.get(name))), optimizers.Optimizer)
