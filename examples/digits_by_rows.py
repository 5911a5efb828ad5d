"""Read handwritten digits row by row, as one reads a page.

An image of 8 x 8 pixels is a sequence of 8 steps, from top to bottom, a row of 8 pixels each. An LSTM remembers the
rows that it has seen; after the last one, what it remembers is turned into a score for each of the ten digits. The data
are 1,797 real digits that come with the package; nothing is downloaded.

    python examples/digits_by_rows.py            about half a minute on one core
    python examples/digits_by_rows.py --small    a few seconds

It draws three pictures: digits_by_rows.png, the learning curves; digits_by_rows_model.png, the model; and
digits_by_rows_states.png, what the memory holds after each row of one digit.
"""

import argparse

import numpy as np
import torch

import ostinato
from ostinato import callbacks, layers, losses, optimizers
from ostinato.datasets import digits

ROWS, PIXELS, LABELS = 8, 8, 10


def main():
    parser = argparse.ArgumentParser(description="Read handwritten digits row by row.")
    parser.add_argument("--small", action="store_true", help="train for a few seconds only")
    small = parser.parse_args().small

    torch.set_num_threads(1)  # the matrices are small: a second thread gains nothing
    ostinato.utils.set_random_seed(7)  # weights, dropout masks, and the order of the data

    (x_train, y_train), (x_test, y_test) = digits.load_data()
    x_train, x_test = scaled(x_train), scaled(x_test)
    order = np.random.default_rng(0).permutation(len(x_train))  # so that the last tenth is like the others
    x_train, y_train = x_train[order], y_train[order]
    model = build()
    model.summary()
    history = train(model, x_train, y_train, epochs=6 if small else 60)

    _, accuracy = model.evaluate(x_test, y_test, verbose=0)
    wrong = round(len(y_test) * (1 - accuracy))
    pictures(model, history, x_test)
    print(f"test accuracy: {accuracy:.4f} ({wrong} of {len(y_test)} unseen digits misread)")


def scaled(images):
    """Ink from 0 to 1, in place of whole numbers from 0 (paper) to 16 (ink)."""
    return (images / 16.0).astype("float32")


def build():
    """Two ways of looking at the same rows: from above and from below, then an LSTM over what both saw.

    `return_sequences=True` gives the next layer a step for each row; without it, a layer gives its last output alone.
    Noise on the pixels and dropout, both in training only, keep the model from relying on details.
    """
    return ostinato.Sequential(
        [
            ostinato.Input((ROWS, PIXELS)),
            layers.GaussianNoise(0.15),
            layers.Bidirectional(layers.LSTM(64, return_sequences=True), name="both_ways"),
            layers.Dropout(0.3),
            layers.LSTM(64, name="memory"),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Dense(LABELS),
        ],
        name="digits_by_rows",
    )


def train(model, images, labels, epochs):
    """Train on nine tenths of the images, and watch the loss on the last tenth.

    Where it no longer falls, the learning rate is made smaller; where that does not help either, training ends and the
    weights of the best epoch come back. The test data are not looked at before the end.
    """
    model.compile(
        optimizer=optimizers.Adam(learning_rate=0.003),
        loss=losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model.fit(
        images,
        labels,
        batch_size=32,
        epochs=epochs,
        validation_split=0.1,
        callbacks=[
            callbacks.ReduceLROnPlateau(factor=0.5, patience=4, min_lr=1e-5),
            callbacks.EarlyStopping(patience=12, restore_best_weights=True),
        ],
        verbose=2,
    )


def pictures(model, history, images):
    """The learning curves, the model, and the memory while it reads the first test image."""
    history.plot("digits_by_rows.png")
    ostinato.utils.plot_model(model, "digits_by_rows_model.png", show_shapes=True, show_trainable=True, dpi=100)
    ostinato.plots.plot_states("memory", images[:1], "digits_by_rows_states.png", model=model)
    print("pictures: digits_by_rows.png, digits_by_rows_model.png, digits_by_rows_states.png")


if __name__ == "__main__":
    main()
