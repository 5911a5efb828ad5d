"""ostinato: its layers, and `fit` of the guide's model."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch

import ostinato
from benchmarks.peers import Prepared
from benchmarks.peers.torch_calls import call_of
from benchmarks.tasks import Guide, Task, arrays
from ostinato.engines.select import observe, use_engine


def layer(task: Task) -> Prepared:
    given = arrays(task)
    built = getattr(ostinato.layers, task.cell)(
        task.size.units, return_sequences=True, recurrent_dropout=task.recurrent_dropout
    )
    built.build(given.x.shape)
    mask = None if given.mask is None else torch.from_numpy(given.mask)
    run = functools.partial(built, mask=mask, training=task.training)
    call = call_of(task, run, list(built.parameters()), torch.from_numpy(given.x), torch.from_numpy(given.grad))
    return Prepared(call, note=f"engine {engine(task, built, mask)}")


def engine(task: Task, built: Any, mask: torch.Tensor | None) -> str:
    """Which one runs, asked with a sample of two steps: memory is measured after this."""
    x = torch.zeros(1, min(2, task.size.time), task.size.features)
    with observe() as choices, torch.set_grad_enabled(task.training):
        built(x, mask=None if mask is None else torch.ones(x.shape[:2], dtype=torch.bool), training=task.training)
    return choices[0].engine


def guide_model() -> Any:
    """The guide's model, compiled and built."""
    model = ostinato.Sequential(
        [
            ostinato.layers.LSTM(Guide.units, input_shape=(None, Guide.features)),
            ostinato.layers.BatchNormalization(),
            ostinato.layers.Dense(Guide.classes),
        ]
    )
    loss = ostinato.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="sgd", loss=loss, metrics=["accuracy"])
    return model


def fit(steps: int) -> Prepared:
    model, (x, y) = guide_model(), Guide.data(steps)
    with observe() as choices:
        model.train_on_batch(np.copy(x[: Guide.batch]), y[: Guide.batch])
    return Prepared(lambda: model.fit(x, y, batch_size=Guide.batch, verbose=0), steps, f"engine {choices[0].engine}")


def fit_on_reference(steps: int) -> Prepared:
    """On the loop over time, which a loop by hand is to be compared with."""

    def epoch() -> None:
        with use_engine("reference"):
            on_any.call()

    on_any = fit(steps)
    return Prepared(epoch, steps, "engine reference")
