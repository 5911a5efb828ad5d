"""What is measured: sizes, kinds of work, and the arrays that every library is given alike."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Size(NamedTuple):
    """Samples, steps, numbers a step, units."""

    batch: int
    time: int
    features: int
    units: int

    def __str__(self) -> str:
        return f"{self.batch}, {self.time}, {self.features}, {self.units}"


SIZES = {
    "S1": Size(64, 28, 28, 64),  # the guide's MNIST model
    "S2": Size(32, 100, 128, 256),
    "S3": Size(64, 50, 512, 512),
    "S4": Size(1, 100, 64, 128),  # a stream
    "S5": Size(256, 20, 64, 128),
    "O1": Size(24, 37, 50, 96),  # odd ones
    "O2": Size(7, 61, 33, 45),
}
TINY = {"tiny": Size(3, 5, 4, 7)}
"""For a look whether all runs."""
GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}
WORKS = ("forward", "training")
"""The outputs in inference; the outputs, then the gradients of all weights and of the inputs."""
VARIANTS: dict[str, dict[str, Any]] = {
    "whole": {},
    "gaps": {"mask": "gaps"},
    "lengths": {"mask": "lengths"},
    "recurrent dropout": {"recurrent_dropout": 0.2},
}
"""All steps of all samples; half of the steps masked, anywhere; right padding, half of all steps; all steps again."""


class Task(NamedTuple):
    """A recurrent layer that returns the whole sequence, and what is asked of it; in float32."""

    cell: str
    size: Size
    work: str
    mask: str | None = None
    recurrent_dropout: float = 0.0

    @property
    def training(self) -> bool:
        return self.work == "training"

    @property
    def gflop(self) -> float:
        """Billions of additions and multiplications, of all steps; backward has twice as many as forward."""
        batch, time, features, units = self.size
        forward = 2e-9 * batch * time * (features + units) * GATES[self.cell] * units
        return 3 * forward if self.training else forward


def task_of(fields: list[Any]) -> Task:
    """The task that these are the fields of, as JSON has them."""
    cell, size, *others = fields
    return Task(cell, Size(*size), *others)


class Arrays(NamedTuple):
    """Inputs, the gradient of the outputs, which steps are used, and how many where they are the first ones."""

    x: np.ndarray
    grad: np.ndarray
    mask: np.ndarray | None
    lengths: np.ndarray | None


def arrays(task: Task) -> Arrays:
    """The same for every library."""
    batch, time, features, units = task.size
    generator = np.random.default_rng(0)
    x = generator.standard_normal((batch, time, features), dtype=np.float32)
    grad = generator.standard_normal((batch, time, units), dtype=np.float32)
    if task.mask is None:
        return Arrays(x, grad, None, None)
    if task.mask == "gaps":
        return Arrays(x, grad, generator.random((batch, time)) < 0.5, None)
    lengths = generator.integers(1, time + 1, batch).astype(np.int32)
    return Arrays(x, grad, np.arange(time) < lengths[:, None], lengths)


class Guide:
    """The guide's model: an LSTM of 64 units over 28 rows of 28 pixels, batch normalization, 10 classes."""

    batch, time, features, units, classes = 64, 28, 28, 64, 10

    @classmethod
    def data(cls, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Random images and labels for a number of steps of `fit`."""
        generator = np.random.default_rng(0)
        x = generator.random((cls.batch * steps, cls.time, cls.features), dtype=np.float32)
        return x, generator.integers(0, cls.classes, cls.batch * steps)
