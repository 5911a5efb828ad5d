"""What is asked for around the formulas is as in real Keras: decay, clipping, averages, accumulation."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import copy
import pickle
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import torch

from descents import DRIFTING, OPTIONS, gradients, make, names, run, start
from ostinato.training import optimizers

NAMES = ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax", "Nadam", "Lion"]


def twins(name: str, options: dict[str, Any]) -> tuple[Any, list[torch.nn.Parameter], Any, list[Any]]:
    """An optimizer and its parameters, ours and Keras's."""
    parameters, ours = start(), make(name, options)
    ours.build(parameters)
    variables = [keras.Variable(each.detach().numpy()) for each in start()]
    theirs = getattr(keras.optimizers, name)(**options)
    theirs.build(variables)
    return ours, parameters, theirs, variables


def assert_same(parameters: list[torch.nn.Parameter], variables: list[Any], drift: float = 0.0) -> None:
    for mine, their in zip(parameters, variables, strict=True):
        torch.testing.assert_close(mine.data, their.value.data, rtol=2e-6, atol=1e-6 + drift)


@pytest.mark.parametrize("options", OPTIONS, ids=names)
@pytest.mark.parametrize("name", NAMES)
def test_options_against_keras(name: str, options: dict[str, Any]) -> None:
    ours, parameters, theirs, variables = twins(name, {"learning_rate": 0.05, **options})
    for step in range(14):
        run(ours, parameters, range(step, step + 1))
        theirs.apply(gradients(step), variables)
        assert ours.iterations == int(theirs.iterations)
        assert ours.steps_taken == int(theirs._iterations) == step + 1
        assert_same(parameters, variables, (step + 1) * 0.05 * 1e-5 if name in DRIFTING else 0.0)
    ours.finalize_variable_values(parameters)
    theirs.finalize_variable_values(variables)
    assert_same(parameters, variables, 1e-5 if name in DRIFTING else 0.0)


@pytest.mark.parametrize("options", OPTIONS, ids=names)
def test_options_with_gradients_missing_now_and_then(options: dict[str, Any]) -> None:
    ours, parameters, theirs, variables = twins("SGD", {"learning_rate": 0.1, "momentum": 0.9, **options})
    for step in range(12):
        grads: list[Any] = gradients(step)
        for index in (step % 7, (3 * step + 1) % 7):
            grads[index] = None
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad
        ours.step()
        with pytest.warns(UserWarning, match="Gradients do not exist"):
            theirs.apply(grads, variables)
        assert_same(parameters, variables)


def test_a_step_that_only_gathers_leaves_the_weights_and_says_so() -> None:
    parameters, optimizer = start(), optimizers.Adam(0.1, gradient_accumulation_steps=3, weight_decay=0.1)
    assert not optimizer.updated
    optimizer.build(parameters)
    told = []
    for step in range(7):
        before = parameters[0].detach().clone()
        run(optimizer, parameters, range(step, step + 1))
        assert torch.equal(before, parameters[0]) != optimizer.updated
        told.append(optimizer.updated)
    assert told == [False, False, True] * 2 + [False]
    assert (optimizer.iterations, optimizer.steps_taken) == (2, 7)


def test_accumulation_is_the_mean_of_the_gradients() -> None:
    one, other = start(torch.float64), start(torch.float64)
    gathering, plain = optimizers.RMSprop(0.1, gradient_accumulation_steps=4), optimizers.RMSprop(0.1)
    gathering.build(one)
    plain.build(other)
    for update in range(3):
        steps = [gradients(4 * update + k, torch.float64) for k in range(4)]
        run(gathering, one, range(4 * update, 4 * update + 4), torch.float64)
        for parameter, *grads in zip(other, *steps, strict=True):
            parameter.grad = sum(grads) / 4
        plain.step()
    for mine, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(mine.data, theirs.data, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("frequency", [None, 1, 2, 5])
@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.99, 1.0])
def test_the_average_in_float64(momentum: float, frequency: int | None) -> None:
    parameter = torch.nn.Parameter(torch.linspace(-1, 1, 5, dtype=torch.float64))
    optimizer = optimizers.SGD(0.5, use_ema=True, ema_momentum=momentum, ema_overwrite_frequency=frequency)
    optimizer.build([parameter])
    w = parameter.detach().numpy().copy()
    average = np.zeros_like(w)
    for step in range(11):
        g = np.sin(step + np.arange(5.0))
        parameter.grad = torch.from_numpy(g)
        optimizer.step()
        w = w - 0.5 * g
        average = momentum * average + (1 - momentum) * w if step else w
        if frequency and (step + 1) % frequency == 0:
            w = average
        np.testing.assert_allclose(parameter.detach().numpy(), w, rtol=1e-13, atol=1e-14)
        np.testing.assert_allclose(optimizer.state[parameter]["average"].numpy(), average, rtol=1e-13, atol=1e-14)
    optimizer.finalize_variable_values([parameter])
    np.testing.assert_allclose(parameter.detach().numpy(), average, rtol=1e-13, atol=1e-14)


