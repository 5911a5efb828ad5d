"""The command `ostinato`: the demo does what the README says of it, and wrong arguments are refused."""

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import matplotlib.image
import numpy as np
import pytest
import torch

from ostinato import cli
from ostinato.datasets import digits


class Ran(NamedTuple):
    """A finished `python -m ostinato demo`, and the folder that it ran in."""

    status: int
    printed: str
    complained: str
    folder: Path


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The demo as a user starts it, whole, in an empty folder."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "ostinato", "demo"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    return Ran(done.returncode, done.stdout, done.stderr, folder)


def test_the_demo_ends_well_and_complains_of_nothing(demo: Ran):
    assert (demo.status, demo.complained) == (0, "")


def test_the_demo_reads_digits_it_has_not_seen(demo: Ran):
    found = re.search(r"^Test accuracy: (0\.\d{4}|1\.0000) on 360 images", demo.printed, re.MULTILINE)
    assert found and float(found[1]) >= 0.95


def test_the_demo_shows_the_model_and_each_epoch(demo: Ran):
    for layer in ("LSTM", "BatchNormalization", "Dense"):
        assert f"({layer})" in demo.printed
    epochs = re.findall(r"^Epoch (\d+)/\d+ .* loss: .* accuracy: .* val_loss: .* val_accuracy: ", demo.printed, re.M)
    assert len(epochs) == sum(epochs for _, epochs in cli.PHASES)


def test_the_demo_says_which_engine_ran_and_why(demo: Ran):
    _, found, answer = demo.printed.partition("Which engine ran, and why:\n")
    assert found
    first, why, *_ = answer.splitlines()
    assert re.fullmatch(r"lstm: lstm float32 on \w+, .*engine '\w+'", first)
    assert re.fullmatch(r"  '\w+' \S.+", why)


def test_the_demo_draws_one_picture(demo: Ran):
    assert [path.name for path in demo.folder.iterdir()] == ["ostinato-demo.png"]
    assert "ostinato-demo.png" in demo.printed
    pixels = matplotlib.image.imread(demo.folder / "ostinato-demo.png")
    assert min(pixels.shape[:2]) > 400 and pixels[..., :3].std() > 0.05


@pytest.fixture
def one_epoch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A demo that is over soon."""
    monkeypatch.setattr(cli, "PHASES", ((0.01, 1),))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_output_says_where_the_picture_goes(one_epoch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    assert cli.main(["demo", "--output", "pictures/mine.png"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["mine.png"]
    assert "pictures/mine.png" in capsys.readouterr().out


def test_a_seed_repeats_a_run_and_another_seed_does_not(one_epoch, tmp_path: Path, capsys):
    def losses(seed: str) -> list[str]:
        cli.main(["demo", "--seed", seed, "--output", str(tmp_path / "run.png")])
        return re.findall(r"loss: \S+", capsys.readouterr().out)

    first = losses("3")
    assert len(first) == 2
    assert losses("3") == first
    assert losses("4") != first


def test_the_picture_shows_each_digit_and_some_that_were_misread(one_epoch, monkeypatch: pytest.MonkeyPatch, capsys):
    drawn = []
    monkeypatch.setattr(cli, "draw_run", lambda *arguments: drawn.append(arguments))
    accuracy = cli.demo(Path("nowhere.png"), 7)
    ((path, history, images, labels, predictions),) = drawn
    assert path == Path("nowhere.png")
    assert sorted(history) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert history["val_accuracy"] == [pytest.approx(accuracy)]
    assert labels[:10] == list(range(10))
    assert len(labels) == 12, "after one epoch there is always something that it misreads"
    assert all(label != read for label, read in zip(labels[10:], predictions[10:], strict=True))
    _, (x_test, y_test) = digits.load_data()
    for image, label in zip(images, labels, strict=True):
        assert label in y_test[(x_test == image).all(axis=(1, 2))]
    assert np.isin(predictions, range(10)).all()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "required: command"),
        (["dmeo"], "invalid choice: 'dmeo'"),
        (["demo", "--seed", "seven"], "argument --seed: invalid int value: 'seven'"),
        (["demo", "--seed"], "argument --seed: expected one argument"),
        (["demo", "--sede", "7"], "unrecognized arguments: --sede 7"),
        (["demo", "picture.png"], "unrecognized arguments: picture.png"),
        (["demo", "--seed", "-1"], "--seed must be from 0 to 2**32 - 1, got -1"),
        (["demo", "--output", "nowhere/picture.png"], "--output: there is no folder"),
    ],
)
def test_wrong_arguments_are_refused_at_once(arguments, complaint, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    printed = capsys.readouterr()
    assert stopped.value.code == 2
    assert printed.out == "" and printed.err.startswith("usage: ostinato") and complaint in printed.err
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_demo_stops_before_it_trains(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(cli, "demo", lambda *_: pytest.fail("trained"))
    with pytest.raises(SystemExit):
        cli.main(["demo"])
    assert "ostinato[plots]" in capsys.readouterr().err


def test_help_names_the_options_and_their_defaults(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["demo", "--help"])
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--output" in text and "(ostinato-demo.png)" in text
    assert "--seed" in text and "(7)" in text


def test_the_installed_command_is_this_one():
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="ostinato")
    assert script.load() is cli.main
