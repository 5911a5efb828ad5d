"""Evaluating with the moving average of the weights."""

import numpy as np
import pytest
import torch

import ostinato
from ostinato import callbacks
from ostinato.callbacks import CallbackList

MOMENTUM = 0.75


class Run:
    """A model whose weights change by known gradients, and its average kept beside, in float64."""

    def __init__(self):
        self.model = ostinato.Sequential([ostinato.Input((2,)), ostinato.layers.Dense(3)])
        self.model.compile(ostinato.optimizers.SGD(0.5, use_ema=True, ema_momentum=MOMENTUM), "mse")
        self.model.optimizer.build(self.model.trainable_weights)
        self.weights = [weight.astype("float64") for weight in self.model.get_weights()]
        self.averages = None
        self.rng = np.random.default_rng(0)

    def step(self):
        grads = [self.rng.standard_normal(weight.shape) for weight in self.weights]
        for weight, grad in zip(self.model.trainable_weights, grads, strict=True):
            weight.grad = torch.tensor(grad, dtype=torch.float32)
        self.model.optimizer.step()
        self.weights = [weight - 0.5 * grad for weight, grad in zip(self.weights, grads, strict=True)]
        before = self.averages or self.weights
        self.averages = [MOMENTUM * a + (1 - MOMENTUM) * w for a, w in zip(before, self.weights, strict=True)]

    def holds(self, wanted):
        for got, expected in zip(self.model.get_weights(), wanted, strict=True):
            np.testing.assert_allclose(got, expected, atol=1e-5)
        return True


@pytest.mark.parametrize("kind", ["test", "predict"])
def test_averages_stand_in_the_model_while_it_is_evaluated(kind):
    run = Run()
    told = CallbackList(callbacks.SwapEMAWeights(), model=run.model)
    with told.phase("train") as training:
        for epoch in range(3):
            for _ in range(2):
                run.step()
            before = run.model.get_weights()
            with told.phase(kind):
                assert run.holds(run.averages)
            assert all((a == b).all() for a, b in zip(run.model.get_weights(), before, strict=True))
            training.epoch_end(epoch, {"loss": 1.0})
            assert run.holds(run.weights)
    assert run.holds(run.weights)


@pytest.mark.parametrize("stops", [False, True])
def test_swap_on_epoch(stops):
    """Callbacks after it see the average at the end of an epoch, which stays at the end of training."""
    run, seen = Run(), []
    after = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(run.holds(run.averages)))
    told = CallbackList([callbacks.SwapEMAWeights(swap_on_epoch=True), after], model=run.model, params={"epochs": 5})
    with told.phase("train") as training:
        for epoch in range(2 if stops else 5):
            training.epoch_begin(epoch)
            assert run.holds(run.weights)
            run.step()
            with told.phase("test"):
                assert run.holds(run.averages)
            assert run.holds(run.weights)
            training.epoch_end(epoch, {"loss": 1.0})
    assert len(seen) == (2 if stops else 5)
    assert run.holds(run.averages)
    run.step()  # and the average itself was left alone
    assert run.model.optimizer.state[run.model.trainable_weights[0]]["average"].shape == (2, 3)


def test_weights_come_back_after_an_error():
    run = Run()
    run.step()
    with pytest.raises(KeyboardInterrupt), CallbackList(callbacks.SwapEMAWeights(), model=run.model).phase("test"):
        raise KeyboardInterrupt
    assert run.holds(run.weights)


@pytest.mark.parametrize("optimizer", ["sgd", torch.optim.SGD])
@pytest.mark.parametrize("kind", ["train", "test", "predict"])
def test_an_optimizer_without_an_average(optimizer, kind):
    model = ostinato.Sequential([ostinato.layers.Dense(1)])
    model.compile(optimizer, "mse")
    with (
        pytest.raises(
            ValueError, match="SwapEMAWeights: the optimizer must keep a moving average, as with use_ema=True"
        ),
        CallbackList(callbacks.SwapEMAWeights(), model=model).phase(kind),
    ):
        raise AssertionError("nothing must begin")


def test_a_learning_rate_that_is_a_schedule_is_not_set():
    model = ostinato.Sequential([ostinato.Input((2,)), ostinato.layers.Dense(1)])
    schedule = ostinato.optimizers.schedules.ExponentialDecay(0.5, 10, 0.5)
    model.compile(ostinato.optimizers.SGD(schedule), "mse")
    for callback in (
        callbacks.LearningRateScheduler(lambda epoch: 0.5),
        callbacks.ReduceLROnPlateau("loss", patience=0),
    ):
        with (
            pytest.raises(TypeError, match="schedule"),
            CallbackList(callback, model=model).phase("train") as run,
        ):
            for epoch in range(2):
                run.epoch_begin(epoch)
                run.epoch_end(epoch, {"loss": 1.0})
