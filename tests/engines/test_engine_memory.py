"""What the aten engine keeps, shares, writes to and lets go of; the same bits each time, from any thread."""

import dataclasses
import gc
import subprocess
import sys
import threading
import weakref

import pytest
import torch

from ostinato.engines import select
from ostinato.engines.aten import ATEN
from ostinato.engines.execute import execute
from ostinato.engines.flat import leaves, results, with_leaves
from ostinato.recurrence import scan
from problems import all_masks, close, cotangents, equal, problem, specified, value_and_gradients, wanting

CELLS = {
    "lstm": {"cell": "lstm", "dtype": torch.float32},
    "lstm, float64": {"cell": "lstm"},
    "gru": {"cell": "gru", "dtype": torch.float32},
    "simple_rnn": {"cell": "simple_rnn", "dtype": torch.float32},
    "simple_rnn, relu": {"cell": "simple_rnn", "activation": "relu", "dtype": torch.float32},
}
LENGTHS = {"whole": {}, "lengths": {"lengths": torch.tensor([2, 0, 5])}}

cells = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())
lengths = pytest.mark.parametrize("options", LENGTHS.values(), ids=LENGTHS.keys())


def run(problem):
    """Through the door, on aten or not at all."""
    with select.use_engine("aten"):
        return execute([problem])[0]


def everything(asked, way=run):
    """Results and gradients."""
    values, gradients = value_and_gradients(asked, way)
    return values + gradients


# -- what is kept -----------------------------------------------------------------------------------------------------


@lengths
@cells
def test_backward_twice_needs_retain_graph_and_gives_the_same(cell, options):
    asked = problem(**cell, **options, requires_grad=True)
    scanned = run(asked)
    first = torch.autograd.grad(scanned.last.sum(), wanting(asked), retain_graph=True)
    equal(torch.autograd.grad(scanned.last.sum(), wanting(asked)), first)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad(scanned.last.sum(), wanting(asked))


@lengths
@cells
def test_what_is_changed_in_place_before_backward_is_an_error(cell, options):
    asked = problem(**cell, **options, requires_grad=True)
    for which in range(len(wanting(asked))):
        scanned = run(asked)
        with torch.no_grad():
            wanting(asked)[which].add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            scanned.last.sum().backward()
    for which in range(len(results(scan(asked)))):
        changed = results(run(asked))[which].mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            changed.sum().backward()


class Noting:
    """The aten engine, with weak references to what it kept."""

    name, differentiable, runs_cudnn = ATEN.name, ATEN.differentiable, ATEN.runs_cudnn
    refuses, backward = staticmethod(ATEN.refuses), staticmethod(ATEN.backward)

    def __init__(self):
        self.kept = []

    def forward(self, problem):
        scanned, saved = ATEN.forward(problem)
        tensors = saved.outputs if hasattr(saved, "outputs") else [saved.workspace, *saved.results]
        self.kept += [weakref.ref(tensor) for tensor in tensors]
        return scanned, saved


@lengths
@cells
@pytest.mark.parametrize("end", ["results dropped", "backward"])
def test_what_is_kept_goes_with_the_results_or_with_backward(monkeypatch, cell, options, end):
    engine = Noting()
    monkeypatch.setattr(select, "ENGINES", (engine, select.ENGINES[-1]))
    scanned = run(problem(**cell, **options, requires_grad=True))
    gc.collect()
    assert engine.kept
    assert all(kept() is not None for kept in engine.kept)
    loss = scanned.last.sum()
    if end == "backward":
        loss.backward()  # results and loss live on, as they do where losses are collected
    else:
        del loss, scanned
    gc.collect()
    assert all(kept() is None for kept in engine.kept)


def test_nothing_is_kept_in_inference():
    for cell in CELLS.values():
        assert ATEN.forward(problem(**cell))[1] is None


# -- what is shared, and written to -----------------------------------------------------------------------------------


