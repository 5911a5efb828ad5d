"""Learn to write English, letter by letter, from the documentation inside Python itself.

The text is what `help("topics")` shows: about 465,000 letters of real English and code that every Python brings along,
so that nothing is downloaded. An LSTM reads it and says at each letter which one it expects next. How good it is at
that is measured in bits per character: what it would take to store a text that the model has not seen, if it were
allowed to guess. Two simple models are the measure: one that knows only how frequent each letter is, and one that also
looks at the letter before.

    python examples/character_language_model.py            three to four minutes on one core
    python examples/character_language_model.py --small    a few seconds; the text it writes is gibberish

It draws character_language_model.png, the learning curves, and prints a text that the model wrote.
"""

import argparse
import math
from pydoc_data.topics import topics

import numpy as np
import torch

import ostinato
from ostinato import callbacks, layers, losses, optimizers

WINDOW = 100
"""Letters that the model reads before its weights are changed."""

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""Stands for letters that are in the held-out text only."""


def main():
    parser = argparse.ArgumentParser(description="Learn to write English, letter by letter.")
    parser.add_argument("--small", action="store_true", help="train for a few seconds only")
    small = parser.parse_args().small

    torch.set_num_threads(1)
    ostinato.utils.set_random_seed(3)

    train_text, test_text = texts()
    letters = [UNKNOWN, *sorted(set(train_text))]
    train, test = encoded(train_text, letters), encoded(test_text, letters)
    if small:
        train, test = train[:40_000], test[:10_000]
    print(f"{len(train):,} letters to learn from, {len(test):,} held out, {len(letters)} different ones")

    model = build(len(letters), units=64 if small else 256)
    model.summary()
    history = fit(model, train, test, epochs=5 if small else 10)
    history.plot("character_language_model.png")

    _, bits = model.evaluate(*windows(test, 10 * WINDOW), batch_size=8, verbose=0)
    print(f"\nIt writes:\n{'-' * 80}\n{write(model, letters, 'The ', 200 if small else 600)}\n{'-' * 80}")
    print("picture: character_language_model.png")
    print(
        f"bits per character of unseen text: {bits:.3f}; knowing the letter before {bigram_bits(train, test):.3f}, "
        f"knowing none {unigram_bits(train, test):.3f}"
    )


# The text


def texts():
    """Text to learn from and text to be tested on: of the topics in alphabetical order, each tenth is held out."""
    names = sorted(topics)
    held_out = names[5::10]
    return ["\n\n".join(topics[name] for name in part) for part in ([n for n in names if n not in held_out], held_out)]


def encoded(text, letters):
    """The letters of a text as their numbers."""
    numbers = {letter: number for number, letter in enumerate(letters)}
    return np.array([numbers.get(letter, 0) for letter in text])


def windows(numbers, length):
    """The text cut into pieces, and for each letter of a piece the one that follows it."""
    count = (len(numbers) - 1) // length
    return (
        numbers[: count * length].reshape(count, length),
        numbers[1 : count * length + 1].reshape(count, length),
    )


# The model


def build(letters, units, batch_size=None, stateful=False):
    """A vector for each letter, a memory of what came before, and a score for each letter that may come next."""
    return ostinato.Sequential(
        [
            ostinato.Input((None,), batch_size=batch_size),
            layers.Embedding(letters, 32),
            layers.LSTM(units, return_sequences=True, stateful=stateful),
            layers.Dense(letters),
        ]
    )


def bits_per_character(true, scores):
    """What it takes to store each letter, given how likely the model thought it was."""
    return losses.sparse_categorical_crossentropy(true, scores, from_logits=True) / math.log(2)


def fit(model, train, test, epochs):
    """Train; the steps become smaller along half a cosine, and the end of the text to learn from is for validation."""
    x, y = windows(train, WINDOW)
    rate = optimizers.schedules.CosineDecay(0.005, decay_steps=epochs * (math.ceil(0.95 * len(x) / 32)))
    model.compile(
        optimizer=optimizers.Adam(rate, clipnorm=1.0),
        loss=losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[bits_per_character],
    )
    stop = callbacks.EarlyStopping("val_bits_per_character", mode="min", patience=3, restore_best_weights=True)
    return model.fit(x, y, batch_size=32, epochs=epochs, validation_split=0.05, callbacks=[stop], verbose=2)


def write(model, letters, beginning, count, temperature=0.7):
    """Let the model go on from a beginning, one letter at a time.

    A layer with `stateful=True` goes on from where its last call ended. So a second model with the same weights, for
    one text at a time, is shown each letter only once. A temperature below 1 makes it prefer what it holds likely.
    """
    writer = build(len(letters), model.layers[1].units, batch_size=1, stateful=True)
    writer.set_weights(model.get_weights())
    draw = np.random.default_rng(0)
    written, shown = beginning, encoded(beginning, letters)
    for _ in range(count):
        scores = writer.predict_on_batch(shown[None])[0, -1].astype("float64") / temperature
        scores[0] = -np.inf  # it shall not write what it cannot read
        chances = np.exp(scores - scores.max())
        shown = draw.choice(len(letters), size=1, p=chances / chances.sum())
        written += letters[shown[0]]
    return written


# What it is measured by


def unigram_bits(train, test):
    """Bits per character if each letter is as likely as it was frequent; each was seen once more than it was."""
    counts = np.bincount(train, minlength=max(train.max(), test.max()) + 1) + 1.0
    return float(-np.log2(counts / counts.sum())[test].mean())


def bigram_bits(train, test):
    """Bits per character if each letter is as likely as it was frequent behind the letter before it."""
    size = max(train.max(), test.max()) + 1
    counts = np.bincount(train[:-1] * size + train[1:], minlength=size * size).reshape(size, size) + 0.1
    chances = counts / counts.sum(axis=1, keepdims=True)
    return float(-np.log2(chances[test[:-1], test[1:]]).mean())


if __name__ == "__main__":
    main()
