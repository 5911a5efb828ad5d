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
    made = Interrupted([ostinato.layers.Dense(2)])
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
