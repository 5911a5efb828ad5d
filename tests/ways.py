"""The ways that a problem can take through the fast engines, and what each of them must take.

A test that asks for `way` is run for all of them: `in_each_way` says over which of their tables besides.
"""

from __future__ import annotations

import itertools
import shutil
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from ostinato.engines import library, select
from ostinato.engines.base import Engine
from ostinato.engines.execute import execute
from ostinato.recurrence import Problem, Scanned
from problems import close, in_dtype

Table = dict[str, dict[str, Any]]
"""Options of `problems.problem` by what they are called."""


def needs_native() -> None:
    """Skip the test where there is no native library; there must be one wherever there is a compiler."""
    reason = library.absent()
    if reason is not None and not any(map(shutil.which, ["c++", "g++", "clang++"])):
        pytest.skip(f"no C++ compiler here: the native engine {reason}")
    assert reason is None, reason


class Way(NamedTuple):
    """An engine in a dtype, with oneDNN or without; cell, options: what it takes."""

    engine: str
    dtype: torch.dtype
    cell: Table
    options: Table
    onednn: bool = True

    def needed(self) -> None:
        """Skip the test where this way is closed."""
        if self.engine == "native":
            needs_native()

    @property
    def its_engine(self) -> Engine:
        """The engine itself."""
        return next(engine for engine in select.ENGINES if engine.name == self.engine)

    def run(self, problem: Problem) -> Scanned:
        """Through the door, on this engine or not at all."""
        with select.use_engine(self.engine):
            return execute([problem])[0]

    def for_loop(self, asked: Problem) -> Problem:
        """The problem in a dtype in which the loop's own roundings do not show."""
        return in_dtype(asked, torch.float32) if self.dtype is torch.bfloat16 else asked

    def near(self, found: list[Tensor], wanted: list[Tensor]) -> None:
        """Assert agreement to rounding, of tensors of any size."""
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            assert a.dtype is self.dtype
            scale = 1 + (float(b.detach().abs().max()) if b.numel() else 0)
            close([a], [b], atol=scale * TOLERANCES[self.dtype])
            if self.dtype is torch.bfloat16 and b.numel():
                apart = (a.detach().double() - b.detach().double()).square().mean().sqrt()
                assert apart <= 2e-2 * scale, f"apart by {apart:.2g}, of numbers up to {scale:.2g}"


TOLERANCES = {torch.float64: 1e-11, torch.float32: 1e-5, torch.bfloat16: 0.2}
"""Of the largest number. A rounding to bfloat16 may grow over steps, or take a unit to the other side of a kink: a
single number says little then, the mean square of them all says more."""


LSTM: Table = {"lstm": {"cell": "lstm"}}
CELLS: Table = {
    **LSTM,
    "gru": {"cell": "gru"},
    "simple_rnn": {"cell": "simple_rnn"},
    "simple_rnn, relu": {"cell": "simple_rnn", "activation": "relu"},
}
NATIVE_CELLS: Table = {
    **CELLS,
    "gru, reset before": {"cell": "gru_v1"},
    "lstm, relu, hard_sigmoid": {"cell": "lstm", "activation": "relu", "recurrent_activation": "hard_sigmoid"},
}
SMOOTH_CELLS: Table = {name: cell for name, cell in NATIVE_CELLS.items() if "relu" not in name}
OPTIONS: Table = {
    "plain": {},
    "no bias": {"bias": False},
    "backwards": {"reverse": True},
    "last only": {"sequences": False},
    "last only, backwards": {"sequences": False, "reverse": True},
    "lengths": {"lengths": torch.tensor([0, 5, 2])},
    "lengths, backwards": {"lengths": torch.tensor([4, 0, 2]), "reverse": True},
    "lengths, last only": {"lengths": torch.tensor([3, 1, 3]), "sequences": False},
    "lengths, dropout, backwards": {"lengths": torch.tensor([3, 0, 4]), "dropout": "shared", "reverse": True},
    "lengths, no bias": {"lengths": torch.tensor([1, 0, 1]), "bias": False},
    "no row has a step": {"lengths": torch.tensor([0, 0, 0])},
    "dropout": {"dropout": "shared"},
    "dropout, backwards": {"dropout": "shared", "reverse": True},
    "one sample": {"batch": 1},
    "one step": {"time": 1},
    "one of everything": {"batch": 1, "time": 1, "features": 1, "units": 1},
    "one sample with one step of two": {"batch": 1, "time": 2, "lengths": torch.tensor([1])},
    "primes": {"batch": 7, "time": 11, "features": 5, "units": 13},
    "more rows than units, more units than features": {"batch": 17, "time": 3, "features": 1, "units": 5},
}
NATIVE_OPTIONS: Table = {
    **OPTIONS,
    "two samples": {"batch": 2, "units": 37, "features": 19},
    "recurrent dropout": {"recurrent_dropout": True},
    "recurrent dropout, last only": {"recurrent_dropout": True, "sequences": False},
    "recurrent dropout, one sample": {"recurrent_dropout": True, "batch": 1},
    "dropout for each gate": {"dropout": "gates"},
    "dropout for each gate, no bias, backwards": {"dropout": "gates", "bias": False, "reverse": True},
    "dropout for each gate, lengths": {"dropout": "gates", "lengths": torch.tensor([0, 5, 2])},
    "all dropout": {"dropout": "gates", "recurrent_dropout": True},
    "all dropout, one sample": {"dropout": "gates", "recurrent_dropout": True, "batch": 1},
    "all dropout, lengths, backwards": {
        "dropout": "gates",
        "recurrent_dropout": True,
        "lengths": torch.tensor([4, 0, 2]),
        "reverse": True,
    },
    "all dropout, lengths, last only, no bias": {
        "dropout": "gates",
        "recurrent_dropout": True,
        "lengths": torch.tensor([3, 1, 3]),
        "sequences": False,
        "bias": False,
    },
    "all dropout, many rows": {
        "dropout": "gates",
        "recurrent_dropout": True,
        "batch": 13,
        "features": 18,
        "units": 21,
        "lengths": torch.arange(13) % 6,
    },
    "many rows": {"batch": 40, "features": 9, "units": 17, "time": 3},
    "many rows, lengths": {"batch": 40, "features": 9, "units": 17, "lengths": torch.arange(40) * 7 % 6},
}

WAYS: dict[str, Way] = {
    "aten, float64": Way("aten", torch.float64, CELLS, OPTIONS),
    "aten, float32": Way("aten", torch.float32, CELLS, OPTIONS),
    "aten, float32, no oneDNN": Way("aten", torch.float32, LSTM, OPTIONS, onednn=False),  # which takes no other cell
    "native": Way("native", torch.float32, NATIVE_CELLS, NATIVE_OPTIONS),
    "native, bfloat16": Way("native", torch.bfloat16, SMOOTH_CELLS, NATIVE_OPTIONS),
}
"""In float64 torch's own loop in C++ runs, and in float32 without oneDNN; with it an LSTM goes another way."""


def in_each_way(*tables: str) -> pytest.MarkDecorator:
    """Run a test with each way as its `way`, and the rows of the way's tables of these names as arguments of theirs."""
    rows = []
    for name, way in WAYS.items():
        for chosen in itertools.product(*(getattr(way, table).items() for table in tables)):
            words = [name, *(what for what, _ in chosen)]
            rows.append(pytest.param(way, *(options for _, options in chosen), id=" | ".join(words)))
    return pytest.mark.parametrize(("way", *tables), rows, indirect=["way"])