def test_finalizing() -> None:
    parameters, optimizer = start(), optimizers.SGD(0.1)
    optimizer.build(parameters)
    run(optimizer, parameters, range(2))
    kept = [each.detach().clone() for each in parameters]
    optimizer.finalize_variable_values(parameters)  # there is no average
    averaging = optimizers.SGD(0.1, use_ema=True)
    averaging.build(parameters)
    averaging.finalize_variable_values(parameters)  # and here none yet; Keras would put zeros
    assert all(torch.equal(one, other) for one, other in zip(kept, parameters, strict=True))
    for asked, others in ((averaging, start()), (optimizers.SGD(use_ema=True), parameters)):
        with pytest.raises(ValueError, match=r"SGD 'sgd': it keeps averages of the \d parameters .*; 7 of these 7"):
            asked.finalize_variable_values(others)


def test_an_average_that_is_asked_for_late_begins_with_the_weights() -> None:
    parameters, optimizer = start(), optimizers.SGD(0.1)
    optimizer.build(parameters)
    run(optimizer, parameters, range(3))
    before = [each.detach().clone() for each in parameters]
    optimizer.use_ema, optimizer.ema_momentum = True, 0.5
    run(optimizer, parameters, range(3, 4))
    averages = [optimizer.state[each]["average"] for each in parameters]
    for average, now in zip(averages, parameters, strict=True):
        torch.testing.assert_close(average, now.data)
    run(optimizer, parameters, range(4, 5))
    assert not torch.equal(averages[0], parameters[0].data) and not torch.equal(before[0], averages[0])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("options", [{"clipnorm": 1.0}, {"clipvalue": 1.0}, {"global_clipnorm": 1.0}], ids=names)
def test_gradients_that_are_not_finite_become_what_they_become_in_keras(options: dict[str, Any], value: float) -> None:
    ours, parameters, theirs, variables = twins("SGD", {"learning_rate": 0.1, **options})
    grads = gradients(0)
    grads[0][1, 2] = value
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = grad.clone()
    ours.step()
    theirs.apply(grads, variables)
    for mine, their in zip(parameters, variables, strict=True):
        torch.testing.assert_close(mine.data, their.value.data, rtol=2e-6, atol=1e-6, equal_nan=True)
    assert not torch.isfinite(parameters[0]).all() or "clipvalue" in options