@pytest.mark.parametrize("time", [1, 5])
@lengths
@cells
def test_results_are_no_views_of_what_was_given(cell, options, time):
    options = {**options, "time": time}
    if "lengths" in options:
        options["lengths"] = options["lengths"].clamp(max=time)
    asked = problem(**cell, **options, requires_grad=True)
    before = [t.detach().clone() for t in leaves(asked) if t is not None]
    with torch.no_grad():
        found = results(run(asked))
        given = {t.untyped_storage().data_ptr() for t in leaves(asked) if t is not None}
        assert not given & {y.untyped_storage().data_ptr() for y in found}
        for y in found:
            y.fill_(float("nan"))
    equal([t.detach() for t in leaves(asked) if t is not None], before)


def strided(tensor):
    """The same values, every second of a larger tensor turned round."""
    larger = torch.full([2 * n for n in reversed(tensor.shape)], float("nan"), dtype=tensor.dtype)
    view = larger[tuple(slice(None, None, 2) for _ in tensor.shape)].permute(*reversed(range(tensor.dim())))
    return view.copy_(tensor)


def zero_stride(tensor):
    """One row for all, by a stride of zero."""
    return tensor[:, :1].expand_as(tensor) if tensor.dim() > 1 else tensor[:1].expand_as(tensor)


LAYOUTS = {
    "strided": strided,
    "zero-stride": zero_stride,
    "batch-major": lambda x: x.clone().transpose(0, 1).contiguous().transpose(0, 1),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("options", [*LENGTHS.values(), {"reverse": True}, {"bias": False}], ids=str)
@cells
def test_strides_change_no_bit_and_nothing_is_written_to(cell, options, layout):
    asked = problem(**cell, **options)
    tensors = [
        None if t is None else layout(t) if t.dim() > 1 or layout is not LAYOUTS["batch-major"] else t
        for t in leaves(asked)
    ]
    plain = with_leaves(
        asked, [None if t is None else t.clone(memory_format=torch.contiguous_format).requires_grad_() for t in tensors]
    )
    odd = with_leaves(asked, [None if t is None else t.requires_grad_() for t in tensors])
    versions = [t._version for t in tensors if t is not None]
    before = [t.detach().clone() for t in tensors if t is not None]
    equal(everything(odd), everything(plain))
    assert [t._version for t in tensors if t is not None] == versions
    equal([t.detach() for t in tensors if t is not None], before)


@cells
def test_one_tensor_in_several_places(cell):
    asked = problem(**cell, features=3, requires_grad=True)
    kernel, (h, *_) = asked.recurrence.kernel, asked.state
    tied = dataclasses.replace(
        asked,
        recurrence=dataclasses.replace(asked.recurrence, recurrent_kernel=kernel),
        state=(h,) * len(asked.state),
        inputs=h.expand(5, 3, 3),
    )
    scanned, loop = run(tied), scan(tied)
    close(results(scanned), results(loop), atol=1e-5)
    wanted = torch.autograd.grad(results(loop), [kernel, h], cotangents(loop))
    found = torch.autograd.grad(results(scanned), [kernel, h], cotangents(loop))
    close(found, wanted, atol=2e-5 * max(1, *(float(g.abs().max()) for g in wanted)))


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -float("inf"), 1e38])
@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"dropout": "shared"}, {"sequences": False}], ids=str)
@cells
def test_what_stands_in_a_masked_step_changes_no_bit(cell, options, garbage):
    mask = all_masks(4)[:, [0, 5, 10, 12, 15, 7]]  # nothing, gaps, right padding, everything, left padding
    clean = problem(**cell, **options, batch=6, time=4, mask=mask, requires_grad=True)
    spoilt = clean.inputs.detach().masked_fill(~mask[..., None], garbage).requires_grad_()
    found = everything(dataclasses.replace(clean, inputs=spoilt))
    assert all(tensor.isfinite().all() for tensor in found)
    equal(found, everything(clean))


@pytest.mark.parametrize("reverse", [False, True])
@cells
def test_the_largest_numbers_past_the_end_of_a_row_change_no_bit(cell, reverse):
    # Lengths alone promise only that what stands there is finite.
    clean = problem(**cell, lengths=torch.tensor([2, 0, 5]), reverse=reverse, requires_grad=True)
    after = torch.arange(5)[:, None] >= clean.lengths
    spoilt = clean.inputs.detach().masked_fill(after[..., None], 1e38).requires_grad_()
    equal(everything(dataclasses.replace(clean, inputs=spoilt)), everything(clean))


