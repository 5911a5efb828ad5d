"""Optimizers are torch's in everything but their formulas; by name, from a config, and when something is wrong."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import copy
import pickle
from collections.abc import Callable
from typing import Any

import keras
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from descents import CASES, gradients, make, names, run, start
from ostinato.core.registry import custom_object_scope
from ostinato.training import optimizers


def test_parameters_without_a_gradient_are_left_as_they_are() -> None:
    for name, options in CASES:
        parameters, optimizer = start(), make(name, options)
        optimizer.build(parameters)
        before = parameters[0].detach().clone()
        for step in range(3):
            for parameter, gradient in zip(parameters[1:], gradients(step)[1:], strict=True):
                parameter.grad = gradient
            optimizer.step()
        assert torch.equal(parameters[0], before)
        assert not torch.equal(parameters[1], start()[1])
        assert parameters[0] not in optimizer.state


def test_build_takes_the_same_parameters_again_and_no_others() -> None:
    parameters, optimizer = start(), optimizers.Adam()
    assert not optimizer.built
    optimizer.build(iter(parameters))
    assert optimizer.built
    run(optimizer, parameters, range(2))
    kept = optimizer.state[parameters[0]]
    optimizer.build(parameters)
    assert optimizer.state[parameters[0]] is kept
    assert optimizer.iterations == 2
    for others in (parameters[1:], start(), [*parameters, torch.nn.Parameter(torch.ones(1))]):
        with pytest.raises(ValueError, match="Adam 'adam' was built for 7 other parameters"):
            optimizer.build(others)


def test_without_parameters() -> None:
    optimizer = optimizers.SGD(name="mine")
    with pytest.raises(ValueError, match=r"SGD 'mine' has no parameters yet: call build\(parameters\)"):
        optimizer.step()
    with pytest.raises(AttributeError, match="SGD 'mine' has no parameters yet"):
        torch.optim.lr_scheduler.StepLR(optimizer, 1)
    optimizer.zero_grad()  # there is nothing to forget
    with pytest.raises(AttributeError, match="SGD 'mine' has no parameters yet"):
        optimizer.state_dict()
    with pytest.raises(ValueError, match="SGD 'mine': there are no parameters to change"):
        optimizer.build([])
    with pytest.raises(TypeError, match=r"parameters must be floating tensors, got a tensor of torch.int64"):
        optimizer.build([torch.zeros(2, dtype=torch.int64)])
    with pytest.raises(TypeError, match="parameters must be floating tensors, got str"):
        optimizer.build(["kernel"])
    assert not optimizer.built
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        optimizer.nothing  # noqa: B018


def test_one_that_is_stepped_after_another_of_its_class_was_built_says_the_same() -> None:
    # torch wraps `step` when the first of a class is made.
    parameters, first = start(), optimizers.SGD()
    first.build(parameters)
    run(first, parameters, range(1))
    with pytest.raises(ValueError, match="has no parameters yet"):
        optimizers.SGD().step()


def test_sparse_gradients() -> None:
    embedding = torch.nn.Embedding(5, 3, sparse=True)
    optimizer = optimizers.Adam()
    optimizer.build(embedding.parameters())
    embedding(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(ValueError, match=r"gradient of the parameter of shape \(5, 3\) is torch.sparse_coo"):
        optimizer.step()


@pytest.mark.parametrize(("name", "options"), CASES, ids=names)
def test_a_state_dict_goes_on_exactly_where_it_was_taken(name: str, options: dict[str, Any]) -> None:
    parameters, optimizer = start(), make(name, options)
    optimizer.build(parameters)
    optimizer.learning_rate = 0.02
    run(optimizer, parameters, range(10))
    saved = pickle.loads(pickle.dumps(optimizer.state_dict()))
    others, resumed = [torch.nn.Parameter(each.detach().clone()) for each in parameters], make(name, options)
    resumed.build(others)
    resumed.load_state_dict(saved)
    assert (resumed.iterations, resumed.learning_rate) == (10, 0.02)
    run(optimizer, parameters, range(10, 20))
    run(resumed, others, range(10, 20))
    assert all(torch.equal(one, other) for one, other in zip(parameters, others, strict=True))


@pytest.mark.parametrize("how", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copies_and_pickles_go_on_by_themselves(how: Callable[[Any], Any]) -> None:
    unbuilt = how(optimizers.SGD(0.5, momentum=0.1, name="mine"))
    assert unbuilt.get_config() == optimizers.SGD(0.5, momentum=0.1, name="mine").get_config()
    assert not unbuilt.built
    parameters, optimizer = start(), optimizers.Adam(0.1, name="mine")
    optimizer.build(parameters)
    run(optimizer, parameters, range(3))
    again, others = how((optimizer, parameters))
    run(optimizer, parameters, range(3, 6))
    run(again, others, range(3, 6))
    assert all(torch.equal(one, other) and one is not other for one, other in zip(parameters, others, strict=True))
    assert (again.name, again.iterations) == ("mine", 6)


def test_a_scheduler_of_torch_and_the_learning_rate() -> None:
    parameters, optimizer = start(), optimizers.SGD(0.1)
    optimizer.build(parameters)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    variables = [keras.Variable(each.detach().numpy()) for each in start()]
    theirs = keras.optimizers.SGD(0.1)
    for step in range(4):
        assert optimizer.learning_rate == optimizer.param_groups[0]["lr"] == 0.1 * 0.5**step
        theirs.learning_rate = 0.1 * 0.5**step
        run(optimizer, parameters, range(step, step + 1))
        theirs.apply(gradients(step), variables)
        scheduler.step()
    for mine, their in zip(parameters, variables, strict=True):
        torch.testing.assert_close(mine.data, their.value.data, rtol=1e-6, atol=1e-6)
    assert optimizer.get_config()["learning_rate"] == 0.1 * 0.5**4


def test_a_scheduler_that_turns_the_momentum() -> None:
    parameters, optimizer = start(), optimizers.SGD(0.1, momentum=0.9)
    optimizer.build(parameters)
    scheduler = torch.optim.lr_scheduler.CyclicLR(
        optimizer, 0.01, 0.1, step_size_up=2, base_momentum=0.5, max_momentum=0.9
    )
    run(optimizer, parameters, range(1))
    scheduler.step()
    assert optimizer.momentum == pytest.approx(0.7)


def test_hyperparameters_may_be_set_before_and_after_build() -> None:
    parameters, optimizer = start(), optimizers.SGD()
    optimizer.learning_rate = 0.5
    optimizer.build(parameters)
    assert optimizer.param_groups[0]["lr"] == 0.5
    run(optimizer, parameters, range(2))
    optimizer.learning_rate, optimizer.momentum, optimizer.nesterov = 0.25, 0.9, True
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["nesterov"]) == (0.25, 0.9, True)
    twin, reference = (
        [torch.nn.Parameter(each.detach().clone()) for each in parameters],
        optimizers.SGD(0.25, 0.9, True),
    )
    reference.build(twin)
    run(optimizer, parameters, range(2, 5))
    run(reference, twin, range(2, 5))
    assert all(torch.equal(one, other) for one, other in zip(parameters, twin, strict=True))
    with pytest.raises(ValueError, match="learning_rate must be at least 0, got -1"):
        optimizer.learning_rate = -1


def test_a_group_may_have_hyperparameters_of_its_own() -> None:
    one, two = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
    optimizer = optimizers.Adam(0.1)
    optimizer.build([one])
    one.grad = torch.ones(1)
    optimizer.step()
    optimizer.add_param_group({"params": [two], "lr": 0.01})
    two.grad = torch.ones(1)
    optimizer.step()
    assert two.item() == pytest.approx(-0.01, rel=1e-5)  # its first step, with its own count
    assert optimizer.iterations == 2
    with pytest.raises(ValueError, match="learning_rate must be at least 0"):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": -0.1})


def test_hooks_and_closures() -> None:
    calls: list[str] = []
    parameter, optimizer = torch.nn.Parameter(torch.ones(1)), optimizers.SGD(0.5)
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))  # before it is built
    optimizer.build([parameter])
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (parameter**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 1
    assert calls == ["before", "after"]
    assert parameter.item() == 0
    optimizer.zero_grad()
    assert parameter.grad is None


def test_whoever_watches_steps_is_told_of_each_once() -> None:
    told: list[Any] = []

    class Own(optimizers.SGD):
        def step(self, closure: Any = None) -> Any:
            told.append("own")
            return super().step(closure)

    for kind, expected in ((optimizers.SGD, ["all", "one"]), (Own, ["all", "one", "own"])):
        parameter, optimizer = torch.nn.Parameter(torch.ones(1)), kind(0.5)
        optimizer.build([parameter])
        parameter.grad = torch.ones(1)
        everywhere = register_optimizer_step_pre_hook(lambda *_: told.append("all"))
        here = optimizer.register_step_pre_hook(lambda *_: told.append("one"))
        told.clear()
        optimizer.step()
        assert told == expected
        everywhere.remove()
        here.remove()
        told.clear()
        with torch.profiler.profile() as profile:
            optimizer.step()
        assert told == expected[2:]
        entries = [event.key for event in profile.key_averages() if event.key.startswith("Optimizer.step")]
        assert entries == [f"Optimizer.step#{kind.__name__}.step"]
        assert parameter.item() == 0


def test_a_hook_may_change_what_a_step_is_given() -> None:
    optimizer = optimizers.SGD(0.5)
    optimizer.build([torch.nn.Parameter(torch.ones(1))])
    optimizer.register_step_pre_hook(lambda own, args, kwargs: ((own, lambda: 7.0), kwargs))
    assert optimizer.step() == 7.0


def test_it_is_an_optimizer_of_torch() -> None:
    parameters, optimizer = start(), optimizers.RMSprop()
    assert isinstance(optimizer, torch.optim.Optimizer)
    optimizer.build(parameters)
    assert optimizer.param_groups[0]["params"] == parameters
    assert not any(each.requires_grad for state in optimizer.state.values() for each in state.values())
    assert repr(optimizer).startswith("RMSprop(learning_rate=0.001, rho=0.9")


class Signed(optimizers.Optimizer):
    def __init__(self, learning_rate: float = 0.1, name: str | None = None) -> None:
        super().__init__(name, lr=learning_rate)

    def update(self, group: dict[str, Any], parameters: list[torch.Tensor], grads: list[torch.Tensor]) -> None:
        torch._foreach_add_(parameters, [each.sign() for each in grads], alpha=-group["lr"])


def test_a_subclass() -> None:
    parameter, optimizer = torch.nn.Parameter(torch.ones(2)), Signed()
    optimizer.build([parameter])
    parameter.grad = torch.tensor([3.0, -0.1])
    optimizer.step()
    torch.testing.assert_close(parameter.data, torch.tensor([0.9, 1.1]))
    config = optimizers.serialize(optimizer)
    assert optimizers.deserialize(config, {"Signed": Signed}).get_config() == optimizer.get_config()
    with custom_object_scope({"Signed": Signed}):
        assert isinstance(optimizers.get("Signed"), Signed)
    with pytest.raises(NotImplementedError, match="must define update"):
        base = optimizers.Optimizer(lr=0.1)
        base.build([parameter])
        base.step()


@pytest.mark.parametrize(("name", "options"), CASES, ids=names)
def test_configs_are_as_in_keras(name: str, options: dict[str, Any]) -> None:
    ours = make(name, {**options, "name": "mine"})
    theirs = getattr(keras.optimizers, name)(**options, name="mine")
    config = ours.get_config()
    for key, value in config.items():
        expected = theirs.get_config()[key]
        assert value == (pytest.approx(expected, rel=1e-6) if key == "learning_rate" else expected)
    again = optimizers.deserialize(optimizers.serialize(ours))
    assert type(again) is type(ours) and again.get_config() == config
    read = optimizers.deserialize(keras.optimizers.serialize(theirs))
    assert type(read) is type(ours)
    assert read.get_config() == {**config, "learning_rate": read.learning_rate}
    assert read.learning_rate == pytest.approx(ours.learning_rate, rel=1e-6)


OFF = {
    "weight_decay": None, "clipnorm": None, "global_clipnorm": None, "clipvalue": None, "use_ema": False,
    "ema_momentum": 0.99, "ema_overwrite_frequency": None, "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
}  # fmt: skip


def test_arguments_in_keras_s_order() -> None:
    assert optimizers.SGD(0.1, 0.9, True).get_config()["nesterov"] is True
    assert optimizers.Adam(0.1, 0.8, 0.7, 1e-3, True).get_config() == OFF | {
        "name": "adam", "learning_rate": 0.1, "beta_1": 0.8, "beta_2": 0.7, "epsilon": 1e-3, "amsgrad": True,
    }  # fmt: skip
    assert optimizers.RMSprop(0.1, 0.8, 0.7, 1e-3, True).get_config() == OFF | {
        "name": "rmsprop", "learning_rate": 0.1, "rho": 0.8, "momentum": 0.7, "epsilon": 1e-3, "centered": True,
    }  # fmt: skip
    assert optimizers.AdamW(0.1, 0.2, 0.8, 0.7, 1e-3, True).get_config() == OFF | {
        "name": "adamw", "learning_rate": 0.1, "weight_decay": 0.2, "beta_1": 0.8, "beta_2": 0.7, "epsilon": 1e-3,
        "amsgrad": True,
    }  # fmt: skip
    for cls, own in [
        (optimizers.Adagrad, {"initial_accumulator_value": 0.5, "epsilon": 1e-3}),
        (optimizers.Adadelta, {"rho": 0.5, "epsilon": 1e-3}),
        (optimizers.Adamax, {"beta_1": 0.5, "beta_2": 0.75, "epsilon": 1e-3}),
        (optimizers.Nadam, {"beta_1": 0.5, "beta_2": 0.75, "epsilon": 1e-3}),
        (optimizers.Lion, {"beta_1": 0.5, "beta_2": 0.75}),
    ]:
        expected = OFF | {"name": cls.__name__.lower(), "learning_rate": 0.1, **own}
        assert cls(0.1, *own.values()).get_config() == expected


@pytest.mark.parametrize("name", ["sgd", "SGD", "Sgd", "adam", "Adam", "ADAM", "rmsprop", "RMSprop", "RMSProp"])
def test_names_in_any_case(name: str) -> None:
    assert type(optimizers.get(name)).__name__ == type(keras.optimizers.get(name)).__name__
    assert optimizers.get({"class_name": name, "config": {"learning_rate": 0.5}}).learning_rate == 0.5


def test_get_and_bind() -> None:
    parameters = start()
    assert optimizers.get(None) is None
    own = optimizers.Adam()
    assert optimizers.get(own) is own
    assert isinstance(optimizers.get(optimizers.SGD), optimizers.SGD)
    assert optimizers.named.bind(own, parameters) is own and own.built
    theirs = torch.optim.AdamW(parameters)
    assert optimizers.get(theirs) is theirs
    assert optimizers.named.bind(theirs, parameters) is theirs
    assert optimizers.get(torch.optim.SGD) is torch.optim.SGD
    assert isinstance(optimizers.named.bind(torch.optim.SGD, parameters), torch.optim.SGD)

    def factory(given: list[torch.Tensor]) -> torch.optim.Optimizer:
        return torch.optim.SGD(given, lr=0.25)

    made = optimizers.named.bind(optimizers.get(factory), iter(parameters))
    assert made.param_groups[0]["lr"] == 0.25 and made.param_groups[0]["params"] == parameters


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match=r"optimizer 'adm' is not known. Did you mean 'adam'\?"):
        optimizers.get("adm")
    with pytest.raises(ValueError, match="optimizers: expected a name"):
        optimizers.get(0.01)


@pytest.mark.parametrize(
    ("make_wrong", "message"),
    [
        (lambda: optimizers.SGD(-0.1), "SGD 'sgd': learning_rate must be at least 0, got -0.1"),
        (lambda: optimizers.SGD(float("nan")), "learning_rate must be at least 0, got nan"),
        (lambda: optimizers.SGD("fast"), "learning_rate must be a number, got 'fast'"),
        (lambda: optimizers.SGD(True), "learning_rate must be a number, got True"),
        (lambda: optimizers.Adam(optimizers.schedules.CosineDecay), "learning_rate is the class CosineDecay"),
        (lambda: optimizers.SGD(momentum=1.5), r"momentum must be in \[0, 1\], got 1.5"),
        (lambda: optimizers.SGD(nesterov=0.9), "nesterov must be True or False, got 0.9"),
        (lambda: optimizers.Adam(beta_1=-0.1), r"beta_1 must be in \[0, 1\]"),
        (lambda: optimizers.Adam(beta_2=1.0), "beta_2 must be below 1, got 1.0"),
        (lambda: optimizers.Adam(epsilon=-1e-7), "epsilon must be at least 0"),
        (lambda: optimizers.RMSprop(rho=2), r"rho must be in \[0, 1\], got 2"),
    ],
)
def test_hyperparameters_out_of_range(make_wrong: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_wrong()


def test_bind_says_what_is_wrong() -> None:
    parameters = start()
    with pytest.raises(ValueError, match="no parameters to change"):
        optimizers.named.bind(torch.optim.SGD, [])
    with pytest.raises(ValueError, match="no parameters to change"):
        optimizers.named.bind(optimizers.SGD(), [])
    with pytest.raises(ValueError, match="this AdamW was made for other parameters than the model's 7"):
        optimizers.named.bind(torch.optim.AdamW(start()), parameters)
    with pytest.raises(TypeError, match="made a list of the parameters"):
        optimizers.named.bind(list, parameters)
