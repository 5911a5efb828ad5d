"""Learning rate schedules are as in real Keras, alone, in optimizers and in configs; torch's schedulers."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import copy
import importlib
import math
import pickle
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import torch

import ostinato
from descents import gradients, make, names, run, start
from ostinato.core.registry import custom_object_scope
from ostinato.training import optimizers
from ostinato.training.optimizers import schedules

CASES: list[tuple[str, dict[str, Any]]] = [
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.5}),
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 1.1, "staircase": True}),
    ("PiecewiseConstantDecay", {"boundaries": [3, 10, 11], "values": [0.5, 0.1, 1.0, 0.25]}),
    ("PiecewiseConstantDecay", {"boundaries": [5], "values": [1.0, 0.5], "name": "steps"}),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 20}),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 9, "end_learning_rate": 0.02, "power": 0.5}),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 9, "power": 2.0, "cycle": True}),
    ("InverseTimeDecay", {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.5}),
    ("InverseTimeDecay", {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.5, "staircase": True}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 20}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 20, "alpha": 0.3}),
    ("CosineDecay", {"initial_learning_rate": 0.0, "decay_steps": 20, "warmup_target": 0.5, "warmup_steps": 6}),
    (
        "CosineDecay",
        {"initial_learning_rate": 0.2, "decay_steps": 5, "alpha": 0.1, "warmup_target": 0.1, "warmup_steps": 3},
    ),
    ("CosineDecay", {"initial_learning_rate": 0.2, "decay_steps": 5, "warmup_target": 0.3}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 7}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 7, "t_mul": 1.0, "m_mul": 0.5}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 5, "t_mul": 1.5, "alpha": 0.2}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 5, "t_mul": 3.0, "m_mul": 0.9}),
]


def ours_and_theirs(name: str, options: dict[str, Any]) -> tuple[Any, Any]:
    return getattr(schedules, name)(**options), getattr(keras.optimizers.schedules, name)(**options)


@pytest.mark.parametrize(("name", "options"), CASES, ids=names)
def test_against_keras_over_many_steps(name: str, options: dict[str, Any]) -> None:
    ours, theirs = ours_and_theirs(name, options)
    differing = []
    for step in range(400):
        value, expected = ours(step), float(theirs(torch.tensor(step)))
        assert ours(torch.tensor(step)) == ours(float(step)) == value
        if value != pytest.approx(expected, rel=2e-5, abs=2e-7):
            differing.append(step)
    if name != "CosineDecayRestarts":
        assert not differing
    for step in differing:  # Keras finds the period by logarithms in float32; what is due at a start is known exactly
        place, period, length = step, 0, options["first_decay_steps"]
        while place >= length:
            place, period, length = place - length, period + 1, length * options.get("t_mul", 2.0)
        assert place == 0
        start_of_period = (
            options.get("alpha", 0.0) + (1 - options.get("alpha", 0.0)) * options.get("m_mul", 1.0) ** period
        )
        assert ours(step) == pytest.approx(options["initial_learning_rate"] * start_of_period, rel=1e-12)


@pytest.mark.parametrize("t_mul", [1.0, 2.0, 3.0, 5.0, 10.0])
def test_restarts_begin_exactly_where_they_are_due(t_mul: float) -> None:
    schedule = schedules.CosineDecayRestarts(1.0, 3, t_mul=t_mul, m_mul=0.5)
    place = 0
    for period in range(12):
        assert schedule(place) == pytest.approx(0.5**period, rel=1e-9)
        if place:
            assert schedule(place - 1) < 0.8 * 0.5 ** (period - 1)
        place += int(3 * t_mul**period)


@pytest.mark.parametrize(("name", "options"), CASES, ids=names)
def test_configs(name: str, options: dict[str, Any]) -> None:
    ours, theirs = ours_and_theirs(name, options)
    assert ours.get_config() == theirs.get_config()
    for config in (schedules.serialize(ours), keras.optimizers.schedules.serialize(theirs), ours.get_config()):
        made = schedules.deserialize(config) if "class_name" in config else type(ours).from_config(config)
        assert type(made) is type(ours) and made.get_config() == ours.get_config()
    assert repr(ours).startswith(f"{name}(")
    assert copy.deepcopy(ours)(5) == pickle.loads(pickle.dumps(ours))(5) == ours(5)


@pytest.mark.parametrize(("name", "options"), CASES, ids=names)
def test_in_an_optimizer(name: str, options: dict[str, Any]) -> None:
    schedule, theirs_schedule = ours_and_theirs(name, options)
    for shared in ({}, {"weight_decay": 0.1}, {"gradient_accumulation_steps": 2}):
        parameters, ours = start(), optimizers.SGD(schedule, momentum=0.5, **shared)  # type: ignore[arg-type]
        theirs = keras.optimizers.SGD(theirs_schedule, momentum=0.5, **shared)
        variables = [keras.Variable(each.detach().numpy()) for each in start()]
        assert ours.learning_rate == schedule(0)
        ours.build(parameters)
        for step in range(13):
            assert ours.learning_rate == pytest.approx(float(theirs.learning_rate), rel=2e-5, abs=2e-7)
            run(ours, parameters, range(step, step + 1))
            theirs.apply(gradients(step), variables)
            if ours.updated:
                assert ours.param_groups[0]["lr"] == schedule(step)
            for mine, their in zip(parameters, variables, strict=True):
                torch.testing.assert_close(mine.data, their.value.data, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(("name", "options"), CASES, ids=names)
def test_optimizers_that_follow_one_in_configs_and_state_dicts(name: str, options: dict[str, Any]) -> None:
    schedule, theirs_schedule = ours_and_theirs(name, options)
    optimizer = optimizers.Adam(schedule)
    theirs = keras.optimizers.Adam(theirs_schedule)
    for config in (optimizers.serialize(optimizer), keras.optimizers.serialize(theirs)):
        again = optimizers.deserialize(config)
        assert again.schedule.get_config() == schedule.get_config()
        assert again.get_config() == {**optimizer.get_config(), "name": again.name}
    parameters = start()
    optimizer.build(parameters)
    run(optimizer, parameters, range(5))
    saved = copy.deepcopy(optimizer.state_dict())
    others, resumed = [torch.nn.Parameter(each.detach().clone()) for each in parameters], optimizers.Adam(schedule)
    resumed.build(others)
    resumed.load_state_dict(saved)
    assert resumed.learning_rate == optimizer.learning_rate == schedule(5)
    run(optimizer, parameters, range(5, 9))
    run(resumed, others, range(5, 9))
    assert all(torch.equal(one, other) for one, other in zip(parameters, others, strict=True))


class Inverse(schedules.LearningRateSchedule):
    def __init__(self, first: float) -> None:
        self.first, self.steps = first, []  # type: ignore[var-annotated]

    def __call__(self, step: Any) -> Any:
        self.steps.append(int(step))
        return self.first * torch.rsqrt(step.to(torch.float32) + 1)  # as with a tensor, which Keras gives

    def get_config(self) -> dict[str, Any]:
        return {"first": self.first}


def test_one_of_ones_own() -> None:
    schedule = Inverse(0.5)
    parameter, optimizer = torch.nn.Parameter(torch.zeros(1)), optimizers.SGD(schedule)
    optimizer.build([parameter])
    for _ in range(3):
        parameter.grad = torch.ones(1)
        optimizer.step()
    assert schedule.steps == [0, 1, 2]  # asked once for each update
    assert parameter.item() == pytest.approx(-0.5 * sum(1 / math.sqrt(step + 1) for step in range(3)), rel=1e-6)
    config = optimizers.serialize(optimizer)
    assert optimizers.deserialize(config, {"Inverse": Inverse}).schedule.first == 0.5
    with custom_object_scope({"Inverse": Inverse}):
        assert isinstance(optimizers.get(config).schedule, Inverse)
    with pytest.raises(ValueError, match="'Inverse' is not known"):
        optimizers.deserialize(config)

    class Bare(schedules.LearningRateSchedule):
        pass

    bare = optimizers.SGD(Bare())
    assert repr(bare).startswith("SGD(learning_rate=<")
    with pytest.raises(NotImplementedError, match="Bare must define get_config"):
        bare.get_config()
    with pytest.raises(NotImplementedError, match="Bare must define __call__"):
        bare.learning_rate  # noqa: B018


def test_a_callable_without_arguments() -> None:
    rates = iter([0.5, 0.25, 0.125])
    parameter, optimizer = torch.nn.Parameter(torch.zeros(1)), optimizers.SGD(lambda: next(rates), weight_decay=0.0)
    optimizer.build([parameter])
    for _ in range(3):
        parameter.grad = torch.ones(1)
        optimizer.step()
    assert parameter.item() == -0.875  # asked once for each update
    variables = [keras.Variable(each.detach().numpy()) for each in start()]
    parameters, ours, theirs = start(), optimizers.Adam(lambda: 0.02), keras.optimizers.Adam(lambda: 0.02)
    ours.build(parameters)
    assert ours.learning_rate == 0.02
    for step in range(3):
        run(ours, parameters, range(step, step + 1))
        theirs.apply(gradients(step), variables)
    for mine, their in zip(parameters, variables, strict=True):
        torch.testing.assert_close(mine.data, their.value.data, rtol=1e-6, atol=2e-6)


def constant_rate() -> float:
    return 0.125


def test_a_callable_in_a_config() -> None:
    config = optimizers.serialize(optimizers.SGD(constant_rate))
    assert optimizers.deserialize(config, {"constant_rate": constant_rate}).learning_rate == 0.125


def test_setting_the_learning_rate() -> None:
    parameters, optimizer = start(), optimizers.SGD(0.5)
    optimizer.build(parameters)
    for value in (0.25, np.float32(0.25), torch.tensor(0.25)):
        optimizer.learning_rate = value
        assert float(optimizer.learning_rate) == 0.25
        assert optimizer.get_config()["learning_rate"] == 0.25
    optimizer.learning_rate = schedules.ExponentialDecay(1.0, 1, 0.5)  # as in Keras
    run(optimizer, parameters, range(3))
    assert optimizer.learning_rate == 0.125
    message = r"SGD 'sgd': its learning_rate follows ExponentialDecay\(initial_learning_rate=1.0.* cannot be set to 0.1"
    with pytest.raises(TypeError, match=message):
        optimizer.learning_rate = 0.1
    theirs = keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(1.0, 1, 0.5))
    with pytest.raises(TypeError, match="not settable"):
        theirs.learning_rate = 0.1
    optimizer.learning_rate = schedules.PolynomialDecay(2.0, 10)
    assert optimizer.learning_rate == schedules.PolynomialDecay(2.0, 10)(3)


SCHEDULERS: list[tuple[str, Callable[[Any], Any]]] = [
    ("StepLR", lambda o: torch.optim.lr_scheduler.StepLR(o, 2, gamma=0.5)),
    ("CosineAnnealingLR", lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 6)),
    ("LambdaLR", lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + step))),
    ("OneCycleLR", lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.3, total_steps=12, cycle_momentum=False)),
    (
        "SequentialLR",
        lambda o: torch.optim.lr_scheduler.SequentialLR(
            o,
            [torch.optim.lr_scheduler.LinearLR(o, total_iters=3), torch.optim.lr_scheduler.ExponentialLR(o, 0.8)],
            milestones=[3],
        ),
    ),
]


@pytest.mark.parametrize("with_options", [False, True])
@pytest.mark.parametrize(("name", "schedule"), SCHEDULERS, ids=[name for name, _ in SCHEDULERS])
def test_schedulers_of_torch(name: str, schedule: Callable[[Any], Any], with_options: bool) -> None:
    options: dict[str, Any] = {"clipnorm": 0.5, "use_ema": True} if with_options else {}
    plain = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    parameters, ours = start(), make("SGD", {"learning_rate": 0.1, **options})
    ours.build(parameters)
    one, other = schedule(ours), schedule(plain)
    for step in range(10):
        assert ours.learning_rate == plain.param_groups[0]["lr"]
        ours.apply(gradients(step)) if step % 2 else run(ours, parameters, range(step, step + 1))
        plain.step()
        one.step()
        other.step()


def test_a_plateau() -> None:
    parameters, optimizer = start(), optimizers.Adam(0.1)
    optimizer.build(parameters)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    for _ in range(3):
        scheduler.step(1.0)
    assert optimizer.learning_rate == 0.025


def test_a_copy_of_an_optimizer_with_a_scheduler_changes_its_own_parameters() -> None:
    for how in (copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))):
        parameters, optimizer = start(), optimizers.SGD(0.1)
        optimizer.build(parameters)
        torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)  # which wraps the optimizer's step
        copied, others = how((optimizer, parameters))
        run(copied, others, range(1))
        assert torch.equal(parameters[0], start()[0]) and not torch.equal(others[0], start()[0])


def test_a_schedule_and_a_scheduler_of_torch_together() -> None:
    parameters, optimizer = start(), optimizers.SGD(schedules.CosineDecay(0.1, 10))
    optimizer.build(parameters)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    with pytest.raises(ValueError, match=r"SGD 'sgd': its learning_rate follows CosineDecay.*torch scheduler has no"):
        run(optimizer, parameters, range(1))
    assert torch.equal(parameters[0], start()[0])
    with pytest.raises(ValueError, match="the group has an lr of its own, but the rate follows CosineDecay"):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.1})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda: schedules.ExponentialDecay(0.1, 0, 0.5),
            "ExponentialDecay: decay_steps must be > 0, got decay_steps=0",
        ),
        (lambda: schedules.ExponentialDecay(0.1, 1, -0.5), "decay_rate must be at least 0"),
        (lambda: schedules.InverseTimeDecay(0.1, -1, 0.5), "InverseTimeDecay: decay_steps must be > 0"),
        (
            lambda: schedules.PiecewiseConstantDecay([1, 2], [0.1, 0.2]),
            "values must be one more than boundaries, got 2",
        ),
        (lambda: schedules.PiecewiseConstantDecay([2, 2], [1, 2, 3]), "boundaries must be in rising order"),
        (lambda: schedules.PolynomialDecay(0.1, 0), "PolynomialDecay: decay_steps must be > 0"),
        (lambda: schedules.PolynomialDecay(0.1, 5, power=-1), "power must be at least 0"),
        (lambda: schedules.CosineDecay(0.1, 0), "CosineDecay: decay_steps must be > 0"),
        (lambda: schedules.CosineDecay(0.1, 5, warmup_steps=-1), "warmup_steps must be at least 0"),
        (lambda: schedules.CosineDecayRestarts(0.1, 0), "first_decay_steps must be > 0"),
        (lambda: schedules.CosineDecayRestarts(0.1, 5, t_mul=0.5), "t_mul must be at least 1"),
        (lambda: schedules.deserialize({"class_name": "CosineDecai", "config": {}}), "Did you mean 'CosineDecay'"),
        (lambda: optimizers.SGD(schedules.CosineDecay), "learning_rate is the class CosineDecay"),
        (lambda: optimizers.SGD(lambda: "fast").learning_rate, "learning_rate must be a number, got 'fast'"),
        (lambda: optimizers.SGD(lambda: -1.0).learning_rate, "learning_rate must be at least 0, got -1.0"),
        (
            lambda: optimizers.SGD("fast"),
            "learning_rate must be a number, got 'fast'. It may also be a LearningRateSch",
        ),
    ],
)
def test_what_is_refused(wrong: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()


def test_names_are_where_keras_has_them() -> None:
    assert ostinato.optimizers.schedules is importlib.import_module("ostinato.optimizers.schedules")
    assert ostinato.optimizers.schedules.CosineDecay is schedules.CosineDecay
    theirs = {name for name in dir(keras.optimizers.schedules) if not name.startswith("_")}
    assert theirs - {"sys"} <= set(schedules.__all__)
