"""What training shows: nothing, lines, or a bar."""

import io
import os
import pty
import re
import subprocess
import sys
import types

import numpy as np
import pytest
from rich.console import Console

import ostinato
from ostinato.callbacks import CallbackList, LambdaCallback, ProgressBar
from ostinato.training.callbacks import progress

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "JUPYTER_COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


class Terminal(io.StringIO):
    """A file that says it is a terminal, and remembers what was written."""

    def isatty(self):
        return True

    @property
    def screen(self):
        """The lines that stand there in the end, without what was drawn over."""
        lines, row = [""], 0
        for part in re.split(rf"({ESCAPE.pattern}|\n)", self.getvalue()):
            if part == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            elif re.fullmatch(r"\x1b\[\d+A", part):
                row -= int(part[2:-1])
            elif part == "\x1b[2K":
                lines[row] = ""
            elif not part.startswith("\x1b"):
                lines[row] += part.strip("\r")
        return [line.rstrip() for line in lines if line.strip()]


@pytest.fixture
def terminal(monkeypatch):
    found = Terminal()
    monkeypatch.setattr(progress, "sys", types.SimpleNamespace(stdout=found))
    return found


def model():
    made = ostinato.Sequential([ostinato.layers.LSTM(3), ostinato.layers.Dense(2)])
    made.compile("sgd", ostinato.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return made


def data(samples=10):
    return np.ones((samples, 4, 2), "float32"), np.arange(samples) % 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0000"),
        (0.32104, "0.3210"),
        (1e-3, "0.0010"),
        (9.99e-4, "9.9900e-04"),
        (-12.5, "-12.5000"),
        (123456.0, "1.2346e+05"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
    ],
)
def test_numbers(value, text):
    assert progress.numbers({"loss": value}) == f"loss: {text}"


def test_silence(capsys):
    history = model().fit(*data(), epochs=2, validation_data=data(), verbose=0)
    assert len(history.epoch) == 2
    model().evaluate(*data(), verbose=0)
    model().predict(data()[0], verbose=0)
    assert capsys.readouterr().out == ""


LINE = (
    r"Epoch {}/2  4 steps  \d+\.\d s  loss: \d\.\d{{4}}  accuracy: \d\.\d{{4}}  "
    r"val_loss: \d\.\d{{4}}  val_accuracy: \d\.\d{{4}}"
)


@pytest.mark.parametrize("verbose", [2, "auto"])
def test_a_line_an_epoch_where_there_is_no_terminal(capsys, verbose):
    history = model().fit(*data(), epochs=2, batch_size=3, validation_data=data(), verbose=verbose)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for number, line in enumerate(lines):
        assert re.fullmatch(LINE.format(number + 1), line)
        assert f"loss: {history.history['loss'][number]:.4f}  " in line
        assert line.endswith(f"val_accuracy: {history.history['val_accuracy'][number]:.4f}")


def test_lines_are_not_broken(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    model().fit(*data(), validation_data=data(), verbose=2)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_lines_of_evaluate_and_predict(capsys):
    made = model()
    made.evaluate(*data(), verbose=2)
    made.predict(data()[0], batch_size=4)
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"Evaluate  1 steps  \d+\.\d s  loss: \d\.\d{4}  accuracy: \d\.\d{4}", lines[0])
    assert re.fullmatch(r"Predict  3 steps  \d+\.\d s", lines[1])


@pytest.mark.parametrize("verbose", [1, "auto"])
@pytest.mark.parametrize("width", [50, 80, 100, 150])
def test_a_bar_on_a_terminal(terminal, monkeypatch, verbose, width):
    """In the usual 80 columns, too: what does not fit behind the bar stands below it."""
    monkeypatch.setenv("COLUMNS", str(width))
    history = model().fit(*data(), epochs=2, batch_size=3, validation_data=data(), verbose=verbose)
    assert terminal.getvalue().count(HIDE) == terminal.getvalue().count(SHOW) == 2
    lines = terminal.screen
    assert len(lines) == {50: 6, 80: 4, 100: 4, 150: 2}[width]  # and what was drawn on the way is gone
    assert max(map(len, lines)) <= width
    each = len(lines) // 2
    for number in range(2):
        text = " ".join(" ".join(lines[each * number : each * (number + 1)]).split())
        numbers = ["loss", "accuracy", "val_loss", "val_accuracy"]
        shown = " ".join(f"{name}: {history.history[name][number]:.4f}" for name in numbers)
        assert re.fullmatch(rf"Epoch {number + 1}/2 4/4 ━+ \d:\d\d:\d\d {shown}", text)


