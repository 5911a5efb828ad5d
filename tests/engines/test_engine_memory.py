"""What the fast engines keep, share, write to and let go of; the same bits each time, from any thread."""

import dataclasses
import gc
import subprocess
import sys
import threading
import weakref

import pytest
import torch

from ostinato.engines import select
from ostinato.engines.flat import leaves, results, with_leaves
from ostinato.recurrence import scan
from problems import all_masks, close, cotangents, equal, problem, value_and_gradients, wanting
from ways import in_each_way

LENGTHS = {"whole": {}, "lengths": {"lengths": torch.tensor([2, 0, 5])}}
lengths = pytest.mark.parametrize("more", LENGTHS.values(), ids=LENGTHS.keys())


def everything(way, asked):
    """Results and gradients."""
    values, gradients = value_and_gradients(asked, way.run)
    return values + gradients


# -- what is kept -----------------------------------------------------------------------------------------------------


@lengths
@in_each_way("cell")
def test_backward_twice_needs_retain_graph_and_gives_the_same(way, cell, more):
    asked = problem(**cell, dtype=way.dtype, **more, requires_grad=True)
    scanned = way.run(asked)
    first = torch.autograd.grad(scanned.last.sum(), wanting(asked), retain_graph=True)
    equal(torch.autograd.grad(scanned.last.sum(), wanting(asked)), first)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad(scanned.last.sum(), wanting(asked))


@lengths
@in_each_way("cell")
def test_what_is_changed_in_place_before_backward_is_an_error(way, cell, more):
    asked = problem(**cell, dtype=way.dtype, **more, requires_grad=True)
    for which in range(len(wanting(asked))):
        scanned = way.run(asked)
        with torch.no_grad():
            wanting(asked)[which].add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            scanned.last.sum().backward()
    for which in range(len(results(scan(asked)))):
        changed = results(way.run(asked))[which].mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            changed.sum().backward()


class Noting:
    """An engine, with weak references to what it made and kept."""

    def __init__(self, engine):
        self.name, self.differentiable, self.runs_cudnn = engine.name, engine.differentiable, engine.runs_cudnn
        self.refuses, self.backward = engine.refuses, engine.backward
        self.engine, self.kept = engine, []

    def forward(self, problem):
        scanned, saved = self.engine.forward(problem)
        given = {id(tensor) for tensor in (*leaves(problem), problem.lengths)}
        self.kept += [weakref.ref(tensor) for tensor in tensors_in(saved) if id(tensor) not in given]
        return scanned, saved


def tensors_in(saved):
    """The tensors in a nest of tuples and lists."""
    if isinstance(saved, torch.Tensor):
        return [saved]
    return [each for item in saved for each in tensors_in(item)] if isinstance(saved, tuple | list) else []


@lengths
@in_each_way("cell")
@pytest.mark.parametrize("end", ["results dropped", "backward"])
def test_what_is_kept_goes_with_the_results_or_with_backward(monkeypatch, way, cell, more, end):
    engine = Noting(way.its_engine)
    monkeypatch.setattr(select, "ENGINES", (engine, select.ENGINES[-1]))
    scanned = way.run(problem(**cell, dtype=way.dtype, **more, requires_grad=True))
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


@in_each_way("cell")
def test_nothing_is_kept_in_inference(way, cell):
    assert way.its_engine.forward(problem(**cell, dtype=way.dtype))[1] is None


# -- what is shared, and written to -----------------------------------------------------------------------------------


@pytest.mark.parametrize("time", [1, 5])
@lengths
@in_each_way("cell")
def test_results_are_no_views_of_what_was_given(way, cell, more, time):
    more = {**more, "time": time}
    if "lengths" in more:
        more["lengths"] = more["lengths"].clamp(max=time)
    asked = problem(**cell, dtype=way.dtype, **more, requires_grad=True)
    before = [t.detach().clone() for t in leaves(asked) if t is not None]
    with torch.no_grad():
        found = results(way.run(asked))
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
@pytest.mark.parametrize("more", [*LENGTHS.values(), {"reverse": True}, {"bias": False}], ids=str)
@in_each_way("cell")
def test_strides_change_no_bit_and_nothing_is_written_to(way, cell, more, layout):
    asked = problem(**cell, dtype=way.dtype, **more)
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
    equal(everything(way, odd), everything(way, plain))
    assert [t._version for t in tensors if t is not None] == versions
    equal([t.detach() for t in tensors if t is not None], before)


@in_each_way("cell")
def test_one_tensor_in_several_places(way, cell):
    asked = problem(**cell, dtype=way.dtype, features=3, requires_grad=True)

    def tied(asked):
        kernel, (h, *_) = asked.recurrence.kernel, asked.state
        recurrence = dataclasses.replace(asked.recurrence, recurrent_kernel=kernel)
        state = (h,) * len(asked.state)
        return dataclasses.replace(asked, recurrence=recurrence, state=state, inputs=h.expand(5, 3, 3)), [kernel, h]

    (mine, tensors), (exact, of_loop) = tied(asked), tied(way.for_loop(asked))
    scanned, loop = way.run(mine), scan(exact)
    way.near(results(scanned), results(loop))
    grads = cotangents(scanned)
    wanted = torch.autograd.grad(
        results(loop), of_loop, [g.to(y.dtype) for g, y in zip(grads, results(loop), strict=True)]
    )
    way.near(torch.autograd.grad(results(scanned), tensors, grads), wanted)


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -float("inf"), 1e38])
@pytest.mark.parametrize("more", [{}, {"reverse": True}, {"dropout": "shared"}, {"sequences": False}], ids=str)
@in_each_way("cell")
def test_what_stands_in_a_masked_step_changes_no_bit(way, cell, more, garbage):
    mask = all_masks(4)[:, [0, 5, 10, 12, 15, 7]]  # nothing, gaps, right padding, everything, left padding
    clean = problem(**cell, dtype=way.dtype, **more, batch=6, time=4, mask=mask, requires_grad=True)
    spoilt = clean.inputs.detach().masked_fill(~mask[..., None], garbage).requires_grad_()
    found = everything(way, dataclasses.replace(clean, inputs=spoilt))
    assert all(tensor.isfinite().all() for tensor in found)
    equal(found, everything(way, clean))


