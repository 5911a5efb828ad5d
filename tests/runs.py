"""Small models and data for tests of the training loop."""

import numpy as np
import torch

import ostinato
from ostinato import layers


def data(samples=10, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((samples, 5, 3), dtype=np.float32), rng.integers(0, 4, samples)


def crossentropy():
    return ostinato.losses.SparseCategoricalCrossentropy(from_logits=True)


def classifier(*extra, optimizer="sgd", metrics=("accuracy",)):
    """A small built model with layers in the middle."""
    model = ostinato.Sequential([ostinato.Input((None, 3)), layers.LSTM(6), *extra, layers.Dense(4)])
    model.compile(optimizer, crossentropy(), metrics=list(metrics))
    return model


def same_weights(*models):
    """Give the later models the weights of the first."""
    for model in models[1:]:
        model.load_state_dict(models[0].state_dict())
    return models


def identity(shape, dtype=None):
    return torch.eye(*shape, dtype=dtype)


def modes(model):
    return {name: module.training for name, module in model.named_modules()}


def tail_and_head():
    x = {"b": ostinato.Input((None, 3), name="b"), "a": ostinato.Input((2,), name="a")}
    h = torch.cat([layers.LSTM(4, name="rows")(x["b"]), x["a"]], -1)
    return ostinato.Model(x, [layers.Dense(4, name="first")(h), {"second": layers.Dense(1, name="second")(h)}])


def inputs_and_targets():
    x, y = data()
    return {"b": x, "a": x[:, 0, :2]}, [y, {"second": x.sum((1, 2))}]