def test_few_numbers_stand_behind_the_bar(terminal):
    model().fit(*data(), epochs=2, batch_size=3, verbose=1)
    assert [re.sub("━+", "━", line)[:27] for line in terminal.screen] == [
        "Epoch 1/2 4/4 ━ 0:00:00 los",
        "Epoch 2/2 4/4 ━ 0:00:00 los",
    ]


def test_lines_on_a_terminal(terminal):
    model().fit(*data(), epochs=2, verbose=2)
    assert HIDE not in terminal.getvalue()
    assert len(terminal.screen) == 2


def test_a_bar_where_there_is_no_terminal_is_drawn_once(capsys):
    model().fit(*data(), epochs=2, batch_size=3, verbose=1)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:13] for line in lines] == ["Epoch 1/2 4/4", "Epoch 2/2 4/4"]


def test_the_bar_shows_numbers_on_the_way():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    bar = progress.Bar(console)
    bar.begin("Epoch 1/1", 4)
    asked = []
    for step in range(4):
        bar.next = 0.0 if step != 2 else float("inf")  # as if time had passed, but before the third step
        bar.step(lambda step=step: asked.append(step) or {"loss": 0.5 + step})
    bar.end({"loss": 9.0})
    shown = re.findall(r"loss: (\d\.\d{4})", console.file.getvalue())
    assert asked == [0, 1, 3]
    assert list(dict.fromkeys(shown)) == ["0.5000", "1.5000", "3.5000", "9.0000"]


def test_the_numbers_are_not_asked_for_at_every_step():
    """Each time means waiting for a GPU."""
    bar = progress.Bar(Console(file=io.StringIO(), force_terminal=True, width=100))
    bar.begin("Epoch 1/1", 1000)
    asked = []
    for _ in range(1000):
        bar.step(lambda: asked.append(1) or {})
    bar.close()
    assert 1 <= len(asked) < 100


class Interrupted(ostinato.Sequential):
    """Stops in its second batch."""

    calls = 0

    def compute(self, args, kwargs, mask):
        self.calls += 1
        if self.calls == 2:
            raise self.error
        return super().compute(args, kwargs, mask)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError("mine")])
@pytest.mark.parametrize("what", ["fit", "evaluate", "predict"])
def test_a_terminal_survives_an_exception(terminal, error, what):
    made = Interrupted([ostinato.Input((2,)), ostinato.layers.Dense(2)])
    made.compile("sgd", "mse")
    made.error = error
    x = np.ones((6, 2), "float32")
    with pytest.raises(error if isinstance(error, type) else type(error)):
        getattr(made, what)(x, *([] if what == "predict" else [x]), batch_size=2, verbose=1)
    written = terminal.getvalue()
    assert written.count(HIDE) == written.count(SHOW) == 1
    assert written.index(HIDE) < written.index(SHOW)
    assert written.endswith("\n") or written.endswith(SHOW)
    assert " 1/3 " in terminal.screen[-1]


def test_a_real_terminal():
    """In a process of its own, on a pseudo terminal."""
    program = (
        "import numpy as np, ostinato\n"
        "model = ostinato.Sequential([ostinato.layers.Dense(2)])\n"
        "model.compile('sgd', 'mse')\n"
        "model.fit(np.ones((6, 2)), np.ones((6, 2)), batch_size=2, epochs=2)\n"
    )
    leader, follower = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", program], stdout=follower, stderr=subprocess.PIPE) as process:
        os.close(follower)
        chunks = []
        while True:
            try:
                chunk = os.read(leader, 4096)
            except OSError:  # on Linux, the other end is closed
                break
            if not chunk:
                break
            chunks.append(chunk)
        os.close(leader)
        assert process.stderr.read() == b""
    assert process.returncode == 0
    text = b"".join(chunks).decode()
    assert text.count(HIDE) == text.count(SHOW) == 2
    assert "Epoch 2/2 3/3 ━━" in ESCAPE.sub("", text)


