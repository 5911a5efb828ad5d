"""Problems for what only the native engine promises, and what it makes of them."""

import threading

import pytest
import torch

from problems import problem, value_and_gradients

CELLS = {
    "lstm": {"cell": "lstm"},
    "gru": {"cell": "gru"},
    "gru, reset before": {"cell": "gru_v1"},
    "simple_rnn": {"cell": "simple_rnn"},
    "lstm, hard_sigmoid": {"cell": "lstm", "recurrent_activation": "hard_sigmoid"},
}
OPTIONS = {
    "plain": {},
    "lengths": {"lengths": True},
    "lengths, backwards, last only": {"lengths": True, "reverse": True, "sequences": False},
    "dropout": {"dropout": "shared"},
    "all dropout, lengths": {"dropout": "gates", "recurrent_dropout": True, "lengths": True},
    "recurrent dropout, no bias": {"recurrent_dropout": True, "bias": False},
}
cells = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())
options_of_all = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())


def ask(way, cell, batch=7, time=5, **options):
    """A problem; lengths: True for rows that end anywhere."""
    if options.get("lengths") is True:
        options["lengths"] = torch.arange(batch) * 7 % (time + 1)
    return problem(**cell, batch=batch, time=time, **{"requires_grad": True, "dtype": way.dtype, **options})


def everything(native, asked):
    """Results and gradients."""
    values, gradients = value_and_gradients(asked, native.run)
    return values + gradients


def at_once(count, work):
    """What `work(i)` gives, called in as many Python threads."""
    found, threads = [None] * count, []
    for i in range(count):
        threads.append(threading.Thread(target=lambda i=i: found.__setitem__(i, work(i))))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found
