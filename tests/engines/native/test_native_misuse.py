"""What does not fit is refused by the native engine before anything runs."""

import dataclasses

import pytest
import torch

from ostinato.engines import library
from ostinato.engines.flat import leaves, with_leaves
from ostinato.engines.native import NATIVE
from problems import problem


def _leaf(place, change):
    """The problem with one of its tensors changed."""
    return lambda asked: with_leaves(asked, [change(t) if i == place else t for i, t in enumerate(leaves(asked))])


def _narrower(tensor):
    return tensor[..., :-1]


LEAVES = ["inputs", "h", "c", "kernel", "recurrent_kernel", "bias", "dropout", "recurrent_dropout"]
CHANGES = {
    "too narrow": _narrower,
    "of too few rows": lambda t: t[..., :-1, :] if t.dim() > 1 else t[None],
    "of another rank": lambda t: t[None],
    "float64": torch.Tensor.double,
    "bfloat16": torch.Tensor.bfloat16,
    "whole numbers": torch.Tensor.int,
    "elsewhere": lambda t: t.to("meta"),
}
BROKEN = {
    f"{name} {what}": _leaf(place, change) for place, name in enumerate(LEAVES) for what, change in CHANGES.items()
}
BROKEN |= {
    "all but the inputs in bfloat16": lambda asked: with_leaves(
        asked, [asked.inputs, *(t.bfloat16() for t in leaves(asked)[1:])]
    ),
    "one state": lambda asked: dataclasses.replace(asked, state=asked.state[:1]),
    "three states": lambda asked: dataclasses.replace(asked, state=(*asked.state, asked.state[0])),
    "a row for each of two biases": _leaf(5, lambda t: t.repeat(2, 1)),
    "dropout for three gates": _leaf(6, lambda t: t[:3]),
    "recurrent dropout for three gates": _leaf(7, lambda t: t[:3]),
    "recurrent dropout for no gate in particular": _leaf(7, lambda t: t[0]),
    "lengths too large": lambda asked: dataclasses.replace(asked, lengths=torch.tensor([1, 6, 2])),
    "lengths below zero": lambda asked: dataclasses.replace(asked, lengths=torch.tensor([1, -1, 2])),
    "too few lengths": lambda asked: dataclasses.replace(asked, lengths=torch.tensor([1, 2])),
    "lengths in two axes": lambda asked: dataclasses.replace(asked, lengths=torch.tensor([[1, 2, 3]])),
    "one length for all": lambda asked: dataclasses.replace(asked, lengths=torch.tensor(3)),
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN.keys())
def test_tensors_that_do_not_fit_are_an_error_before_anything_runs(in_float32, monkeypatch, change):
    asked = problem("lstm", dtype=torch.float32, dropout="gates", recurrent_dropout=True)
    NATIVE.forward(asked)  # it fits
    monkeypatch.setattr(library, "functions", lambda: pytest.fail("it ran"))
    with pytest.raises(ValueError, match=r"engine 'native'.* got "):
        NATIVE.forward(change(asked))


@pytest.mark.parametrize("bias", [lambda t: t[0], lambda t: t.flatten(), lambda t: t.T], ids=["row", "flat", "turned"])
def test_a_bias_of_a_gru_is_of_its_kind(in_float32, bias):
    asked = problem("gru", dtype=torch.float32)
    with pytest.raises(ValueError, match=r"engine 'native'.* got "):
        NATIVE.forward(_leaf(4, bias)(asked))