@pytest.mark.parametrize("reverse", [False, True])
@in_each_way("cell")
def test_the_largest_numbers_past_the_end_of_a_row_change_no_bit(way, cell, reverse):
    # Lengths alone promise only that what stands there is finite.
    clean = problem(**cell, dtype=way.dtype, lengths=torch.tensor([2, 0, 5]), reverse=reverse, requires_grad=True)
    after = torch.arange(5)[:, None] >= clean.lengths
    spoilt = clean.inputs.detach().masked_fill(after[..., None], 1e38).requires_grad_()
    equal(everything(way, dataclasses.replace(clean, inputs=spoilt)), everything(way, clean))


@in_each_way("cell")
def test_nothing_that_is_not_finite_past_the_end_of_a_row_even_where_a_recurrence_grows(way, cell):
    asked = problem(**cell, dtype=way.dtype, time=300, units=5, lengths=torch.tensor([2, 0, 3]), requires_grad=True)
    with torch.no_grad():
        asked.recurrence.recurrent_kernel.copy_(3 * torch.eye(5).repeat(1, asked.recurrence.kernel.shape[1] // 5))
    assert way.run(asked).outputs.isfinite().all()
    assert all(tensor.isfinite().all() for tensor in everything(way, asked))


@in_each_way("cell")
def test_a_state_past_the_end_of_a_row_is_held_to_the_last_bit(way, cell):
    # Run on for a thousand steps, or not at all.
    short = problem(**cell, dtype=way.dtype, time=4, units=7, lengths=torch.tensor([4, 0, 2]))
    longer = torch.cat([short.inputs, torch.randn(1000, 3, 2).to(way.dtype)])
    one_more = dataclasses.replace(
        short,
        lengths=torch.tensor([4, 0, 2, 1004]),
        inputs=torch.cat([longer, longer[:, :1]], 1),
        state=tuple(torch.cat([h, h[:1]]) for h in short.state),
    )
    padded = dataclasses.replace(one_more, inputs=one_more.inputs[:4], lengths=torch.tensor([4, 0, 2, 4]))
    for a, b in zip(way.run(one_more).state, way.run(padded).state, strict=True):
        equal([a[:3]], [b[:3]])


# -- again, and at once -----------------------------------------------------------------------------------------------


@lengths
@in_each_way("cell")
def test_the_same_bits_from_run_to_run(way, cell, more):
    more = {key: value.repeat(6) for key, value in more.items()}
    asked = problem(**cell, dtype=way.dtype, **more, batch=18, features=13, units=33, requires_grad=True)
    first = everything(way, asked)
    for _ in range(5):
        equal(everything(way, asked), first)


@lengths
@in_each_way("cell")
def test_two_threads_of_torch_compute_the_same(way, cell, more):
    more = {key: value.repeat(6) for key, value in more.items()}
    asked = problem(**cell, dtype=way.dtype, **more, batch=18, features=13, units=33, requires_grad=True)
    alone = everything(way, asked)
    torch.set_num_threads(2)
    try:
        close(everything(way, asked), alone, atol=1e-5 * max(float(each.abs().max()) for each in alone))
    finally:
        torch.set_num_threads(1)


@in_each_way()
def test_many_threads_at_once(way):
    each_cell = [{**cell, **more} for cell in way.cell.values() for more in LENGTHS.values()]
    asked = [problem(**options, dtype=way.dtype, requires_grad=True) for options in each_cell]
    wanted = [everything(way, each) for each in asked]
    found = [[] for _ in range(6)]

    def work(mine):
        for each in asked * 3:
            mine.append(everything(way, each))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for mine in found:
        for each, right in zip(mine, wanted * 3, strict=True):
            equal(each, right)


FORK = """
import os, sys, torch, ostinato
from ostinato import layers
torch.set_num_threads(1)
torch.backends.mkldnn.enabled = {onednn}
ran = [kind(33, dtype="{dtype}") for kind in (layers.LSTM, layers.GRU, layers.SimpleRNN)]
x = torch.randn(8, 20, 13, dtype=torch.{dtype})
mask = torch.arange(20) < torch.arange(1, 9)[:, None]
def work():
    with ostinato.use_engine({engine!r}):
        outputs = [layer(x, mask=mask) for layer in ran]
    sum(y.sum() for y in outputs).backward()
    return torch.stack(outputs).detach()
before = work()
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(work(), before) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@in_each_way()
def test_a_process_forked_after_a_run_runs_too(way):
    # With one thread; with more, GNU's OpenMP hangs in the child, whatever of torch runs there.
    code = FORK.format(engine=way.engine, dtype=str(way.dtype).removeprefix("torch."), onednn=way.onednn)
    done = subprocess.run([sys.executable, "-c", code], timeout=120, check=False)
    assert done.returncode == 0
