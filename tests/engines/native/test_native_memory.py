"""The native engine's memory: it reads what is its own, and writes nowhere else."""

import pytest
import torch

from native_problems import ask, at_once, cells, everything, options_of_all
from ostinato.engines.flat import leaves, results, with_leaves
from ostinato.recurrence import scan
from problems import cotangents, equal, specified, wanting


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
