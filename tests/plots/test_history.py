"""Learning curves: what is drawn of a history, and where."""

import io
import sys
from pathlib import Path

import matplotlib.pyplot
import numpy as np
import pytest

import ostinato
from ostinato.plots.canvas import wrapped
from ostinato.plots.history import plot_history

SIGNATURE = b"\x89PNG\r\n\x1a\n"

RUN = {
    "accuracy": [0.5, 0.6, 0.7, 0.8],
    "loss": [1.0, 0.5, 0.25, 0.2],
    "learning_rate": [1e-2, 1e-2, 1e-3, 1e-3],
    "val_accuracy": [0.4, 0.5, 0.6, 0.65],
    "val_loss": [1.5, 0.7, 0.4, 0.3],
}


def curves(axis) -> dict:
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines}


def test_each_metric_stands_beside_its_validation():
    loss, accuracy, rate = plot_history(RUN).axes
    epochs = [1, 2, 3, 4]
    assert [axis.get_title() for axis in (loss, accuracy, rate)] == ["loss", "accuracy", "learning_rate"]
    assert curves(loss) == {"training": (epochs, RUN["loss"]), "validation": (epochs, RUN["val_loss"])}
    assert curves(accuracy) == {"training": (epochs, RUN["accuracy"]), "validation": (epochs, RUN["val_accuracy"])}
    assert curves(rate) == {"training": (epochs, RUN["learning_rate"])}
    assert (loss.get_yscale(), rate.get_yscale()) == ("linear", "log")
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["training", "validation"]
    assert rate.get_legend() is None and all(axis.get_xlabel() == "epoch" for axis in (loss, accuracy, rate))


def test_a_learning_rate_of_zero_has_no_logarithm():
    assert plot_history({"learning_rate": [0.0, 0.1]}).axes[0].get_yscale() == "linear"


def test_validation_alone_has_an_axis():
    (axis,) = plot_history({"val_f1": [0.1, 0.2]}).axes
    assert axis.get_title() == "f1" and list(curves(axis)) == ["validation"]


@pytest.mark.parametrize(
    ("count", "measured", "expected"), [(10, None, [5, 10]), (10, [4, 8], [4, 8]), (7, None, [3, 6]), (2, None, [1, 2])]
)
def test_a_shorter_curve_stands_at_the_epochs_that_were_validated(count, measured, expected):
    epochs = None if measured is None else {"val_loss": measured}
    (axis,) = plot_history({"loss": [1.0] * count, "val_loss": [2.0, 3.0]}, epochs=epochs).axes
    assert curves(axis) == {"training": ([*range(1, count + 1)], [1.0] * count), "validation": (expected, [2.0, 3.0])}
    assert axis.get_xlim() == (0.5, count + 0.5)


@pytest.mark.parametrize(
    ("frequency", "first", "expected"),
    [(1, 0, [1, 2, 3, 4, 5]), (2, 0, [2, 4]), (4, 0, [4]), ([1, 4], 0, [1, 4]), (2, 3, [4])],
)
def test_epochs_are_those_of_fit(frequency, first, expected):
    model = ostinato.Sequential([ostinato.Input((2,)), ostinato.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    x, y = np.ones((4, 2), "float32"), np.zeros((4, 1), "float32")
    options = {"validation_data": (x, y), "validation_freq": frequency, "initial_epoch": first}
    history = model.fit(x, y, epochs=5, verbose=0, **options)
    (axis,) = history.plot().axes
    assert curves(axis)["training"][0] == [*range(first + 1, 6)]
    assert curves(axis)["validation"] == (expected, history.history["val_loss"])


@pytest.mark.parametrize("count", range(1, 11))
def test_as_many_axes_as_metrics_and_nothing_is_cut(count):
    long = "a_metric_with_a_very_long_name_that_says_what_it_measures"
    figure = plot_history({f"{long}_{i}": [float(i), 1.0, 1e-7] for i in range(count)})
    figure.savefig(io.BytesIO(), format="png")
    assert len(figure.axes) == count
    for axis in figure.axes:
        box = axis.get_tightbbox()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
    boxes = [axis.get_tightbbox() for axis in figure.axes]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_signs_of_tex_are_text():
    figure = plot_history({"cost in $": [1.0], "$\\frac$": [2.0]})
    figure.savefig(io.BytesIO(), format="png")
    assert [axis.get_title() for axis in figure.axes] == ["cost in $", "$\\frac$"]


@pytest.mark.parametrize("history", [{}, {"loss": []}])
def test_nothing_recorded_is_said(history):
    with pytest.raises(ValueError, match="no epoch was recorded"):
        plot_history(history)


def test_the_file_is_a_png_and_no_figure_stays_open(tmp_path: Path):
    before = matplotlib.pyplot.get_fignums()
    path = tmp_path / "curves.png"
    figure = plot_history(RUN, path)
    assert path.read_bytes().startswith(SIGNATURE) and isinstance(figure, matplotlib.figure.Figure)
    assert matplotlib.pyplot.get_fignums() == before and [item.name for item in tmp_path.iterdir()] == ["curves.png"]


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'ostinato\[plots\]'"):
        plot_history(RUN)


def test_what_fit_returns_draws_itself(tmp_path: Path):
    model = ostinato.Sequential([ostinato.Input((2,)), ostinato.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse", metrics=["mse"])
    x, y = np.ones((8, 2), "float32"), np.zeros((8, 1), "float32")
    history = model.fit(x, y, epochs=3, validation_data=(x, y), verbose=0)
    figure = history.plot(tmp_path / "run.png")
    assert (tmp_path / "run.png").read_bytes().startswith(SIGNATURE)
    for axis in figure.axes:
        name = axis.get_title()
        expected = {"training": ([1, 2, 3], history.history[name])}
        assert curves(axis) == {**expected, "validation": ([1, 2, 3], history.history[f"val_{name}"])}
    assert len(history.plot().axes) == len(figure.axes) == 2


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("short", 10, ["short"]),
        ("one two three", 8, ["one two", "three"]),
        ("abcdefghij", 4, ["abcd", "efgh", "ij"]),
        ("", 4, [""]),
        ("block_1/attention_head_output", 16, ["block_1/", "attention_head_", "output"]),
    ],
)
def test_text_is_broken_where_names_have_joints(text, width, lines):
    assert wrapped(text, width).split("\n") == lines
