"""What only the aten engine has: oneDNN's operators, bfloat16, torch.autocast, and torch's own refusals."""

import dataclasses

import pytest
import torch

from ostinato.engines import onednn
from ostinato.engines.aten import ATEN
from ostinato.engines.flat import leaves, results, with_leaves
from problems import close, cotangents, equal, problem, specified
from ways import CELLS, WAYS

WAY = WAYS["aten, float32"]

cells = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())


def test_what_nobody_asks_for_is_not_computed(monkeypatch):
    # oneDNN gives all gradients at once; of what is left to do, nothing is done for those that are not wanted.
    monkeypatch.setattr(onednn, "_of_inputs", lambda *_: pytest.fail("nobody asked"))
    asked = problem("lstm", dtype=torch.float32)
    asked.recurrence.kernel.requires_grad_()
    WAY.run(asked).last.sum().backward()
    assert asked.recurrence.kernel.grad.abs().max() > 0


def test_a_bfloat16_state_past_the_end_of_a_row_is_held_to_the_last_bit():
    if not onednn.knows(type(problem("lstm").recurrence), torch.bfloat16):
        pytest.skip("oneDNN does not know bfloat16 on this processor")
    asked = problem("lstm", time=1000, units=7, dtype=torch.bfloat16, lengths=torch.tensor([4, 0, 2]))
    short = dataclasses.replace(asked, inputs=asked.inputs[:4])
    equal(WAY.run(asked).state, WAY.run(short).state)


@pytest.mark.parametrize("more", [{}, {"lengths": torch.tensor([2, 0, 5])}], ids=["whole", "lengths"])
@cells
def test_under_autocast_it_computes_in_the_lower_precision_and_returns_the_higher(cell, more):
    # Refused on a CPU; on a GPU this is how it runs.
    asked = problem(**cell, **more, dtype=torch.float32, requires_grad=True, gradients=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scanned, saved = ATEN.forward(asked)
    lower = with_leaves(asked, [None if t is None else t.detach().bfloat16() for t in leaves(asked)])
    found = results(specified(asked, scanned))
    close(found, results(specified(asked, ATEN.forward(dataclasses.replace(lower, gradients=False))[0])), atol=0.02)
    assert {y.dtype for y in found} == {asked.state[0].dtype}
    grads = ATEN.backward(saved, cotangents(scanned))
    assert [None if g is None else g.dtype for g in grads] == [None if t is None else t.dtype for t in leaves(asked)]


@pytest.mark.parametrize("which", ["h", "c", "kernel", "recurrent_kernel", "bias"])
def test_tensors_that_do_not_fit_are_an_error_and_not_read_past_their_ends(which):
    asked = problem("lstm", dtype=torch.float32)
    names = ["inputs", "h", "c", "kernel", "recurrent_kernel", "bias", "dropout", "recurrent_dropout"]
    tensors = [t[..., :-1] if name == which else t for name, t in zip(names, leaves(asked), strict=True)]
    with pytest.raises(ValueError, match=r"an LSTM of 3 units over inputs \(5, 3, 2\) takes h, c, kernel.* got "):
        WAY.run(with_leaves(asked, tensors))


@cells
def test_weights_of_another_dtype_are_an_error(cell):
    asked = problem(**cell, dtype=torch.float32)
    tensors = [t if t is None or i == 0 else t.double() for i, t in enumerate(leaves(asked))]
    with pytest.raises((RuntimeError, ValueError), match="dtype"):
        WAY.run(with_leaves(asked, tensors))
