"""The picture of a run: what is in it, and how it comes to the disk."""

import io
import sys
from pathlib import Path

import matplotlib.image
import matplotlib.pyplot
import numpy as np
import pytest
from matplotlib.colors import same_color
from matplotlib.figure import Figure

from ostinato.plots.training import draw_run, run_figure

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LABELS, PREDICTIONS = [3, 1, 4, 1, 5], [3, 1, 9, 1, 6]
IMAGES = np.arange(5 * 8 * 8).reshape(5, 8, 8) % 17


def history(epochs: int) -> dict[str, list[float]]:
    falling = [1 / (epoch + 1) for epoch in range(epochs)]
    return {
        "loss": falling,
        "val_loss": [1.2 * value for value in falling],
        "accuracy": [1 - value / 2 for value in falling],
        "val_accuracy": [0.9 - value / 2 for value in falling],
    }


def drawn(*arguments) -> Figure:
    """A figure with its layout computed."""
    figure = run_figure(*arguments)
    figure.savefig(io.BytesIO(), format="png")
    return figure


def many(count: int) -> tuple[np.ndarray, list[int], list[int]]:
    labels = [number % 10 for number in range(count)]
    return np.resize(IMAGES, (count, 8, 8)), labels, labels


def pictures(figure: Figure) -> list:
    return [axis for axis in figure.axes if axis.images]


def test_two_curves_in_each_of_two_panels():
    run = history(4)
    loss, accuracy, *rest = drawn(run, IMAGES, LABELS, PREDICTIONS).axes
    assert len(rest) == 5
    for axis, name in ((loss, "loss"), (accuracy, "accuracy")):
        assert (axis.get_title(), axis.get_xlabel()) == (name, "epoch")
        assert [text.get_text() for text in axis.get_legend().get_texts()] == ["training", "test"]
        assert [list(line.get_xdata()) for line in axis.lines] == [[1, 2, 3, 4]] * 2
        assert [list(line.get_ydata()) for line in axis.lines] == [run[name], run[f"val_{name}"]]


@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 15, 200])
def test_epochs_are_whole_numbers(epochs):
    for axis in drawn(history(epochs), IMAGES, LABELS, PREDICTIONS).axes[:2]:
        low, high = axis.get_xlim()
        shown = [tick for tick in axis.get_xticks() if low <= tick <= high]
        assert shown and all(tick == round(tick) for tick in shown)


def test_a_single_epoch_can_be_seen():
    """A line of one point is nothing but its marker."""
    loss = drawn(history(1), IMAGES, LABELS, PREDICTIONS).axes[0]
    assert all(line.get_marker() not in ("", "None", None) for line in loss.lines)


def test_images_stand_under_what_was_read():
    axes = pictures(drawn(history(2), IMAGES, LABELS, PREDICTIONS))
    assert [axis.get_title() for axis in axes] == ["3", "1", "9 (is 4)", "1", "6 (is 5)"]
    for axis, image, label, read in zip(axes, IMAGES, LABELS, PREDICTIONS, strict=True):
        np.testing.assert_array_equal(axis.images[0].get_array(), image)
        assert same_color(axis.title.get_color(), "black" if label == read else "tab:red")


@pytest.mark.parametrize("count", [1, 5, 10, 12, 13, 30])
def test_there_is_room_for_the_images_and_none_is_wasted(count):
    figure = drawn(history(3), *many(count))
    axes = pictures(figure)
    assert len(axes) == count
    boxes = [axis.get_window_extent() for axis in axes]
    inches = [min(box.width, box.height) / figure.dpi for box in boxes]
    assert min(inches) > 0.5
    curves = min(axis.get_tightbbox().y0 for axis in figure.axes[:2])
    highest = max(axis.get_tightbbox().y1 for axis in axes)
    assert 0 < (curves - highest) / figure.dpi < 0.6, "between the curves and the images there is a line of text"
    assert 0 <= min(box.y0 for box in boxes) / figure.dpi < 0.4, "under the images there is the edge"


def test_without_images_there_are_curves():
    figure = drawn(history(3), IMAGES[:0], [], [])
    assert [axis.get_title() for axis in figure.axes] == ["loss", "accuracy"]


def test_without_validation_there_is_one_curve():
    run = {"loss": [2.0, 1.0], "accuracy": [0.5, 0.75]}
    for axis in drawn(run, IMAGES, LABELS, PREDICTIONS).axes[:2]:
        assert [text.get_text() for text in axis.get_legend().get_texts()] == ["training"]


def test_what_was_not_recorded_is_not_drawn():
    loss, accuracy, *_ = drawn({"loss": [2.0, 1.0]}, IMAGES, LABELS, PREDICTIONS).axes
    assert len(loss.lines) == 1 and not accuracy.lines


@pytest.mark.parametrize(("labels", "predictions"), [(LABELS[:4], PREDICTIONS), (LABELS, [*PREDICTIONS, 0])])
def test_each_image_has_a_label_and_a_prediction(labels, predictions):
    with pytest.raises(ValueError, match="argument"):
        run_figure(history(2), IMAGES, labels, predictions)


def test_the_file_is_a_png_of_the_figure(tmp_path: Path):
    path = tmp_path / "run.png"
    draw_run(path, history(3), IMAGES, LABELS, PREDICTIONS)
    assert path.read_bytes().startswith(SIGNATURE)
    width, height = run_figure(history(3), IMAGES, LABELS, PREDICTIONS).get_size_inches()
    pixels = matplotlib.image.imread(path)
    assert pixels.shape[:2] == (round(height * 110), round(width * 110))
    colours = {tuple(colour) for colour in pixels[..., :3].reshape(-1, 3).round(1).tolist()}
    assert {(1.0, 1.0, 1.0), (0.0, 0.0, 0.0)} < colours, "paper, and text"
    assert [item.name for item in tmp_path.iterdir()] == ["run.png"]


def test_a_drawing_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail_halfway(self, file, **options):
        file.write(SIGNATURE)
        raise OSError("no space left")

    path = tmp_path / "run.png"
    path.write_bytes(b"the old picture")
    monkeypatch.setattr(Figure, "savefig", fail_halfway)
    with pytest.raises(OSError, match="no space left"):
        draw_run(path, history(3), IMAGES, LABELS, PREDICTIONS)
    assert path.read_bytes() == b"the old picture"
    assert [item.name for item in tmp_path.iterdir()] == ["run.png"]


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'ostinato\[plots\]'") as caught:
        draw_run(tmp_path / "run.png", history(3), IMAGES, LABELS, PREDICTIONS)
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    assert not list(tmp_path.iterdir())


def test_drawing_leaves_no_figure_open(tmp_path: Path):
    """A figure that pyplot knows of would be shown in a notebook a second time, and kept for ever."""
    before = matplotlib.pyplot.get_fignums()
    draw_run(tmp_path / "run.png", history(3), IMAGES, LABELS, PREDICTIONS)
    assert matplotlib.pyplot.get_fignums() == before