@cells
def test_nothing_that_is_not_finite_past_the_end_of_a_row_even_where_a_recurrence_grows(cell):
    asked = problem(**cell, time=300, units=5, lengths=torch.tensor([2, 0, 3]), requires_grad=True)
    with torch.no_grad():
        asked.recurrence.recurrent_kernel.copy_(3 * torch.eye(5).repeat(1, asked.recurrence.kernel.shape[1] // 5))
    assert run(asked).outputs.isfinite().all()
    assert all(tensor.isfinite().all() for tensor in everything(asked))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_state_past_the_end_of_a_row_is_held_to_the_last_bit(dtype):
    # Run on for a thousand steps, or not at all.
    short = problem("lstm", time=4, units=7, dtype=dtype, lengths=torch.tensor([4, 0, 2]))
    longer = torch.cat([short.inputs, torch.randn(1000, 3, 2).to(dtype)])
    one_more = dataclasses.replace(
        short,
        lengths=torch.tensor([4, 0, 2, 1004]),
        inputs=torch.cat([longer, longer[:, :1]], 1),
        state=tuple(torch.cat([h, h[:1]]) for h in short.state),
    )
    padded = dataclasses.replace(one_more, inputs=one_more.inputs[:4], lengths=torch.tensor([4, 0, 2, 4]))
    for a, b in zip(run(one_more).state, run(padded).state, strict=True):
        equal([a[:3]], [b[:3]])


# -- again, and at once -----------------------------------------------------------------------------------------------


@lengths
@cells
def test_the_same_bits_from_run_to_run(cell, options):
    options = {key: value.repeat(6) for key, value in options.items()}
    asked = problem(**cell, **options, batch=18, features=13, units=33, requires_grad=True)
    first = everything(asked)
    for _ in range(5):
        equal(everything(asked), first)


@lengths
@cells
def test_two_threads_of_torch_compute_the_same(cell, options):
    options = {key: value.repeat(6) for key, value in options.items()}
    asked = problem(**cell, **options, batch=18, features=13, units=33, requires_grad=True)
    alone = everything(asked)
    torch.set_num_threads(2)
    try:
        close(everything(asked), alone, atol=1e-5 * max(float(each.abs().max()) for each in alone))
    finally:
        torch.set_num_threads(1)


def test_many_threads_at_once():
    asked = [problem(**cell, **options, requires_grad=True) for cell in CELLS.values() for options in LENGTHS.values()]
    wanted = [everything(each) for each in asked]
    found = [[] for _ in range(6)]

    def work(mine):
        for each in asked * 3:
            mine.append(everything(each))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for mine in found:
        for each, right in zip(mine, wanted * 3, strict=True):
            equal(each, right)


FORK = """
import os, sys, torch
from ostinato import layers
torch.set_num_threads(1)
layer = layers.{kind}(33)
x = torch.randn(8, 20, 13)
mask = torch.arange(20) < torch.arange(1, 9)[:, None]
def work():
    y = layer(x, mask=mask)
    y.sum().backward()
    return y.detach()
before = work()
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(work(), before) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_a_process_forked_after_a_run_runs_too(kind):
    # With one thread; with more, GNU's OpenMP hangs in the child, whatever of torch runs there.
    done = subprocess.run([sys.executable, "-c", FORK.format(kind=kind)], timeout=120, check=False)
    assert done.returncode == 0


# -- without autocast's help ------------------------------------------------------------------------------------------


@lengths
@cells
def test_under_autocast_it_computes_in_the_lower_precision_and_returns_the_higher(cell, options):
    # Refused on a CPU; on a GPU this is how it runs.
    asked = problem(**cell, **options, requires_grad=True, gradients=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scanned, saved = ATEN.forward(asked)
    lower = with_leaves(asked, [None if t is None else t.detach().bfloat16() for t in leaves(asked)])
    found = results(specified(asked, scanned))
    close(found, results(specified(asked, ATEN.forward(dataclasses.replace(lower, gradients=False))[0])), atol=0.02)
    assert {y.dtype for y in found} == {asked.state[0].dtype}
    grads = ATEN.backward(saved, cotangents(scanned))
    assert [None if g is None else g.dtype for g in grads] == [None if t is None else t.dtype for t in leaves(asked)]