@pytest.mark.parametrize("verbose", [3, -1, "yes", None, "2"])
def test_an_unknown_verbosity(verbose):
    with pytest.raises(ValueError, match=re.escape(f"verbose must be 0, 1, 2 or 'auto', got {verbose!r}")):
        progress.display(verbose)


# -- the callback -----------------------------------------------------------------------------------------------------


def run_fit(bar, epochs=2, steps=3, known=True, validation=True, logs=None, fails=None):
    """A training as `fit` tells of it. fails: the epoch whose second batch raises KeyboardInterrupt."""
    told = CallbackList(bar, params={"epochs": epochs, "steps": steps if known else None})
    with told.phase("train") as run:
        for epoch in range(epochs):
            run.epoch_begin(epoch)
            for batch in range(steps):
                run.batch_begin(batch)
                if (epoch, batch) == (fails, 1):
                    raise KeyboardInterrupt
                run.batch_end(batch, logs or (lambda: {"loss": 0.5}))
            numbers = {"loss": 0.5}
            if validation:
                with told.phase("test") as test:
                    test.batch_end(0, lambda: {"loss": 9.0})
                    test.logs = {"loss": 0.25}
                numbers["val_loss"] = 0.25
            run.epoch_end(epoch, numbers)


def run_pass(bar, kind, steps=3, known=True, fails=False):
    """An evaluation or a prediction, as `evaluate` and `predict` tell of them."""
    with CallbackList(bar, params={"epochs": 1, "steps": steps if known else None}).phase(kind) as run:
        for batch in range(steps):
            if fails and batch == 1:
                raise KeyboardInterrupt
            run.batch_end(batch, lambda: {"loss": 0.5} if kind == "test" else {})
        if kind == "test":
            run.logs = {"loss": 0.5}


def plain(text):
    return re.sub(r"\d+\.\d s|\d:\d\d:\d\d", "T", re.sub("━+[╸╺]?━*", "━", text))


def squeezed(lines):
    return [plain(line) for line in lines]


NUMBERS = "loss: 0.5000  val_loss: 0.2500"


@pytest.mark.parametrize("known", [True, False])
def test_lines_of_a_callback(capsys, known):
    run_fit(ProgressBar(2), known=known)
    run_pass(ProgressBar(2), "test", known=known)
    run_pass(ProgressBar(2), "predict", known=known)
    assert squeezed(capsys.readouterr().out.splitlines()) == [
        f"Epoch 1/2  3 steps  T  {NUMBERS}",
        f"Epoch 2/2  3 steps  T  {NUMBERS}",
        "Evaluate  3 steps  T  loss: 0.5000",
        "Predict  3 steps  T",
    ]


def test_bars_of_a_callback(terminal):
    bar = ProgressBar(1)
    run_fit(bar)
    run_pass(bar, "test")  # the same callback again
    run_pass(bar, "predict")
    assert squeezed(terminal.screen) == [
        f"Epoch 1/2 3/3 ━ T {NUMBERS}",
        f"Epoch 2/2 3/3 ━ T {NUMBERS}",
        "Evaluate 3/3 ━ T loss: 0.5000",
        "Predict 3/3 ━ T",
    ]
    assert terminal.getvalue().count(HIDE) == terminal.getvalue().count(SHOW) == 4