def test_the_gradients_of_the_parameters_stay_as_they_were() -> None:
    for options in OPTIONS:
        parameters, optimizer = start(), make("Adam", options)
        optimizer.build(parameters)
        run(optimizer, parameters, range(5))
        assert all(torch.equal(p.grad, g) for p, g in zip(parameters, gradients(4), strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize("options", OPTIONS, ids=names)
@pytest.mark.parametrize("name", ["SGD", "Adam", "Nadam", "Adagrad"])
def test_a_state_dict_goes_on_exactly(name: str, options: dict[str, Any]) -> None:
    for steps in (1, 9):  # in the middle of gathering, and not
        parameters, optimizer = start(), make(name, options)
        optimizer.build(parameters)
        run(optimizer, parameters, range(steps))
        saved = pickle.loads(pickle.dumps(optimizer.state_dict()))
        others, resumed = [torch.nn.Parameter(each.detach().clone()) for each in parameters], make(name, options)
        resumed.build(others)
        resumed.load_state_dict(saved)
        copied, copies = copy.deepcopy((optimizer, parameters))
        assert (resumed.iterations, resumed.steps_taken) == (optimizer.iterations, steps)
        for each, held in ((optimizer, parameters), (resumed, others), (copied, copies)):
            run(each, held, range(steps, steps + 6))
            each.finalize_variable_values(held)
        for one, two, three in zip(parameters, others, copies, strict=True):
            assert torch.equal(one, two) and torch.equal(one, three)


def test_a_state_dict_from_before_there_were_options() -> None:
    parameters, optimizer = start(), optimizers.Adam(0.5)
    optimizer.build(parameters)
    run(optimizer, parameters, range(2))
    saved = optimizer.state_dict()
    for group in saved["param_groups"]:
        del group["accumulated"], group["weight_decay"]
    resumed = optimizers.Adam(0.1)
    resumed.build(parameters)
    resumed.load_state_dict(saved)
    run(resumed, parameters, range(2, 4))
    assert (resumed.iterations, resumed.learning_rate, resumed.weight_decay) == (4, 0.5, None)


@pytest.mark.parametrize("options", [*OPTIONS, {}], ids=names)
@pytest.mark.parametrize("name", NAMES)
def test_configs_of_options(name: str, options: dict[str, Any]) -> None:
    ours, theirs = make(name, options), getattr(keras.optimizers, name)(**options)
    config, written = ours.get_config(), theirs.get_config()
    assert config.keys() == written.keys()
    assert {**config, "learning_rate": 0, "name": ""} == {**written, "learning_rate": 0, "name": ""}
    for source in (optimizers.serialize(ours), keras.optimizers.serialize(theirs)):
        again = optimizers.deserialize(source)
        assert type(again) is type(ours)
        assert {**again.get_config(), "learning_rate": 0, "name": ""} == {**config, "learning_rate": 0, "name": ""}
        parameters, twin = start(), start()
        again.build(parameters)
        ours_again = make(name, {**options, "learning_rate": again.learning_rate})
        ours_again.build(twin)
        run(again, parameters, range(5))
        run(ours_again, twin, range(5))
        assert all(torch.equal(one, other) for one, other in zip(parameters, twin, strict=True))


def test_options_may_be_set_later_and_shown() -> None:
    optimizer = optimizers.SGD(0.1)
    assert repr(optimizer) == "SGD(learning_rate=0.1, momentum=0.0, nesterov=False)"
    optimizer.clipnorm, optimizer.weight_decay = 0.5, 0.25
    assert repr(optimizer) == "SGD(learning_rate=0.1, momentum=0.0, nesterov=False, weight_decay=0.25, clipnorm=0.5)"
    with pytest.raises(ValueError, match=r"only one of clipnorm, clipvalue and global_clipnorm can be set, got clipva"):
        optimizer.clipvalue = 1.0
    optimizer.clipnorm = None
    optimizer.clipvalue = 1.0
    reference, parameters, twin = optimizers.SGD(0.1, clipvalue=1.0, weight_decay=0.25), start(), start()
    optimizer.build(parameters)
    reference.build(twin)
    run(optimizer, parameters, range(3))
    run(reference, twin, range(3))
    assert all(torch.equal(one, other) for one, other in zip(parameters, twin, strict=True))
    optimizer.clipvalue = optimizer.weight_decay = None
    assert repr(optimizer) == "SGD(learning_rate=0.1, momentum=0.0, nesterov=False)"


# -- weight decay -----------------------------------------------------------------------------------------------------


def test_excluded_variables_do_not_decay() -> None:
    shapes = {"kernel": (3, 4), "bias": (4,), "recurrent_kernel": (4, 4), "gamma": (2,)}
    values = {name: np.random.default_rng(1).normal(size=shape).astype("float32") for name, shape in shapes.items()}
    grads = {name: np.random.default_rng(2).normal(size=shape).astype("float32") for name, shape in shapes.items()}
    for excluded in (["bias"], ["gamma", "bias"], ["kernel$"], ["^kernel"]):
        parameters = {f"cell.{name}": torch.nn.Parameter(torch.from_numpy(v.copy())) for name, v in values.items()}
        ours, theirs = (each.SGD(0.1, weight_decay=0.5) for each in (optimizers, keras.optimizers))
        variables = [keras.Variable(value, name=name) for name, value in values.items()]
        ours.exclude_from_weight_decay(var_names=excluded)
        theirs.exclude_from_weight_decay(var_names=excluded)
        ours.build(parameters.items())
        for parameter, grad in zip(parameters.values(), grads.values(), strict=True):
            parameter.grad = torch.from_numpy(grad)
        ours.step()
        theirs.apply([torch.from_numpy(each) for each in grads.values()], variables)
        assert_same(list(parameters.values()), variables)
    one, two = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
    optimizer = optimizers.AdamW(0.1, weight_decay=1.0)
    optimizer.exclude_from_weight_decay(var_list=[one])
    optimizer.build([one, two])
    optimizer, one, two = copy.deepcopy((optimizer, one, two))
    one.grad, two.grad = torch.zeros(1), torch.zeros(1)
    optimizer.step()
    assert one.item() == 1.0 and two.item() == pytest.approx(0.9)


def test_what_excluding_refuses() -> None:
    optimizer = optimizers.SGD(weight_decay=0.1)
    with pytest.raises(ValueError, match="var_names must be a list of names, got 'bias'"):
        optimizer.exclude_from_weight_decay(var_names="bias")
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    with pytest.raises(ValueError, match=r"these have none. Call build\(model.named_parameters\(\)\)"):
        optimizer.build(start())
    assert not optimizer.built
    optimizer.build([("bias", start()[0])])
    with pytest.raises(ValueError, match=r"can only be called before build\(\)"):
        optimizer.exclude_from_weight_decay(var_names=["kernel"])


def test_a_group_may_decay_by_itself() -> None:
    one, two = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
    optimizer = optimizers.SGD(0.1)
    optimizer.build([one])
    optimizer.add_param_group({"params": [two], "weight_decay": 0.5})
    one.grad = two.grad = torch.zeros(1)
    optimizer.step()
    assert one.item() == 1.0 and two.item() == pytest.approx(0.95)


# -- several groups, dtypes -------------------------------------------------------------------------------------------


def test_groups_are_clipped_and_gathered_together() -> None:
    for options in OPTIONS:
        whole, split = make("Adam", options), make("Adam", options)
        one, other = start(), start()
        whole.build(one)
        split.build(other[:3])
        split.add_param_group({"params": other[3:]})
        run(whole, one, range(7))
        run(split, other, range(7))
        for mine, theirs in zip(one, other, strict=True):
            torch.testing.assert_close(mine.data, theirs.data, rtol=1e-6, atol=1e-7)


def test_a_group_that_comes_while_gradients_are_gathered() -> None:
    one, two = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
    optimizer = optimizers.SGD(1.0, gradient_accumulation_steps=2)
    optimizer.build([one])
    one.grad, two.grad = torch.ones(1), torch.ones(1)
    optimizer.step()
    optimizer.add_param_group({"params": [two]})
    optimizer.step()
    assert (one.item(), two.item()) == (-1.0, -0.5)


@pytest.mark.parametrize("options", OPTIONS, ids=names)
@pytest.mark.parametrize("name", ["SGD", "Adam", "Lion"])
def test_bfloat16_and_a_mixture_of_dtypes(name: str, options: dict[str, Any]) -> None:
    exact, mixed = start(torch.float64), start()
    dtypes = [torch.bfloat16, torch.float32, torch.float64, torch.bfloat16, torch.float32, torch.float64]
    mixed = [torch.nn.Parameter(p.detach().to(d)) for p, d in zip(mixed, [*dtypes, torch.bfloat16], strict=True)]
    ours, theirs = make(name, {"learning_rate": 0.01, **options}), make(name, {"learning_rate": 0.01, **options})
    ours.build(exact)
    theirs.build(mixed)
    run(ours, exact, range(4), torch.float64)
    for step in range(4):
        for parameter, grad in zip(mixed, gradients(step), strict=True):
            parameter.grad = grad.to(parameter.dtype)
        theirs.step()
    for parameter, expected in zip(mixed, exact, strict=True):
        tolerance = 0.05 if parameter.dtype == torch.bfloat16 else 0.01  # by a norm that was rounded in bfloat16
        torch.testing.assert_close(parameter.double(), expected.double(), rtol=tolerance, atol=tolerance)
        assert all(each.dtype == parameter.dtype for each in theirs.state[parameter].values())


def test_loss_scale() -> None:
    weight, optimizer = torch.nn.Parameter(torch.ones(2)), optimizers.SGD(0.5, loss_scale_factor=1024.0)
    optimizer.build([weight])
    optimizer.scale_loss((weight**2).sum()).backward()
    assert torch.equal(weight.grad, torch.full((2,), 2048.0))  # type: ignore[arg-type]
    optimizer.step()
    assert torch.equal(weight.data, torch.zeros(2))
    loss = torch.ones(())
    assert optimizers.SGD().scale_loss(loss) is loss


# -- misuse -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clipnorm": 1.0, "clipvalue": 1.0}, "only one of clipnorm, clipvalue and global_clipnorm can be set"),
        ({"clipnorm": 0.0, "global_clipnorm": 1.0}, "only one of clipnorm, clipvalue and global_clipnorm can be set"),
        ({"clipnorm": -1.0}, "clipnorm must be at least 0, got -1.0"),
        ({"clipvalue": "1"}, "clipvalue must be a number, got '1'"),
        ({"global_clipnorm": float("nan")}, "global_clipnorm must be at least 0, got nan"),
        ({"weight_decay": -0.1}, "weight_decay must be at least 0, got -0.1"),
        ({"use_ema": 1}, "use_ema must be True or False, got 1"),
        ({"ema_momentum": 1.5}, r"ema_momentum must be in \[0, 1\], got 1.5"),
        ({"use_ema": True, "ema_overwrite_frequency": -1}, "ema_overwrite_frequency must be an integer >= 1 or None"),
        ({"use_ema": True, "ema_overwrite_frequency": 2.5}, "ema_overwrite_frequency must be an integer >= 1 or None"),
        ({"gradient_accumulation_steps": 1}, "gradient_accumulation_steps must be an integer >= 2 or None, got 1"),
        ({"gradient_accumulation_steps": True}, "gradient_accumulation_steps must be an integer >= 2 or None, got T"),
        ({"loss_scale_factor": 0.0}, "loss_scale_factor must be above 0, got 0.0"),
    ],
    ids=names,
)
@pytest.mark.parametrize("name", ["SGD", "AdamW", "Lion"])
def test_options_out_of_range(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"{name} '{name.lower()}': {message}"):
        make(name, options)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: optimizers.Adam(clipnrom=1.0), TypeError, "unknown argument 'clipnrom'. Did you mean 'clipnorm'?"),
        (lambda: optimizers.SGD(lr=1.0), TypeError, "lr"),
        (lambda: optimizers.SGD(name=3), TypeError, "SGD: name must be a string, got 3"),
        (lambda: optimizers.AdamW(weight_decay=None), ValueError, "weight_decay must be a number, got None"),
        (lambda: optimizers.Lion(beta_1=0.0), ValueError, "beta_1 must be above 0, got 0.0"),
        (lambda: optimizers.Lion(beta_1=1.1), ValueError, r"beta_1 must be in \[0, 1\], got 1.1"),
        (lambda: optimizers.Nadam(beta_1=1.0), ValueError, "beta_1 must be below 1, got 1.0"),
        (lambda: optimizers.Adamax(beta_1=1), ValueError, "beta_1 must be below 1, got 1"),
        (lambda: optimizers.Adagrad(initial_accumulator_value=-1), ValueError, "initial_accumulator_value must be at"),
        (lambda: optimizers.Adadelta(rho=-0.1), ValueError, r"rho must be in \[0, 1\], got -0.1"),
    ],
)
def test_arguments_that_are_wrong(wrong: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        wrong()


def test_an_option_that_a_class_of_ones_own_does_not_take() -> None:
    class Own(optimizers.Optimizer):
        def __init__(self, learning_rate: float = 0.1, name: str | None = None) -> None:
            super().__init__(name, lr=learning_rate)

    assert Own.from_config(Own(0.5).get_config()).learning_rate == 0.5
    with pytest.raises(TypeError, match="clipnorm"):
        Own.from_config({"clipnorm": 1.0})
