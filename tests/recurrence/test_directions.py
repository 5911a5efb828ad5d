"""Two directions as one problem: what makes a pair, its parts, and what the loop makes of it; turning rows round."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.engines.flat import leaves, results, with_leaves, with_results
from ostinato.recurrence import GRU, LSTM, Directions, SimpleRNN, scan
from ostinato.recurrence.directions import join, paired, parts, split
from ostinato.recurrence.masks import mask_of_lengths, turned
from problems import CELLS, close, cotangents, equal, expected, expected_gradients, halves, problem, wanting

LENGTHS = torch.tensor([5, 0, 2])


def pair(cell, **options):
    found = paired(halves(cell, **options))
    assert found is not None
    return found


# -- a pair -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"lengths": LENGTHS}, {"mask": mask_of_lengths(LENGTHS, 5)}], ids=str)
def test_two_problems_over_the_very_same_inputs_are_a_pair(options):
    forward, backward = halves("lstm", **options)
    found = paired([forward, backward])
    assert type(found.recurrence) is Directions
    assert found.inputs is forward.inputs
    assert (found.mask, found.lengths) == (forward.mask, forward.lengths)
    assert found.state == (forward.state, backward.state)
    assert found.reverse is False
    assert found.owner == "forward, backward"
    for half, whole in zip(split(found), (forward, backward), strict=True):
        assert all(getattr(half, field.name) is getattr(whole, field.name) for field in dataclasses.fields(half)), half


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": torch.zeros(5, 3, 2)},
        {"mask": torch.ones(5, 3, dtype=torch.bool)},
        {"lengths": torch.tensor([5, 5, 5])},
        {"reverse": False},
        {"sequences": False},
        {"cudnn": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_no_pair(change):
    forward, backward = halves("gru")
    assert paired([forward, backward]) is not None
    assert paired([forward, dataclasses.replace(backward, **change)]) is None
    assert paired([backward, forward]) is None


def test_a_pair_may_be_of_two_kinds():
    forward, backward = halves("lstm")
    other = dataclasses.replace(problem("gru", units=7), inputs=forward.inputs, reverse=True)
    found = paired([forward, other])
    close(results(parts(scan(found))[1]), expected(other))
    assert [half.recurrence.name for half in split(found)] == ["lstm", "gru"]
    assert backward.reverse is True


# -- the recurrence ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_its_tensors_are_those_of_both(cell):
    both = pair(cell, dropout="shared", bias=False).recurrence
    tensors = both.tensors()
    assert len(tensors) == 10
    assert all(a is b for a, b in zip(tensors, (*both.forward.tensors(), *both.backward.tensors()), strict=True))
    doubled = both.replace([None if t is None else 2 * t for t in tensors])
    assert type(doubled) is Directions
    assert doubled.owners == ("forward", "backward")
    equal([doubled.backward.kernel], [2 * both.backward.kernel])
    assert doubled.options() == both.options()


def test_its_options_hash_and_tell_the_halves_apart():
    plain = pair("gru").recurrence
    assert hash(plain.options()) == hash(pair("gru", units=9, seed=4).recurrence.options())
    others = [pair("gru_v1"), pair("lstm"), pair("gru", bias=False), pair("gru", dropout="shared")]
    mixed = Directions(plain.forward, others[2].recurrence.backward)
    assert len({plain.options(), mixed.options(), *(each.recurrence.options() for each in others)}) == 6
    facts = Directions.facts(plain.options())
    assert facts == {"forward": ("gru", GRU.facts(plain.forward.options()))} | {
        "backward": ("gru", GRU.facts(plain.backward.options()))
    }


def test_it_has_no_step_of_its_own():
    asked = pair("simple_rnn")
    with pytest.raises(TypeError, match="split the problem"):
        asked.recurrence.step(asked.inputs[0], asked.state)


def test_flat_and_back():
    asked = pair("lstm", requires_grad=True)
    tensors = leaves(asked)
    assert len(tensors) == 1 + 4 + 10
    again = with_leaves(asked, tensors)
    assert again.state == asked.state
    assert isinstance(again.state[0], tuple)
    scanned = scan(asked)
    assert len(results(scanned)) == 2 + 2 + 4
    packed = with_results(scanned, results(scanned))
    equal(results(packed), results(scanned))
    assert [len(each) for each in (packed.outputs, packed.last, packed.state, packed.state[0])] == [2, 2, 2, 2]


# -- the loop over it -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize(
    "fields", [{}, {"mask": torch.rand(5, 3, generator=torch.Generator().manual_seed(1)) < 0.5}], ids=["whole", "mask"]
)
@pytest.mark.parametrize("cell", CELLS)
def test_the_loop_over_a_pair_is_the_two(cell, fields, sequences):
    forward, backward = halves(cell, sequences=sequences, requires_grad=True, **fields)
    scanned = scan(paired([forward, backward]))
    first, second = parts(scanned)
    assert (scanned.outputs is None) is not sequences
    equal(results(join(first, second)), results(scanned))
    close(results(first), expected(forward))
    close(results(second), expected(backward))
    wanted = expected_gradients(forward, first, seed=1), expected_gradients(backward, second, seed=2)
    tensors = [*wanting(forward), *wanting(backward)[1:]]
    found = torch.autograd.grad(
        results(first) + results(second), tensors, cotangents(first, seed=1) + cotangents(second, seed=2)
    )
    close(found, [wanted[0][0] + wanted[1][0], *wanted[0][1:], *wanted[1][1:]], atol=1e-11)


def test_the_loop_over_a_pair_with_lengths_takes_each_row_from_its_own_end():
    forward, backward = halves("lstm", lengths=LENGTHS)
    first, second = parts(scan(paired([forward, backward])))
    for row, length in enumerate(LENGTHS.tolist()):
        for half, found in ((forward, first), (backward, second)):
            short = dataclasses.replace(
                half,
                inputs=half.inputs[:length, row : row + 1],
                state=tuple(h[row : row + 1] for h in half.state),
                lengths=None,
            )
            alone = scan(short)
            close(
                [found.outputs[:length, row], found.last[row], *(h[row] for h in found.state)],
                [alone.outputs[:, 0], alone.last[0], *(h[0] for h in alone.state)],
            )


def test_a_pair_over_no_steps():
    forward, backward = halves("gru", time=0)
    first, second = parts(scan(paired([forward, backward])))
    equal([first.state[0], second.state[0]], [forward.state[0], backward.state[0]])
    assert first.outputs.shape == second.outputs.shape == (0, 3, 3)


# -- lengths, backwards -----------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 7), st.integers(1, 4))
def test_turned_is_each_row_turned_round_by_itself(data, time, batch):
    lengths = torch.tensor(data.draw(st.lists(st.integers(0, time), min_size=batch, max_size=batch)))
    nest = {"a": torch.randn(time, batch, 2, requires_grad=True), "b": torch.arange(time * batch).reshape(time, batch)}
    found = turned(nest, lengths)
    for row, length in enumerate(lengths.tolist()):
        equal(
            [found["a"][:length, row], found["b"][:length, row]], [leaf[:length, row].flip(0) for leaf in nest.values()]
        )
        back = turned(found, lengths)
        equal([back["a"][:length, row]], [nest["a"][:length, row]])
    assert found["a"].isfinite().all()
    gradient = torch.autograd.grad((found["a"] * mask_of_lengths(lengths, time)[..., None]).sum(), nest["a"])[0]
    equal([gradient], [mask_of_lengths(lengths, time)[..., None].expand_as(gradient).to(gradient.dtype)])


@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_lengths_backwards_are_a_mask_backwards(cell, sequences):
    lengths = problem(cell, lengths=LENGTHS, reverse=True, sequences=sequences, requires_grad=True)
    mask = dataclasses.replace(lengths, lengths=None, mask=mask_of_lengths(LENGTHS, 5))
    by_lengths, by_mask = scan(lengths), scan(mask)
    close([by_lengths.last, *by_lengths.state], [by_mask.last, *by_mask.state], atol=1e-14)
    grads = cotangents(by_mask)[sequences:]
    found, wanted = (
        torch.autograd.grad([scanned.last, *scanned.state], wanting(lengths), grads)
        for scanned in (by_lengths, by_mask)
    )
    close(found, wanted, atol=1e-13)
    if sequences:  # in processing order: of lengths from each row's own end, of a mask from the last step on
        for row, length in enumerate(LENGTHS.tolist()):
            close([by_lengths.outputs[:length, row]], [by_mask.outputs[5 - length :, row]], atol=1e-14)


def test_the_classes_are_as_exported():
    assert [cls.name for cls in (SimpleRNN, GRU, LSTM, Directions)] == ["simple_rnn", "gru", "lstm", "directions"]