@pytest.mark.parametrize("width", [30, 100])
def test_a_count_where_nobody_knows_the_end(terminal, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    run_fit(ProgressBar(1), known=False)
    run_pass(ProgressBar(1), "predict", known=False)
    epochs = [f"Epoch {n}/2 3 steps T" for n in (1, 2)]
    if width == 100:
        lines = [f"{each} {NUMBERS}" for each in epochs]
    else:
        lines = [line for each in epochs for line in (each, "  loss: 0.5000  val_loss:", "0.2500")]
    assert squeezed(terminal.screen) == [*lines, "Predict 3 steps T"]
    assert "━" not in terminal.getvalue()


def test_no_epochs_and_no_batches(terminal):
    run_fit(ProgressBar(1), epochs=0)
    assert terminal.getvalue() == ""
    run_pass(ProgressBar(1), "predict", steps=0)
    assert squeezed(terminal.screen) == ["Predict 0/0 ━ T"]


def test_silence_of_a_callback(capsys):
    run_fit(ProgressBar(0))
    run_pass(ProgressBar(0), "test")
    assert capsys.readouterr().out == ""


def test_the_callback_asks_rarely(terminal):
    asked = []
    run_fit(ProgressBar(1), epochs=1, steps=1000, logs=lambda: asked.append(1) or {"loss": 0.5})
    assert 1 <= len(asked) < 100
    asked.clear()
    run_fit(ProgressBar(2), epochs=1, steps=10, logs=lambda: asked.append(1) or {"loss": 0.5})
    assert asked == []


def test_what_other_callbacks_print_stands_above_the_bar(terminal, monkeypatch):
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(progress, "sys", sys)
    prints = LambdaCallback(on_epoch_end=lambda epoch, logs: print(f"epoch {epoch} is over"))
    run_fit([prints, ProgressBar(1)])
    assert squeezed(terminal.screen) == [
        "epoch 0 is over",
        f"Epoch 1/2 3/3 ━ T {NUMBERS}",
        "epoch 1 is over",
        f"Epoch 2/2 3/3 ━ T {NUMBERS}",
    ]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("verbose", [1, 2])
def test_an_interrupted_callback(terminal, verbose, known):
    """The bar stands as far as it came; no line reports what did not end."""
    with pytest.raises(KeyboardInterrupt):
        run_fit(ProgressBar(verbose), known=known, fails=1)
    with pytest.raises(KeyboardInterrupt):
        run_pass(ProgressBar(verbose), "test", known=known, fails=True)
    written = terminal.getvalue()
    assert written.count(HIDE) == written.count(SHOW) == (3 if verbose == 1 else 0)
    lines = squeezed(terminal.screen)
    if verbose == 2:
        assert lines == [f"Epoch 1/2  3 steps  T  {NUMBERS}"]
    else:
        count = "1/3 ━" if known else "1 steps"
        ends = [f"Epoch 2/2 {count} T", f"Evaluate {count} T"]
        assert [line.removesuffix(" loss: 0.5000") for line in lines if count[:3] in line] == ends


def test_an_interrupted_prediction_reports_nothing(capsys):
    with pytest.raises(KeyboardInterrupt):
        run_pass(ProgressBar(2), "predict", fails=True)
    assert capsys.readouterr().out == ""


class Broken(Terminal):
    """A terminal that fails once, in a step."""

    failed = False

    def write(self, text):
        if "1/3" in text and not self.failed:
            self.failed = True
            raise OSError("gone")
        return super().write(text)


def test_a_screen_that_fails_is_let_go(monkeypatch):
    found = Broken()
    monkeypatch.setattr(progress, "sys", types.SimpleNamespace(stdout=found))
    bar = ProgressBar(1)
    with pytest.raises(OSError, match="gone"):
        run_fit(bar)
    assert found.getvalue().count(HIDE) == found.getvalue().count(SHOW)
    assert bar._screen.live is None


def test_the_callback_by_hand():
    """As in a loop of one's own, with dicts."""
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    bar = ProgressBar(1)
    bar.set_params({"epochs": 1, "steps": 2})
    bar.on_train_begin()
    bar._screen = progress.Bar(console)
    bar.on_epoch_begin(0)
    bar.on_train_batch_begin(0)
    bar.on_train_batch_end(0, {"loss": 0.75})
    bar.on_train_batch_end(1)
    bar.on_epoch_end(0, {"loss": 0.5})
    bar.on_train_end()
    assert "loss: 0.7500" in console.file.getvalue()
    assert "Epoch 1/1 2/2" in console.file.getvalue()


@pytest.mark.parametrize("verbose", [3, "yes", None])
def test_a_callback_of_unknown_verbosity(verbose):
    with pytest.raises(ValueError, match=re.escape(f"verbose must be 0, 1, 2 or 'auto', got {verbose!r}")):
        ProgressBar(verbose)


def test_numbers_that_are_no_floats():
    assert progress.numbers({"f1": [0.5, 0.25], "n": 3}) == "f1: [0.5, 0.25]  n: 3.0000"
