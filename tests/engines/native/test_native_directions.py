"""Both directions of a Bidirectional at once on the native engine."""

import dataclasses

import pytest
import torch

from native_problems import cells
from ostinato.engines.execute import execute
from ostinato.engines.flat import results
from ostinato.engines.select import observe, use_engine
from ostinato.recurrence import scan
from problems import close, cotangents, equal, expected, expected_gradients, problem, specified, wanting

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
