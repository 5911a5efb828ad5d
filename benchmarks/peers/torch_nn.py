"""torch's own layers, and a plain loop that trains the guide's model with `torch.nn.LSTM`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.peers import Prepared, Unsupported
from benchmarks.peers.torch_calls import call_of
from benchmarks.plain import FusedLSTM, fit_plainly
from benchmarks.tasks import Task, arrays

LAYERS = {"LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU, "SimpleRNN": torch.nn.RNN}


def layer(task: Task) -> Prepared:
    if task.recurrent_dropout:
        raise Unsupported("has no recurrent dropout")
    if task.mask == "gaps":
        raise Unsupported("has no masks")
    given = arrays(task)
    module = LAYERS[task.cell](task.size.features, task.size.units, batch_first=True)
    run: Callable[[Tensor], Tensor] = lambda x: module(x)[0]  # noqa: E731
    if given.lengths is not None:
        lengths = torch.from_numpy(given.lengths)
        run = lambda x: packed(module, x, lengths)  # noqa: E731
    return Prepared(
        call_of(task, run, list(module.parameters()), torch.from_numpy(given.x), torch.from_numpy(given.grad))
    )


def packed(module: torch.nn.Module, x: Tensor, lengths: Tensor) -> Tensor:
    outputs, _ = module(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    return pad_packed_sequence(outputs, batch_first=True, total_length=x.shape[1])[0]


def fit(steps: int) -> Prepared:
    return fit_plainly(FusedLSTM, steps)
