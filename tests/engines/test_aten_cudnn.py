"""What the aten engine does on a GPU: on the CPU, with the very code and torch's own functions; and where there is one.

cuDNN wants its weights in one buffer, takes rows that end early packed, both directions in one call, and no more than
65,535 steps: here four.
"""

import dataclasses
import math
import warnings

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ostinato import layers
from ostinato.engines import aten, select
from ostinato.engines.aten import ATEN
from ostinato.engines.execute import execute
from ostinato.engines.flat import results
from ostinato.engines.select import observe
from ostinato.engines.spec import spec_of
from ostinato.recurrence import scan
from ostinato.recurrence.directions import paired, parts
from problems import (
    all_masks,
    close,
    cotangents,
    equal,
    expected,
    expected_gradients,
    halves,
    problem,
    specified,
    value_and_gradients,
    wanting,
)

CELLS = {
    "lstm": {"cell": "lstm"},
    "gru": {"cell": "gru"},
    "simple_rnn": {"cell": "simple_rnn"},
    "simple_rnn, relu": {"cell": "simple_rnn", "activation": "relu"},
}
cells = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())


@pytest.fixture
def as_cudnn(monkeypatch):
    """The CPU, treated as a GPU whose cuDNN takes four steps at a time; no oneDNN, which would go its own way."""
    monkeypatch.setitem(aten._DEVICES, "cpu", aten._DEVICES["cuda"]._replace(steps=4))
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    select._rank.cache_clear()
    select._first_willing.cache_clear()
    yield
    select._rank.cache_clear()
    select._first_willing.cache_clear()


@pytest.fixture
def long(monkeypatch, as_cudnn):
    """As `as_cudnn`, with the limit that cuDNN really has."""
    monkeypatch.setitem(aten._DEVICES, "cpu", aten._DEVICES["cuda"])


def run(*problems):
    """Through the door, on aten or not at all."""
    with select.use_engine("aten"):
        return execute(problems)


def check(asked):
    values, gradients = value_and_gradients(asked, lambda each: run(each)[0])
    close(values, expected(asked))
    close(gradients, expected_gradients(asked, scan(asked)), atol=1e-10)


OPTIONS = {
    "plain": {},
    "no bias": {"bias": False},
    "backwards": {"reverse": True},
    "last only": {"sequences": False},
    "lengths": {"lengths": torch.tensor([0, 9, 2])},
    "lengths, backwards": {"lengths": torch.tensor([4, 0, 5]), "reverse": True},
    "lengths, last only": {"lengths": torch.tensor([3, 8, 4]), "sequences": False},
    "lengths, dropout, no bias": {"lengths": torch.tensor([3, 0, 9]), "dropout": "shared", "bias": False},
    "no row has a step": {"lengths": torch.tensor([0, 0, 0])},
    "dropout, backwards": {"dropout": "shared", "reverse": True},
}


@pytest.mark.parametrize("time", [9, 8, 4, 1])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@cells
def test_values_and_gradients_four_steps_at_a_time(as_cudnn, cell, options, time):
    if "lengths" in options:
        options = {**options, "lengths": options["lengths"].clamp(max=time)}
    check(problem(**cell, **options, time=time, requires_grad=True))


@pytest.mark.parametrize("reverse", [False, True])
@cells
def test_every_mask_of_six_steps(as_cudnn, cell, reverse):
    check(problem(**cell, batch=64, time=6, mask=all_masks(6), reverse=reverse, requires_grad=True))


def test_no_call_is_given_more_steps_than_the_limit(as_cudnn, monkeypatch):
    seen, call = [], aten._call

    def noted(problem, device, inputs, *rest):
        seen.append(inputs.shape[0])
        return call(problem, device, inputs, *rest)

    monkeypatch.setattr(aten, "_call", noted)
    run(problem("gru", time=9))
    run(*halves("gru", time=9))
    run(*halves("gru", time=4))
    assert seen == [4, 4, 1, *[4, 4, 1] * 2, 4]
    assert aten._DEVICES["cuda"].steps == 65_535


# -- both directions --------------------------------------------------------------------------------------------------

PAIRS = {
    "plain": {},
    "no bias": {"bias": False},
    "last only": {"sequences": False},
    "mask": {"mask": all_masks(3)[:, [5, 0, 3]].repeat_interleave(3, 0)[:7], "time": 7},
    "lengths": {"lengths": torch.tensor([3, 0, 4])},
    "lengths, last only": {"lengths": torch.tensor([1, 4, 4]), "sequences": False},
    "dropout": {"dropout": "shared"},
}


