"""The mask rule: every small mask, compaction and its way back, and what stands in masked steps."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.engines.execute import execute
from ostinato.engines.flat import leaves, results, with_leaves
from ostinato.recurrence import compact, scan
from ostinato.recurrence.masks import mask_of_lengths, turned
from problems import CELLS, all_masks, close, cotangents, equal, expected, expected_gradients, problem, wanting


def run(problem):
    return execute([problem])[0]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("time", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("cell", CELLS)
def test_every_mask_there_is(cell, time, reverse):
    # All 2 ** time masks, one in each row: gaps, left padding, right padding, nothing and everything.
    mask = all_masks(time)
    asked = problem(cell, batch=2**time, time=time, units=2, mask=mask, reverse=reverse)
    wanted = expected(asked)
    close(results(scan(asked)), wanted)
    close(results(run(asked)), wanted)


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_under_every_mask_of_four_steps(cell, reverse, sequences):
    asked = problem(
        cell, batch=16, time=4, units=2, mask=all_masks(4), reverse=reverse, sequences=sequences, requires_grad=True
    )
    for way in (scan, run):
        scanned = way(asked)
        found = torch.autograd.grad(results(scanned), wanting(asked), cotangents(scanned))
        close(found, expected_gradients(asked, scanned), atol=1e-11)


@st.composite
def masked_problems(draw):
    time, batch = draw(st.integers(1, 7)), draw(st.integers(1, 4))
    flags = draw(st.lists(st.booleans(), min_size=time * batch, max_size=time * batch))
    return problem(
        draw(st.sampled_from(sorted(CELLS))),
        batch=batch,
        time=time,
        mask=torch.tensor(flags).reshape(time, batch),
        reverse=draw(st.booleans()),
        sequences=draw(st.booleans()),
        bias=draw(st.booleans()),
        recurrent_dropout=draw(st.booleans()),
        seed=draw(st.integers(0, 100)),
        requires_grad=True,
    )


@settings(max_examples=40, deadline=None)
@given(masked_problems())
def test_compacting_is_the_mask_step_by_step(asked):
    by_step, compacted = scan(asked), run(asked)
    close(results(compacted), results(by_step), atol=1e-12)
    grads = cotangents(by_step)
    wanted = torch.autograd.grad(results(by_step), wanting(asked), grads)
    close(torch.autograd.grad(results(compacted), wanting(asked), grads), wanted, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(0, 8), st.integers(0, 5), st.booleans())
def test_compact_brings_the_used_steps_to_the_front_in_order(data, time, batch, reverse):
    flags = data.draw(st.lists(st.booleans(), min_size=time * batch, max_size=time * batch))
    mask = torch.tensor(flags, dtype=torch.bool).reshape(time, batch)
    inputs = torch.arange(1.0, time * batch + 1).reshape(time, batch, 1)
    found = compact(inputs, mask)
    assert found.lengths.dtype is torch.int64
    run = turned(found.inputs, found.lengths) if reverse else found.inputs  # a run that gives back what it reads
    for row in range(batch):
        used = [t for t in range(time) if mask[t, row]]
        padded = [float(inputs[t, row, 0]) for t in used] + [0.0] * (time - len(used))
        assert found.inputs[:, row, 0].tolist() == padded
        assert int(found.lengths[row]) == len(used)
        # The way back: a masked step shows what the last used step before it gave, zeros before the first.
        given_back = found.restore(run, reverse)[:, row, 0].tolist()
        shown, held = [], 0.0
        for t in range(time - 1, -1, -1) if reverse else range(time):
            held = float(inputs[t, row, 0]) if mask[t, row] else held
            shown.append(held)
        assert given_back == shown


def test_compact_walks_nests_of_any_dtype_and_rank():
    mask = torch.tensor([[False, True], [True, False], [True, True]])
    inputs = {"b": torch.arange(6).reshape(3, 2), "a": [torch.arange(24.0).reshape(3, 2, 2, 2), mask]}
    found = compact(inputs, mask)
    assert found.inputs["b"].tolist() == [[2, 1], [4, 5], [0, 0]]
    assert found.inputs["b"].dtype is torch.int64
    equal(
        [found.inputs["a"][0]],
        [
            torch.stack(
                [torch.stack([inputs["a"][0][1, 0], inputs["a"][0][0, 1]]), inputs["a"][0][2], torch.zeros(2, 2, 2)]
            )
        ],
    )
    assert found.inputs["a"][1].tolist() == [[True, True], [True, True], [False, False]]
    restored = found.restore(found.inputs)
    assert restored["b"].tolist() == [[0, 1], [2, 1], [4, 5]]


def test_right_padding_is_not_gathered():
    # Where every row ends at its length, the inputs stay where they are; only the padding is made zero.
    mask = mask_of_lengths(torch.tensor([2, 0, 3]), 3)
    inputs = torch.randn(3, 3, 2, requires_grad=True)
    found = compact(inputs, mask)
    assert "IndexSelect" not in operations(found.inputs)
    equal([found.inputs], [inputs * mask[..., None]])
    gap = torch.tensor([[True, False, True], [False, False, True], [True, False, True]])
    assert "IndexSelect" in operations(compact(inputs, gap).inputs)


def operations(tensor):
    """The names of what a tensor was computed by, as autograd has them."""
    names, node = [], tensor.grad_fn
    while node is not None:
        names.append(type(node).__name__)
        node = node.next_functions[0][0] if node.next_functions else None
    return " ".join(names)


@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"dropout": "shared", "recurrent_dropout": True}], ids=str)
@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -float("inf"), 1e38])
@pytest.mark.parametrize("cell", CELLS)
def test_what_stands_in_a_masked_step_changes_no_bit(cell, garbage, options):
    mask = all_masks(4)[:, [0, 5, 10, 12, 15, 7]]  # nothing, gaps, right padding, everything, left padding
    clean = problem(cell, batch=6, time=4, mask=mask, dtype=torch.float32, requires_grad=True, **options)
    spoilt = clean.inputs.detach().masked_fill(~mask[..., None], garbage)

    def everything(inputs):
        asked = dataclasses.replace(clean, inputs=inputs.detach().requires_grad_())
        scanned = run(asked)
        return results(scanned) + list(torch.autograd.grad(results(scanned), wanting(asked), cotangents(scanned)))

    found = everything(spoilt)
    assert all(tensor.isfinite().all() for tensor in found)
    equal(found, everything(clean.inputs))


@pytest.mark.parametrize("cell", CELLS)
def test_a_fully_masked_row_keeps_its_state_and_wants_no_gradient(cell):
    mask = torch.ones(5, 3, dtype=torch.bool)
    mask[:, 1] = False
    asked = problem(cell, mask=mask, requires_grad=True)
    scanned = run(asked)
    equal([h[1] for h in scanned.state], [h[1] for h in asked.state])
    assert scanned.outputs[:, 1].abs().max() == 0
    assert scanned.last[1].abs().max() == 0
    grads = torch.autograd.grad(scanned.outputs.sum() + scanned.last.sum(), wanting(asked))
    for gradient in (grads[0][:, 1], *(g[1] for g in grads[1 : 1 + len(asked.state)])):
        assert gradient.abs().max() == 0
    rows = [0, 2]
    alone = dataclasses.replace(
        asked, inputs=asked.inputs[:, rows], state=tuple(h[rows] for h in asked.state), mask=mask[:, rows]
    )
    close([y[..., rows, :] for y in results(scanned)], results(run(alone)), atol=1e-15)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_an_all_true_mask_is_no_mask(cell, reverse):
    asked = problem(cell, reverse=reverse)
    masked = dataclasses.replace(asked, mask=torch.ones(5, 3, dtype=torch.bool))
    close(results(run(masked)), results(run(asked)), atol=1e-15)


@pytest.mark.parametrize("cell", CELLS)
def test_right_padding_is_a_shorter_sequence(cell):
    asked = problem(cell, mask=mask_of_lengths(torch.tensor([3, 3, 3]), 5))
    shorter = dataclasses.replace(asked, inputs=asked.inputs[:3], mask=None)
    padded, short = run(asked), run(shorter)
    close([padded.outputs[:3], padded.last, *padded.state], results(short), atol=1e-15)
    equal([padded.outputs[3], padded.outputs[4]], [padded.last, padded.last])


@pytest.mark.parametrize("cell", CELLS)
def test_lengths_give_finite_outputs_in_the_padding(cell):
    asked = problem(cell, lengths=torch.tensor([0, 2, 5]))
    assert run(asked).outputs.isfinite().all()
    close([run(asked).last, *run(asked).state], expected(asked)[1:])


@pytest.mark.parametrize(("batch", "time"), [(0, 4), (3, 0), (0, 0)])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_masks_of_no_steps_or_no_samples(cell, batch, time, reverse):
    asked = problem(cell, batch=batch, time=time, reverse=reverse)
    asked.mask = torch.zeros(time, batch, dtype=torch.bool)
    found = run(asked)
    assert found.outputs.shape == (time, batch, 3)
    assert found.last.shape == (batch, 3)
    equal(list(found.state), list(asked.state))


@pytest.mark.parametrize("cell", CELLS)
def test_a_mask_with_strides_and_one_expanded(cell):
    rows = torch.tensor([[True, False, True, True, False], [False, True, True, False, False], [True] * 5])
    asked = problem(cell, mask=rows.T)
    close(results(run(asked)), expected(asked))
    same_for_all = dataclasses.replace(asked, mask=rows[0][:, None].expand(5, 3))
    close(results(run(same_for_all)), expected(same_for_all))


def test_compacting_writes_to_nothing():
    mask = torch.tensor([[False, True], [True, False]])
    asked = problem("lstm", batch=2, time=2, mask=mask, reverse=True)
    tensors = [mask, *(t for t in leaves(asked) if t is not None)]
    before = [(t._version, t.clone()) for t in tensors]
    run(asked)
    assert [t._version for t in tensors] == [version for version, _ in before]
    equal(tensors, [values for _, values in before])


@pytest.mark.parametrize("cell", CELLS)
def test_second_derivatives_through_compaction(cell):
    mask = torch.tensor([[False, True], [True, False], [True, False]])
    asked = problem(cell, batch=2, time=3, units=2, mask=mask, reverse=True, requires_grad=True)

    def of(*tensors):
        rest = iter(tensors)
        return tuple(results(run(with_leaves(asked, [None if t is None else next(rest) for t in leaves(asked)]))))

    assert torch.autograd.gradcheck(of, wanting(asked))
    assert torch.autograd.gradgradcheck(of, wanting(asked), fast_mode=True)
