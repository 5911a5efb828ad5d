"""What only the native engine promises: the same bits whatever the threads, nothing read or written that is not its."""

import dataclasses
import math
import subprocess
import sys
import threading

import pytest
import torch

from ostinato import layers
from ostinato.engines import library
from ostinato.engines.execute import execute
from ostinato.engines.flat import leaves, results, with_leaves
from ostinato.engines.native import NATIVE
from ostinato.engines.select import observe, use_engine
from ostinato.recurrence import scan
from ostinato.recurrence.activations import KNOWN
from problems import (
    close,
    cotangents,
    equal,
    expected,
    expected_gradients,
    problem,
    specified,
    value_and_gradients,
    wanting,
)
from ways import WAYS, needs_native

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


@pytest.fixture(params=["native", "native, bfloat16"])
def native(request):
    """The native engine, in each of its dtypes."""
    needs_native()
    return WAYS[request.param]


@pytest.fixture
def in_float32():
    """The native engine, in float32."""
    needs_native()
    return WAYS["native"]


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


# -- threads ----------------------------------------------------------------------------------------------------------

SHARED = {
    "rows": {"batch": 40, "time": 12, "features": 70, "units": 96},
    "few rows": {"batch": 5, "time": 30, "features": 70, "units": 130},
    "units, of two rows": {"batch": 2, "time": 60, "features": 30, "units": 130},
    "units, of one row": {"batch": 1, "time": 60, "features": 30, "units": 130},
}


@pytest.fixture
def threads_of_torch():
    """Sets the number of torch's threads, for a test."""
    yield torch.set_num_threads
    torch.set_num_threads(1)


@pytest.mark.parametrize("sizes", SHARED.values(), ids=SHARED.keys())
@options_of_all
@cells
def test_the_same_bits_with_one_thread_two_and_three_and_from_run_to_run(
    native, threads_of_torch, cell, options, sizes
):
    asked = ask(native, cell, **sizes, **options)
    alone = everything(native, asked)
    for threads in (2, 3, 2):
        threads_of_torch(threads)
        equal(everything(native, asked), alone)
    threads_of_torch(2)
    with torch.no_grad():
        equal(results(specified(asked, native.run(asked))), alone[: len(results(scan(asked)))])


def test_so_much_work_is_shared_indeed(in_float32, threads_of_torch):
    # Else the test above would compare one thread with one thread.
    threads_of_torch(2)
    code = """
import os, sys, torch
torch.set_num_threads(2)
sys.path[:0] = {path!r}
from problems import problem
from ways import WAYS
before = len(os.listdir("/proc/self/task"))
for sizes in {sizes!r}:
    WAYS["native"].run(problem("simple_rnn", **sizes, dtype=torch.float32))
    print(len(os.listdir("/proc/self/task")) - before)
"""
    code = code.format(path=sys.path, sizes=list(SHARED.values()))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1"] * len(SHARED)


