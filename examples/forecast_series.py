"""Forecast the length of the day, two weeks ahead.

The Earth does not turn evenly: a day is up to three milliseconds longer than 86,400 seconds, and how much changes with
the tides of the Moon, with the seasons, and with the weather, whose winds push against mountains. Since 1962 it has
been measured each day. The series comes inside a PyPI package that holds little else; the script needs no network:

    pip install astropy-iers-data
    python examples/forecast_series.py            about a minute on one core
    python examples/forecast_series.py --small    a few seconds

A GRU reads three months and says the next 14 days. Its weights are from 1984 to 2009; 2010 to 2013 say when to stop;
2014 to 2022 are what it is judged by, in mean absolute error, beside three forecasts that need no network:

    the last value       tomorrow and after, the day is as long as today
    a month ago          as it was 27 days before: the Moon comes round in 27.3 days, and with it the tides
    linear regression    each day ahead is a weighted sum of the 90 days before, the weights by least squares

The last one is hard to beat here: tides are sums of cosines, for which a weighted sum of the past is all one needs. A
network is not always the better choice, and one should look. The script draws forecast_series.png, some forecasts and
the errors by day, and forecast_series_training.png, the learning curves.
"""

import argparse

import numpy as np
import torch
from astropy_iers_data import IERS_B_FILE
from matplotlib.figure import Figure

import ostinato
from ostinato import callbacks, layers, optimizers
from ostinato.utils import timeseries_dataset_from_array

PAST, AHEAD, MONTH = 90, 14, 27
"""Days that are read, days that are said, and days after which the Moon is where it was."""


def main():
    parser = argparse.ArgumentParser(description="Forecast the length of the day, two weeks ahead.")
    parser.add_argument("--small", action="store_true", help="train for a few seconds only")
    small = parser.parse_args().small

    torch.set_num_threads(1)
    ostinato.utils.set_random_seed(1)

    years, series = length_of_day()
    train = series[(years >= (2005 if small else 1984)) & (years < 2010)]
    validation = series[(years >= 2010) & (years < 2014)]
    test = series[(years >= 2014) & (years < 2023)]

    model = build(units=16 if small else 32)
    model.summary()
    history = fit(model, train, validation, epochs=2 if small else 30)

    past, truth = windows(test)
    forecasts = {
        "GRU": model.predict(past, batch_size=512, verbose=0),
        "last value": past[:, -1:].repeat(AHEAD, axis=1),
        "a month ago": past[:, PAST - MONTH : PAST - MONTH + AHEAD],
        "linear regression": regression(train)(past),
    }
    draw(past, truth, forecasts)
    history.plot("forecast_series_training.png")
    print("pictures: forecast_series.png, forecast_series_training.png")
    errors = {name: np.abs(forecast - truth).mean() for name, forecast in forecasts.items()}
    print("mean absolute error in ms: " + ", ".join(f"{name} {error:.4f}" for name, error in errors.items()))


# The data


def length_of_day():
    """The year of each day since 1962, and by how many milliseconds the day was longer than 86,400 seconds."""
    table = np.loadtxt(IERS_B_FILE, comments="#", usecols=(0, 12))
    return table[:, 0], (table[:, 1] * 1000).astype("float32")


def windows(series):
    """All (past, future) of a series: `(windows, PAST)` and `(windows, AHEAD)`."""
    both = np.lib.stride_tricks.sliding_window_view(series, PAST + AHEAD)
    return both[:, :PAST], both[:, PAST:]


def batches(series, shuffle=False):
    """The same as batches for `fit`, cut out of the series as they are asked for."""
    future = np.lib.stride_tricks.sliding_window_view(series[PAST:], AHEAD)
    return timeseries_dataset_from_array(series[:-AHEAD], future, PAST, batch_size=64, shuffle=shuffle, seed=0)


# The model


def build(units):
    """From how the past differs from its last day, and how it changes from day to day, to how the future will differ.

    Torch functions draw this as layers do. Without it the network would have to learn to copy the last value.
    """
    past = ostinato.Input((PAST,), name="past")
    last = past[:, -1:]
    relative = past - last
    change = 10 * torch.diff(relative, dim=1)  # of the same size as the rest: weights are made for that
    steps = torch.stack([relative[:, 1:], change], dim=-1)
    memory = layers.GRU(units, name="memory")(steps)
    return ostinato.Model(past, last + layers.Dense(AHEAD, name="difference")(memory), name="length_of_day")


def fit(model, train, validation, epochs):
    """Train until the years for validation are forecast no better, with smaller steps in between."""
    model.compile(optimizer=optimizers.Adam(0.01, clipnorm=1.0), loss="mse", metrics=["mae"])
    return model.fit(
        batches(train, shuffle=True),
        epochs=epochs,
        validation_data=batches(validation),
        callbacks=[
            callbacks.ReduceLROnPlateau(factor=0.3, patience=2),
            callbacks.EarlyStopping(patience=6, restore_best_weights=True),
        ],
        verbose=2,
    )


def regression(series):
    """A function from pasts to futures that is linear, with the least squared error on the series."""
    past, future = windows(series.astype("float64"))
    ones = np.ones((len(past), 1))
    weights = np.linalg.lstsq(np.hstack([past, ones]), future, rcond=None)[0]
    return lambda other: np.hstack([other, np.ones((len(other), 1))]) @ weights


# The picture


def draw(past, truth, forecasts):
    """Some months with a forecast of each method that begins every six weeks, and the error by days ahead."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=[1.3, 1])
    begin, count = 1000, 200
    above.plot(np.arange(count), truth[begin : begin + count, 0], color="0.6", label="measured")
    for number, (name, forecast) in enumerate(forecasts.items()):
        for start in range(10, count - AHEAD, 42):
            label = name if start == 10 else None
            days = np.arange(start - 1, start + AHEAD)
            values = np.concatenate([past[begin + start, -1:], forecast[begin + start]])
            above.plot(days, values, color=f"C{number}", label=label, linewidth=2 if number == 0 else 1)
        error = np.abs(forecast - truth).mean(axis=0)
        below.plot(np.arange(1, AHEAD + 1), error, "o-", color=f"C{number}", label=name, markersize=4)
    above.set(title="length of the day", xlabel="day", ylabel="ms above 86,400 s")
    below.set(title="mean absolute error, 2014 to 2022", xlabel="days ahead", ylabel="ms", ylim=(0, None))
    for axis in (above, below):
        axis.grid(alpha=0.3)
        axis.legend(ncols=5 if axis is above else 1)
    figure.savefig("forecast_series.png", dpi=110)


if __name__ == "__main__":
    main()
