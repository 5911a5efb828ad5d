"""What is the same in Keras on all its backends."""

from __future__ import annotations

from typing import Any

import keras

from benchmarks.peers import Prepared
from benchmarks.tasks import Guide, Task


def built(task: Task) -> Any:
    """The layer, with its weights."""
    keras.backend.clear_session()
    layer = getattr(keras.layers, task.cell)(
        task.size.units, return_sequences=True, recurrent_dropout=task.recurrent_dropout
    )
    layer.build((task.size.batch, task.size.time, task.size.features))
    return layer


def fit(steps: int) -> Prepared:
    keras.backend.clear_session()
    model = keras.Sequential(
        [
            keras.layers.Input((None, Guide.features)),
            keras.layers.LSTM(Guide.units),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(Guide.classes),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="sgd", loss=loss, metrics=["accuracy"])
    x, y = Guide.data(steps)
    return Prepared(lambda: model.fit(x, y, batch_size=Guide.batch, verbose=0), steps)