def test_two_threads_on_one_processor_wait_for_each_other(in_float32):
    # A thread that looks for the other in vain goes to sleep, and must be woken: at each of many short steps.
    code = """
import os, sys
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
import torch
sys.path[:0] = {path!r}
from problems import problem
from ways import WAYS
from ostinato.engines.flat import results
asked = problem("lstm", batch=1, time=300, features=64, units=128, dtype=torch.float32)
found = []
for threads in (1, 2):
    torch.set_num_threads(threads)
    found.append([results(WAYS["native"].run(asked)) for _ in range(3)])
assert all(torch.equal(a, b) for x, y in zip(*found) for a, b in zip(x, y))
assert len(os.listdir("/proc/self/task")) > 1, "no threads"
"""
    done = subprocess.run(
        [sys.executable, "-c", code.format(path=sys.path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU, layers.SimpleRNN])
def test_eight_threads_of_python_on_one_layer(native, threads_of_torch, kind, threads):
    threads_of_torch(threads)
    layer = kind(96, return_sequences=True)
    batches = [torch.randn(9 + i, 12, 70, requires_grad=True) for i in range(8)]
    layer(batches[0])

    def work(i):
        found = []
        for _ in range(3):
            outputs = layer(batches[i])
            found += [outputs.detach(), *torch.autograd.grad(outputs.sum(), [batches[i], *layer.trainable_weights])]
        return found

    with observe() as choices:
        wanted = [work(i) for i in range(8)]
    assert {choice.engine for choice in choices} == {"native"}
    for found, right in zip(at_once(8, work), wanted, strict=True):
        equal(found, right)


FORK = """
import os, sys, torch
from ostinato import layers
from ostinato.engines.select import observe
torch.set_num_threads(2)
ran = [kind(64) for kind in (layers.LSTM, layers.GRU, layers.SimpleRNN)]
x = torch.randn(8, 20, 16)
def work():
    outputs = [layer(x) for layer in ran]
    sum(y.sum() for y in outputs).backward()
    return torch.stack(outputs).detach()
with observe() as choices:
    before = work()
assert {choice.engine for choice in choices} == {"native"}
assert len(os.listdir("/proc/self/task")) > 1, "no threads"
child = os.fork()
if child == 0:
    found = work()
    os._exit(0 if torch.equal(found, before) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert torch.equal(work(), before)  # the parent's threads are there as ever
"""

LOADER = """
import torch
from ostinato import layers
torch.set_num_threads(2)
layer = layers.LSTM(64)
x = torch.randn(8, 20, 16)
def work():
    y = layer(x)
    y.sum().backward()
    return y.detach()
before = work()
class Computed(torch.utils.data.Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, i):
        return work()
loader = torch.utils.data.DataLoader(
    Computed(), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60
)
found = list(loader)
assert len(found) == 4 and all(torch.equal(y, before) for y in found)
assert torch.equal(work(), before)
"""


@pytest.mark.parametrize("code", [FORK, LOADER], ids=["os.fork", "worker of a DataLoader"])
def test_a_process_forked_from_one_with_threads_runs_and_does_not_hang(native, code):
    done = subprocess.run([sys.executable, "-c", code], timeout=120, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# -- both directions --------------------------------------------------------------------------------------------------

PAIRS = {
    "alike": ({}, {}),
    "last only": ({"sequences": False}, {}),
    "of two cells and sizes": ({}, {"cell": "gru_v1", "units": 18}),
    "dropout in one": ({}, {"dropout": "gates", "recurrent_dropout": True}),
    "a bias in one": ({"bias": False}, {}),
    "one sample": ({"batch": 1}, {}),
    "many rows": ({"batch": 40, "time": 12, "features": 70, "units": 96}, {}),
}


def pair_of(way, cell, options, of_second, lengths):
    """Two problems over the same inputs, from each end."""
    options = {"batch": 7, "time": 5, "units": 19, "features": 18, **cell, **options}
    fields = {"dtype": way.dtype, "requires_grad": True}
    if lengths:
        fields["lengths"] = torch.arange(options["batch"]) * 7 % (options["time"] + 1)
    first = problem(**options, **fields)
    second = problem(**{**options, **of_second}, **fields, seed=1, reverse=True)
    return first, dataclasses.replace(second, inputs=first.inputs)


def run_pair(first, second):
    """Results of both, and gradients of all that they are computed from; and which problems the engine was given."""
    with use_engine("native"), observe() as choices:
        found = [
            specified(each, scanned) for each, scanned in zip((first, second), execute([first, second]), strict=True)
        ]
    values = [y for scanned in found for y in results(scanned)]
    grads = [g for place, scanned in enumerate(found) for g in cotangents(scanned, seed=place)]
    tensors = [*wanting(first), *wanting(second)[1:]]
    gradients = torch.autograd.grad(values, tensors, grads)
    return [*(y.detach() for y in values), *gradients], [choice.spec.recurrence for choice in choices]


@pytest.mark.parametrize("lengths", [False, True], ids=["whole", "lengths"])
@pytest.mark.parametrize(("options", "of_second"), PAIRS.values(), ids=PAIRS.keys())
@cells
def test_both_directions_are_the_oracles_whatever_the_threads(
    native, threads_of_torch, cell, options, of_second, lengths
):
    first, second = pair_of(native, cell, options, of_second, lengths)
    found, ran = run_pair(first, second)
    assert ran == ["directions"]
    of_first, of_second = (expected_gradients(each, scan(each), seed=i) for i, each in enumerate((first, second)))
    wanted = [*expected(first), *expected(second), of_first[0] + of_second[0], *of_first[1:], *of_second[1:]]
    native.near(found, wanted)
    for threads in (2, 3):
        threads_of_torch(threads)
        equal(run_pair(first, second)[0], found)


@cells
def test_both_directions_have_the_bits_of_one_after_the_other(native, cell):
    first, second = pair_of(native, cell, {}, {}, True)
    with use_engine("native"):
        together = execute([first, second])
    for each, scanned in zip((first, second), together, strict=True):
        equal(results(specified(each, scanned)), results(specified(each, native.run(each))))


@pytest.mark.parametrize("used", [0, 1])
@cells
def test_a_gradient_of_one_direction_alone(native, cell, used):
    first, second = pair_of(native, cell, {}, {}, True)
    with use_engine("native"):
        scanned = execute([first, second])[used]
    asked = (first, second)[used]
    found = torch.autograd.grad(scanned.last.sum(), [*wanting(first), *wanting(second)[1:]], materialize_grads=True)
    wanted = torch.autograd.grad(scan(asked).last.sum(), wanting(asked))
    count = len(wanting(first))
    mine, others = (found[:count], found[count:]) if used == 0 else ((found[0], *found[count:]), found[1:count])
    native.near(mine, wanted)
    assert all(g.abs().sum() == 0 for g in others)


def test_a_dropout_mask_that_learns_in_one_direction_gets_its_gradient(in_float32):
    first, second = pair_of(in_float32, {"cell": "lstm"}, {"dropout": "shared"}, {}, False)
    for each in (first, second):
        mask = each.recurrence.dropout.requires_grad_()
        sum(scanned.last.sum() for scanned in execute([first, second])).backward()
        found, mask.grad = mask.grad, None
        scan(each).last.sum().backward()
        close([found], [mask.grad], atol=1e-5)


# -- memory -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def nan_in_new_memory():
    """What torch allocates is full of NaN."""
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert torch.empty(3).new_empty(2).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    "sizes", [{"batch": 1}, {"batch": 2, "units": 21}, {}, {"batch": 13, "features": 18, "units": 37}], ids=str
)
@options_of_all
@cells
def test_what_stood_in_memory_before_does_not_show(native, nan_in_new_memory, cell, options, sizes):
    asked = ask(native, cell, **sizes, **options)
    torch.use_deterministic_algorithms(False)
    wanted = everything(native, asked)
    torch.use_deterministic_algorithms(True)

    def work(_):  # in a new thread, whose scratch memory is new too
        with torch.no_grad():
            inferred = results(specified(asked, native.run(asked)))
        return [*inferred, *everything(native, asked)]

    count = len(results(scan(asked)))
    (found,) = at_once(1, work)
    equal(found, [*wanted[:count], *wanted])


@options_of_all
@cells
def test_nothing_is_left_by_a_larger_problem_before(native, cell, options):
    small, large = ask(native, cell, **options), ask(native, cell, batch=40, time=20, features=33, units=50, **options)
    wanted = everything(native, small)
    with torch.no_grad():
        large.inputs.fill_(float("nan"))
    assert any(each.isnan().any() for each in everything(native, large))
    equal(everything(native, small), wanted)


GRADIENTS = {
    "time-major": lambda g: g.clone(memory_format=torch.contiguous_format),
    "batch-major": lambda g: g.transpose(0, 1).clone(memory_format=torch.contiguous_format).transpose(0, 1),
    "units apart": lambda g: g.movedim(-1, 0).clone(memory_format=torch.contiguous_format).movedim(0, -1),
    "every second number": lambda g: g.repeat_interleave(2, -1)[..., ::2],
    "expanded along time": lambda g: g[:1].expand_as(g),
    "expanded along units": lambda g: g[..., :1].expand_as(g),
    "one number for all": lambda g: g.flatten()[:1].reshape((1,) * g.dim()).expand_as(g),
}


@pytest.mark.parametrize("layout", GRADIENTS.values(), ids=GRADIENTS.keys())
@pytest.mark.parametrize("options", [{}, {"lengths": True, "reverse": True}], ids=["plain", "lengths, backwards"])
@cells
def test_strides_of_gradients_change_no_bit_and_nothing_is_written_to(native, cell, options, layout):
    asked = ask(native, cell, **options)
    scanned = native.run(asked)
    odd = [layout(g) for g in cotangents(scanned)]
    plain = [g.clone(memory_format=torch.contiguous_format) for g in odd]
    versions, before = [g._version for g in odd], [g.clone() for g in odd]
    found = torch.autograd.grad(results(scanned), wanting(asked), odd)
    equal(found, torch.autograd.grad(results(native.run(asked)), wanting(asked), plain))
    assert [g._version for g in odd] == versions
    equal(odd, before)


@options_of_all
@cells
def test_two_runs_before_two_backwards(native, cell, options):
    one, other = ask(native, cell, **options), ask(native, cell, **options, seed=1)
    wanted = [everything(native, each) for each in (one, other)]
    first, second = (specified(each, native.run(each)) for each in (one, other))
    grads = [torch.autograd.grad(results(s), wanting(a), cotangents(s)) for a, s in ((one, first), (other, second))]
    for scanned, found, right in zip((first, second), grads, wanted, strict=True):
        equal([*(y.detach() for y in results(scanned)), *found], right)


@options_of_all
@cells
def test_backward_as_often_as_one_keeps_the_graph(native, cell, options):
    asked = ask(native, cell, **options)
    scanned = native.run(asked)
    grads = cotangents(scanned)
    first = torch.autograd.grad(results(scanned), wanting(asked), grads, retain_graph=True)
    twice = [2 * g for g in grads]
    torch.autograd.grad(results(scanned), wanting(asked), twice, retain_graph=True)
    equal(torch.autograd.grad(results(scanned), wanting(asked), grads, retain_graph=True), first)
    equal(torch.autograd.grad(results(scanned), wanting(asked), grads), first)


def test_tensors_whose_numbers_are_not_what_lies_in_memory(in_float32):
    # The imaginary part of a conjugate is the memory of the other sign.
    asked = ask(in_float32, {"cell": "lstm"}, features=3)
    given = [None if t is None else t.detach() for t in leaves(asked)]
    for which, tensor in enumerate(given):
        if tensor is not None:
            negative = torch.complex(torch.zeros_like(tensor), -tensor).conj().imag
            assert negative.is_neg()
            equal([negative], [tensor])
            tensors = [negative if place == which else other for place, other in enumerate(given)]
            equal(
                results(in_float32.run(with_leaves(asked, tensors))), results(in_float32.run(with_leaves(asked, given)))
            )
    scanned = in_float32.run(asked)
    grads = cotangents(scanned)
    wanted = torch.autograd.grad(results(scanned), wanting(asked), grads, retain_graph=True)
    negative = [torch.complex(torch.zeros_like(g), -g).conj().imag for g in grads]
    equal(torch.autograd.grad(results(scanned), wanting(asked), negative), wanted)


# -- misuse -----------------------------------------------------------------------------------------------------------


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


# -- numbers that are no numbers, and very large and small ones -------------------------------------------------------

SPECIAL = [float("nan"), float("inf"), -float("inf")]


@pytest.mark.parametrize("value", SPECIAL)
@pytest.mark.parametrize("place", ["inputs", "h"])
@pytest.mark.parametrize("batch", [1, 7, 13])
@cells
def test_what_is_not_finite_goes_where_it_goes_in_the_loop_and_to_no_other_row(native, cell, batch, place, value):
    asked = ask(native, cell, batch=batch, features=4, units=19)
    row = batch // 2
    with torch.no_grad():
        (asked.inputs[2] if place == "inputs" else asked.state[0])[row, 1] = value
    loop = native.for_loop(asked)
    found, wanted = native.run(asked), scan(loop)
    others = torch.arange(batch) != row
    native.near([y[..., others, :] for y in results(found)], [y[..., others, :] for y in results(wanted)])
    if asked.recurrence.name == "gru" and place == "h":
        return  # the loop has NaN where it interpolates between a number and infinity
    same_but_for_rounding(native, results(found), results(wanted))
    if cell.get("recurrent_activation") == "hard_sigmoid" and math.isnan(value):
        return  # torch's relu6 has slope 0 at NaN in the middle of a tensor and 1 in its last few numbers
    grads = [torch.randn_like(found.outputs), *(torch.zeros_like(y) for y in results(found)[1:])]
    gradients = torch.autograd.grad(results(found), wanting(asked), grads)
    same_but_for_rounding(
        native, gradients, torch.autograd.grad(results(wanted), wanting(loop), [g.float() for g in grads])
    )


def same_but_for_rounding(way, found, wanted):
    """Assert that what is not finite stands in the same places."""
    for a, b in zip(found, wanted, strict=True):
        finite = b.isfinite()
        torch.testing.assert_close(a[~finite].to(b.dtype), b[~finite], equal_nan=True)
        way.near([a[finite]], [b[finite]])


EDGES = [0.0, -0.0, 1e-45, -1e-45, 1e-40, 1.2e-38, 1e-20, 1e-7, 3.0, -3.0, 2.9999998, -2.9999998]
EDGES += [20.0, -20.0, 88.0, -88.0, 104.0, -104.0, 1e4, -1e4, 3e38, -3e38, *SPECIAL]


def activated(way, name, x):
    """An activation of numbers, by a recurrence of one unit that forgets everything."""
    one, zero = torch.ones(1, 1), torch.zeros(1, 1)
    asked = problem("simple_rnn", batch=len(x), time=1, features=1, units=1, bias=False, activation=name)
    recurrence = dataclasses.replace(asked.recurrence, kernel=one, recurrent_kernel=zero)
    inputs = x[None, :, None].clone().requires_grad_()
    asked = dataclasses.replace(asked, recurrence=recurrence, inputs=inputs, state=(torch.zeros(len(x), 1),))
    y = way.run(asked).last[:, 0]
    return y.detach(), torch.autograd.grad(y.sum(), inputs)[0][0, :, 0]


@pytest.mark.parametrize("name", KNOWN)
def test_activations_at_their_edges(in_float32, name):
    x = torch.tensor(EDGES)
    found, slope = activated(in_float32, name, x)
    exact = x.double().requires_grad_()
    wanted = KNOWN[name](exact)
    torch.testing.assert_close(found, wanted.detach().float(), rtol=3e-7, atol=1e-36, equal_nan=True)
    number = x.clone().requires_grad_()  # at a kink it is the float32 loop that says on which side one is
    (of_loop,) = torch.autograd.grad(KNOWN[name](number).sum(), number)
    torch.testing.assert_close(slope[:-3], of_loop[:-3], rtol=0, atol=4e-7)
    if name in ("tanh", "relu", "linear"):  # what is odd keeps the smallest numbers
        small = x.abs() < 1e-6
        torch.testing.assert_close(found[small], wanted.detach().float()[small], rtol=3e-7, atol=2e-45)


@pytest.mark.parametrize("name", KNOWN)
def test_activations_everywhere(in_float32, name):
    x = torch.cat([torch.linspace(-30, 30, 40_001), torch.linspace(-1e-2, 1e-2, 10_001), torch.logspace(-30, 2, 999)])
    found, slope = activated(in_float32, name, x)
    exact = x.double().requires_grad_()
    wanted = KNOWN[name](exact)
    (of_loop,) = torch.autograd.grad(wanted.sum(), exact)
    y, eps = wanted.detach(), torch.finfo(torch.float32).eps
    condition = (x * of_loop / y).abs().nan_to_num(1)  # how much of a rounding of x there is in y
    assert ((found.double() - y).abs() <= eps * y.abs() * (2 + condition)).all()
    kinks = {"hard_sigmoid": 3.0, "relu": 0.0}.get(name)
    smooth = torch.ones_like(x, dtype=torch.bool) if kinks is None else (x.abs() - kinks).abs() > 1e-6
    close([slope[smooth]], [of_loop[smooth]], atol=4e-7)
    if name in ("tanh", "sigmoid", "hard_sigmoid"):
        assert found.max() <= 1
        assert found.min() >= (-1 if name == "tanh" else 0)