@pytest.mark.parametrize("options", PAIRS.values(), ids=PAIRS.keys())
@cells
def test_both_directions_are_two_runs(long, cell, options):
    forward, backward = halves(**cell, **{"time": 4, **options}, requires_grad=True)
    with observe() as choices:
        found = run(forward, backward)
    one_call = "dropout" not in options  # which is another mask for each half
    assert [choice.spec.recurrence for choice in choices] == (["directions"] if one_call else [cell["cell"]] * 2)
    assert {choice.engine for choice in choices} == {"aten"}
    tensors = [*wanting(forward), *wanting(backward)[1:]]
    values, grads, right = [], [], []
    for asked, scanned in zip((forward, backward), found, strict=True):
        values += results(specified(asked, scanned))
        right += expected(asked)
        grads += cotangents(scanned, seed=len(grads))
    close(values, right)
    of_first = expected_gradients(forward, scan(forward), seed=0)
    of_second = expected_gradients(backward, scan(backward), seed=len(grads) // 2)
    wanted = [of_first[0] + of_second[0], *of_first[1:], *of_second[1:]]
    close(torch.autograd.grad(values, tensors, grads), wanted, atol=1e-10)


@cells
def test_a_pair_is_one_spec_and_taken_as_one(long, cell):
    forward, backward = halves(**cell)
    pair = paired([forward, backward])
    assert ATEN.refuses(spec_of(pair)) == []
    equal(
        [y for part in parts(ATEN.forward(pair)[0]) for y in results(part)],
        [y for part in run(forward, backward) for y in results(part)],
    )


def test_a_pair_that_is_no_pair_is_run_one_by_one(long):
    forward, backward = halves("gru")
    other = dataclasses.replace(problem("simple_rnn", reverse=True), inputs=forward.inputs)
    for second in (other, dataclasses.replace(backward, inputs=forward.inputs.clone())):
        with observe() as choices:
            found = run(forward, second)
        assert [choice.spec.recurrence for choice in choices] == ["gru", second.recurrence.name]
        close([y for each in found for y in results(each)], [*expected(forward), *expected(second)])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_pair(long, data):
    time, batch = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 5))
    flags = data.draw(st.none() | st.lists(st.booleans(), min_size=time * batch, max_size=time * batch))
    asked = halves(
        **data.draw(st.sampled_from(list(CELLS.values()))),
        batch=batch,
        time=time,
        features=data.draw(st.integers(1, 4)),
        units=data.draw(st.integers(1, 4)),
        bias=data.draw(st.booleans()),
        sequences=data.draw(st.booleans()),
        mask=None if flags is None else torch.tensor(flags).reshape(time, batch),
        seed=data.draw(st.integers(0, 100)),
    )
    for each, found in zip(asked, run(*asked), strict=True):
        close(results(found), expected(each))


# -- the one buffer ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("directions", [1, 2])
@cells
def test_weights_lie_in_one_buffer_as_cudnn_has_them(cell, directions, bias):
    # All matrices, W and U of each direction, then all biases, b_W and b_U of each: cuDNN has a place for those even
    # if there are none. PyTorch takes a buffer that begins with the first weight and is laid out so without a copy.
    each = [aten._weights(p.recurrence, p.recurrence.kernel) for p in halves(**cell, bias=bias)[:directions]]
    found = aten._in_one_buffer(each)
    wanted = [weight for weights in each for weight in weights]
    equal(found, wanted)
    assert len({w.untyped_storage().data_ptr() for w in found}) == 1
    assert all(w.is_contiguous() for w in found)
    in_order = [i for d in range(directions) for i in (4 * d, 4 * d + 1)]
    in_order += [i for d in range(directions) for i in (4 * d + 2, 4 * d + 3)]
    offsets = [0]
    for i in in_order:
        assert found[i].storage_offset() == offsets[-1]
        offsets.append(offsets[-1] + math.prod(found[i].shape))
    assert found[0].untyped_storage().nbytes() == offsets[-1] * found[0].element_size()


def test_gates_of_a_gru_change_places():
    recurrence = problem("gru").recurrence
    found = aten._weights(recurrence, recurrence.kernel)
    z, r, h = recurrence.kernel.chunk(3, dim=1)
    equal([found.w_ih], [torch.cat([r, z, h], 1).T])
    z, r, h = recurrence.bias[1].chunk(3)
    equal([found.b_hh], [torch.cat([r, z, h])])


# -- on a GPU ---------------------------------------------------------------------------------------------------------

MASKS = {
    "none": None,
    "gaps": torch.tensor([[False, True, False, True, True], [True, False, True, False, False], [False] * 5]),
    "right padding": torch.arange(5) < torch.tensor([5, 2, 0])[:, None],
}


@pytest.mark.gpu
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
@pytest.mark.parametrize("wrap", [lambda layer: layer, layers.Bidirectional], ids=["alone", "bidirectional"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU])
def test_cudnn_by_name_gives_what_the_loop_gives_in_float64(kind, bias, wrap, mask):
    layer = wrap(kind(7, return_sequences=True, use_cudnn=True, use_bias=bias))
    layer.build((None, None, 3))
    exact = wrap(kind(7, return_sequences=True, use_bias=bias, dtype="float64"))
    exact.build((None, None, 3))
    exact.set_weights(layer.get_weights())
    layer, exact = layer.to("cuda"), exact.to("cpu")
    x = torch.randn(3, 5, 3)
    found, wanted = [], []
    with warnings.catch_warnings(), observe() as choices:
        warnings.simplefilter("error")  # such as torch's, that weights are not in one chunk
        for way, device, dtype, into in ((layer, "cuda", torch.float32, found), (exact, "cpu", torch.float64, wanted)):
            given = x.to(device, dtype).requires_grad_()
            outputs = way(given, mask=None if mask is None else mask.to(device))
            into += [outputs, *torch.autograd.grad((outputs**2).sum(), [given, *way.trainable_weights])]
    assert choices[0].engine == "aten"
    assert choices[0].spec.device == "cuda"
    close([each.cpu() for each in found], wanted, atol=1e-4)


@pytest.mark.gpu
def test_cudnn_ruled_out_is_the_loop_on_a_gpu():
    layer, x = layers.LSTM(4, use_cudnn=False).to("cuda"), torch.randn(2, 5, 3, device="cuda")
    with observe() as choices:
        layer(x)
    assert [choice.engine for choice in choices] == ["reference"]


@pytest.mark.gpu
def test_more_steps_than_cudnn_takes():
    layer, x = layers.GRU(4).to("cuda"), torch.randn(2, 65_540, 3, device="cuda")
    with torch.no_grad():
        close([layer(x)], [layer(x[:, -2000:])], atol=1e-4)  # what was long ago is forgotten
