"""TensorBoard: what is written where, by a stand-in for torch's writer; and read back, where tensorboard is there."""

import builtins
import sys
import types
from typing import ClassVar

import numpy as np
import pytest
import torch

import ostinato
from ostinato import callbacks
from ostinato.callbacks import CallbackList


class Writer:
    """Remembers what was written; the class remembers all writers."""

    made: ClassVar[list] = []

    def __init__(self, folder):
        self.folder, self.closed, self.calls = folder, False, []
        self.made.append(self)

    def add_scalar(self, tag, value, step):
        self.calls.append((tag, float(value), step))

    def add_histogram(self, tag, values, step):
        self.calls.append((tag, tuple(values.shape), step))

    def add_images(self, tag, images, step, dataformats):
        assert dataformats == "NHWC"
        self.calls.append((tag, tuple(images.shape), step))

    def flush(self):
        pass

    def close(self):
        self.closed = True


@pytest.fixture
def written(monkeypatch):
    """What was written, by folder; all writers are closed in the end."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Writer))
    monkeypatch.setattr(Writer, "made", [])

    def found():
        assert all(writer.closed for writer in Writer.made)
        return {name: [call for w in Writer.made if w.folder == name for call in w.calls] for name in _folders()}

    return found


def _folders():
    return dict.fromkeys(writer.folder for writer in Writer.made)


def model(optimizer="sgd"):
    made = ostinato.Sequential([ostinato.Input((2,)), ostinato.layers.Dense(3, name="inner"), torch.nn.Linear(3, 1)])
    made.compile(optimizer(made) if callable(optimizer) else optimizer, "mse")
    return made


def train(callback, made, epochs=2, batches=3, validation=True, error=None):
    callbacks_ = CallbackList(callback, model=made, params={"epochs": epochs, "steps": batches})
    with callbacks_.phase("train") as run:
        for epoch in range(epochs):
            run.epoch_begin(epoch)
            for batch in range(batches):
                run.batch_begin(batch)
                run.batch_end(batch, lambda epoch=epoch, batch=batch: {"loss": 10.0 * epoch + batch})
            logs = {"loss": 0.5 + epoch, "accuracy": 0.25}
            if validation:
                with callbacks_.phase("test") as test:
                    test.logs = {"loss": 5.0 + epoch}
                logs["val_loss"] = 5.0 + epoch
            run.epoch_end(epoch, logs)
            if error is not None:
                raise error
    return callbacks_


def test_epochs(written):
    train(callbacks.TensorBoard("logs"), model(ostinato.optimizers.SGD(0.25)))
    assert written() == {
        "logs/validation": [
            ("evaluation_loss_vs_iterations", 5.0, 0),
            ("epoch_loss", 5.0, 0),
            ("evaluation_loss_vs_iterations", 6.0, 0),
            ("epoch_loss", 6.0, 1),
        ],
        "logs/train": [
            ("epoch_loss", 0.5, 0),
            ("epoch_accuracy", 0.25, 0),
            ("epoch_learning_rate", 0.25, 0),
            ("epoch_loss", 1.5, 1),
            ("epoch_accuracy", 0.25, 1),
            ("epoch_learning_rate", 0.25, 1),
        ],
    }


@pytest.mark.parametrize(
    ("frequency", "steps"),
    [("batch", range(1, 7)), (1, range(1, 7)), (2, (2, 4, 6)), (4, (4,)), (100, ()), ("epoch", ())],
)
def test_batches(written, frequency, steps):
    """Batches count from 1 through all epochs, as in Keras; anew in each training."""
    callback = callbacks.TensorBoard("logs", update_freq=frequency)
    for _ in range(2):
        train(callback, model(), validation=False)
        found = [call for call in written()["logs/train"] if call[0].startswith("batch")]
        assert found == [("batch_loss", 10.0 * ((s - 1) // 3) + (s - 1) % 3, s) for s in steps]
        Writer.made.clear()


def test_batches_that_are_not_written_are_not_computed(written):
    asked = []
    with CallbackList(callbacks.TensorBoard(update_freq=3), model=model()).phase("train") as run:
        for batch in range(10):
            run.batch_begin(batch)
            run.batch_end(batch, lambda: asked.append(1) or {"loss": 1.0})
    assert len(asked) == 3


def test_steps_per_second(written):
    train(callbacks.TensorBoard("logs", write_steps_per_second=True, update_freq=2), model(), validation=False)
    found = {(tag, step): value for tag, value, step in written()["logs/train"] if "second" in tag}
    assert list(found) == [
        ("batch_steps_per_second", 2),
        ("epoch_steps_per_second", 0),
        ("batch_steps_per_second", 4),
        ("batch_steps_per_second", 6),
        ("epoch_steps_per_second", 1),
    ]
    assert all(value > 0 for value in found.values())


@pytest.mark.parametrize("images", [False, True])
def test_histograms(written, images):
    made = model()
    train(callbacks.TensorBoard("logs", histogram_freq=2, write_images=images), made, epochs=3, validation=False)
    found = [call for call in written()["logs/train"] if "/" in call[0]]
    each = [
        ("inner/kernel/histogram", (2, 3)),
        ("inner/kernel/image", (1, 2, 3, 1)),
        ("inner/bias/histogram", (3,)),
        ("inner/bias/image", (1, 3, 1, 1)),
        ("Linear/weight/histogram", (1, 3)),
        ("Linear/weight/image", (1, 3, 1, 1)),
        ("Linear/bias/histogram", (1,)),
    ]
    wanted = [call for call in each if images or "image" not in call[0]]
    assert found == [(*call, epoch) for epoch in (0, 2) for call in wanted]


def test_a_plain_torch_optimizer(written):
    made = model(lambda made: torch.optim.SGD(made.parameters(), lr=0.5))
    train(callbacks.TensorBoard("logs"), made, epochs=1)
    assert written() == {
        "logs/train": [("epoch_loss", 0.5, 0), ("epoch_accuracy", 0.25, 0), ("epoch_learning_rate", 0.5, 0)],
        "logs/validation": [("epoch_loss", 5.0, 0)],  # it does not count its steps
    }


def test_evaluate(written, tmp_path):
    with CallbackList(callbacks.TensorBoard(tmp_path), model=model()).phase("test") as run:
        run.logs = {"loss": 3.0}
    assert written() == {f"{tmp_path}/validation": [("evaluation_loss_vs_iterations", 3.0, 0)]}


def test_nothing_is_made_before_there_is_something_to_write(written):
    made = model()
    with CallbackList(callbacks.TensorBoard(), model=made).phase("train") as run:
        run.epoch_begin(0)
        assert written() == {}
    with CallbackList(callbacks.TensorBoard(), model=made).phase("predict"):
        pass
    assert written() == {}


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_writers_are_closed_whatever_happens(written, error):
    with pytest.raises(error):
        train(callbacks.TensorBoard("logs"), model(), error=error)
    assert len(written()) == 2


def test_writers_are_closed_if_one_fails(written, monkeypatch):
    monkeypatch.setattr(Writer, "add_histogram", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(callbacks.TensorBoard("logs", histogram_freq=1), model())
    assert len(written()) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profile_batch": 2}, "profile_batch must be 0, got 2"),
        ({"profile_batch": (2, 4)}, "profile_batch must be 0"),
        ({"embeddings_freq": 1}, "embeddings_freq must be 0"),
        ({"embeddings_metadata": {"a": "b"}}, "embeddings_metadata None"),
        ({"update_freq": "epochs"}, "update_freq must be 'epoch', 'batch', or a number of batches, got 'epochs'"),
        ({"update_freq": 0}, "got 0"),
        ({"update_freq": -3}, "got -3"),
        ({"update_freq": 1.5}, "got 1.5"),
        ({"update_freq": True}, "got True"),
    ],
)
def test_misuse(written, options, message):
    with pytest.raises(ValueError, match=message):
        callbacks.TensorBoard(**options)


def test_without_tensorboard(monkeypatch):
    """Told when the callback is made, before anything is computed."""
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.delitem(sys.modules, "tensorboard", raising=False)
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.split(".")[0] == "tensorboard" or name == "torch.utils.tensorboard":
            raise ModuleNotFoundError("No module named 'tensorboard'", name="tensorboard")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'ostinato\[tensorboard\]'"):
        callbacks.TensorBoard()


def test_read_back(tmp_path):
    """The files that torch writes, read by tensorboard itself."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    made = model(ostinato.optimizers.SGD(0.25))
    callback = callbacks.TensorBoard(tmp_path, histogram_freq=1, write_images=True, update_freq=2)
    train(callback, made)

    def scalars(folder):
        events = EventAccumulator(str(tmp_path / folder))
        events.Reload()
        found = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
        return found, events

    training, events = scalars("train")
    assert training["epoch_loss"] == [(0, 0.5), (1, 1.5)]
    assert training["epoch_learning_rate"] == [(0, 0.25), (1, 0.25)]
    assert training["batch_loss"] == [(2, 1.0), (4, 10.0), (6, 12.0)]
    assert "inner/kernel/histogram" in events.Tags()["histograms"]
    assert "inner/kernel/image" in events.Tags()["images"]
    histogram = events.Histograms("inner/kernel/histogram")[0].histogram_value
    np.testing.assert_allclose(histogram.sum, made.layers[0].get_weights()[0].sum(), rtol=1e-5)
    assert histogram.num == 6
    validation, _ = scalars("validation")
    assert validation == {
        "epoch_loss": [(0, 5.0), (1, 6.0)],
        "evaluation_loss_vs_iterations": [(0, 5.0), (0, 6.0)],
    }
