"""The benchmarks run and write their report; what they measure here means nothing."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMALL = ["--small", "--threads", "1", "--peers", "torch.nn"]
RACES = ["--cells", "LSTM", "--works", "training", "--variants", "whole", "gaps"]


def test_the_command_measures_and_reports(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "layers", "fit", *SMALL, *RACES, "--out", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    report = (tmp_path / "report.md").read_text()
    assert [line for line in report.splitlines() if line.startswith("## ")] == [
        "## Layers",
        "## `fit`, a step of the guide's model",
    ]
    whole, masked = (
        report.split(heading)[1].split("\n\n")[1].splitlines()
        for heading in ("### All steps of all samples", "### Half of the steps masked, anywhere")
    )
    assert whole[0] == "| ms | ostinato | torch.nn | ostinato by |"
    assert whole[2].startswith("| LSTM training, tiny | ") and "| engine " in whole[2]
    assert masked[0] == "| ms | ostinato | ostinato, whole | ostinato by |"  # torch.nn has no masks
    assert (tmp_path / "layers.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sizes", "S9"], "'S9' is none of S1, S2, S3, S4, S5, O1, O2, nor batch,time,features,units"),
        (["--sizes", "1,2,0,4"], "nor batch,time,features,units"),
        (["--threads", "0"], "--threads must be from 1 to"),
        (["--rounds", "0"], "--rounds, --steps and --seconds must be positive"),
        (["speed"], "WHAT is of layers, fit, memory, overhead and report, not speed"),
    ],
)
def test_what_cannot_be_measured_is_said(monkeypatch, capsys, arguments, said):
    monkeypatch.syspath_prepend(ROOT)
    with pytest.raises(SystemExit, match="2"):
        importlib.import_module("benchmarks.__main__").main(arguments)
    assert said in capsys.readouterr().err
