"""The command line: `ostinato demo`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ostinato import layers, losses, models, random
from ostinato.datasets import digits
from ostinato.layers.explain import explain
from ostinato.plots.canvas import require_matplotlib
from ostinato.plots.training import draw_run

PHASES = ((0.01, 10), (0.001, 5))
"""(learning rate, epochs) of the demo: fast at first, then fine."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="ostinato", description="Recurrent networks for PyTorch, with Keras's API.")
    commands = parser.add_subparsers(dest="command", required=True)
    shown = commands.add_parser("demo", help="train an LSTM to read handwritten digits, row by row")
    shown.add_argument("--output", type=Path, default=Path("ostinato-demo.png"), help="the picture (%(default)s)")
    shown.add_argument("--seed", type=int, default=7, help="of the weights and of the order of the data (%(default)s)")
    chosen = parser.parse_args(arguments)
    # What would spoil the end of the training is found out before it begins.
    if not 0 <= chosen.seed < 2**32:
        parser.error(f"--seed must be from 0 to 2**32 - 1, got {chosen.seed}")
    if not chosen.output.absolute().parent.is_dir():
        parser.error(f"--output: there is no folder {chosen.output.absolute().parent}")
    try:
        require_matplotlib()
    except ModuleNotFoundError as error:
        parser.error(str(error))
    torch.set_num_threads(1)  # the matrices are small: a second thread gains nothing, and on busy cores it waits
    demo(chosen.output, chosen.seed)
    return 0


def demo(output: Path, seed: int) -> float:
    """Train the guide's model on the embedded digits, say how it went, draw it; returns the test accuracy."""
    random.set_random_seed(seed)
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    train, test = (x_train / 16.0).astype("float32"), (x_test / 16.0).astype("float32")
    model = models.Sequential(
        [layers.LSTM(64, input_shape=(None, 8)), layers.BatchNormalization(), layers.Dense(10)], name="digits_by_rows"
    )
    model.summary()
    model.compile(optimizer="adam", loss=losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    print(f"\nTraining on {len(train)} images of 8 x 8 pixels, a row of pixels a time step.")
    start = time.monotonic()
    history: dict[str, list[float]] = {}
    for rate, epochs in PHASES:
        model.optimizer.learning_rate = rate
        run = model.fit(train, y_train, batch_size=32, epochs=epochs, validation_data=(test, y_test))
        for name, values in run.history.items():
            history.setdefault(name, []).extend(values)
    seconds = time.monotonic() - start
    _, accuracy = model.evaluate(test, y_test, verbose=0)
    predictions = model.predict(test, verbose=0).argmax(-1)
    print(f"\nTest accuracy: {accuracy:.4f} on {len(test)} images it has not seen, after {seconds:.1f} s of training.")
    with torch.no_grad():
        print(f"\nWhich engine ran, and why:\n{explain(model, test[:32])}")
    chosen = _some_of_each(y_test, predictions)
    draw_run(output, history, x_test[chosen], y_test[chosen].tolist(), predictions[chosen].tolist())
    print(f"\nLearning curves and a few digits: {output}")
    return accuracy


def _some_of_each(labels: np.ndarray, predictions: np.ndarray) -> list[int]:
    """An image of each digit, and up to two that were misread."""
    first = [int(np.flatnonzero(labels == digit)[0]) for digit in range(10)]
    return first + [int(i) for i in np.flatnonzero(labels != predictions) if i not in first][:2]
