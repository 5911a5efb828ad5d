"""ConvLSTM as a recurrence: against the oracle, its derivatives, and what every recurrence promises."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

import oracle
from ostinato.engines.execute import execute
from ostinato.engines.flat import leaves, results, with_leaves
from ostinato.recurrence import LSTM, ConvLSTM, Problem, scan
from ostinato.recurrence.activations import KNOWN, activation_name
from ostinato.recurrence.convolution import Convolution
from problems import all_masks, close, cotangents, equal, value_and_gradients, wanting

MASK = torch.tensor([[False, True], [True, True], [False, False], [True, False]])


def problem(
    sizes=(4,),
    window=(2,),
    *,
    strides=None,
    dilation=None,
    padding="valid",
    channels_last=True,
    batch=2,
    time=4,
    channels=2,
    filters=2,
    bias=True,
    dropout=None,
    recurrent_dropout=None,
    activation="tanh",
    recurrent_activation="sigmoid",
    dtype=torch.float64,
    requires_grad=False,
    seed=0,
    **fields,
):
    """A problem with weights, inputs and initial state drawn from a seed. dropout: None, "shared" or "gates"."""
    draw = np.random.default_rng(seed)
    ones = (1,) * len(sizes)
    convolution = Convolution(window, strides or ones, dilation or ones, padding, channels_last)
    recurrent = Convolution(window, ones, ones, "same", channels_last)
    places = convolution.positions(sizes)

    def drawn(values):
        return torch.tensor(values, dtype=dtype)

    def normal(*shape):
        return drawn(draw.normal(size=shape)).requires_grad_(requires_grad)

    def space(*lead, sizes, channels):
        values = draw.normal(size=(*lead, *sizes, channels))
        values = values if channels_last else np.moveaxis(values, -1, len(lead))
        return drawn(values).requires_grad_(requires_grad)

    def kept(how, sizes, channels):
        if how is None:
            return None
        lead = (4, batch) if how == "gates" else (batch,)
        values = (draw.random((*lead, *sizes, channels)) < 0.6) / 0.6
        return drawn(values if channels_last else np.moveaxis(values, -1, len(lead)))

    recurrence = ConvLSTM(
        normal(*window, channels, 4 * filters),
        normal(*window, filters, 4 * filters),
        convolution,
        recurrent,
        normal(4 * filters) if bias else None,
        kept(dropout, sizes, channels),
        kept(recurrent_dropout, places, filters),
        KNOWN[activation],
        KNOWN[recurrent_activation],
    )
    inputs = space(time, batch, sizes=sizes, channels=channels)
    state = tuple(space(batch, sizes=places, channels=filters) for _ in range(2))
    return Problem(recurrence, inputs, state, **fields)


def by_oracle(asked, tensors=None):
    """The oracle's results of a problem, in the order and layout of `results`; tensors: instead of its own."""
    recurrence = asked.recurrence
    rank, last = len(recurrence.convolution.kernel_size), recurrence.convolution.channels_last

    def arranged(array):  # channels last, whatever leads
        return array if last or array is None else np.moveaxis(array, -1 - rank, -1)

    def back(array):
        return array if last else np.moveaxis(array, -1, -1 - rank)

    if tensors is None:
        tensors = [None if t is None else t.detach().double().numpy() for t in leaves(asked)]
    inputs, h, c, kernel, recurrent_kernel, bias, *_ = tensors
    masks = [each if each is None else np.broadcast_to(each, (4, *each.shape[-2 - rank :])) for each in tensors[-2:]]
    cell = oracle.ConvCell(
        kernel,
        recurrent_kernel,
        bias,
        *(arranged(each) for each in masks),
        recurrence.convolution.strides,
        recurrence.convolution.dilation,
        recurrence.convolution.padding,
        activation_name(recurrence.activation),
        activation_name(recurrence.recurrent_activation),
    )
    mask = asked.mask
    if asked.lengths is not None:
        mask = torch.arange(len(inputs))[:, None] < asked.lengths
    mask = None if mask is None else mask.T.numpy()
    found = oracle.run_conv(cell, arranged(inputs).swapaxes(0, 1), [arranged(h), arranged(c)], mask, asked.reverse)
    outputs = [back(found.outputs.swapaxes(0, 1)).copy()] if asked.sequences else []
    if asked.sequences and asked.lengths is not None:
        outputs[0][~mask.T] = 0  # unspecified
    return [*outputs, back(found.last), *(back(each) for each in found.states)]


def expected(asked):
    return [torch.tensor(array) for array in by_oracle(asked)]


def expected_gradients(asked):
    """The oracle's gradients for `wanting(asked)`, from random ones of all results."""
    weights = [grad.numpy() for grad in cotangents(scan(asked))]
    tensors = [None if t is None else t.detach().numpy() for t in leaves(asked)]

    def of(place):
        def scalar(array):
            found = by_oracle(asked, [*tensors[:place], array, *tensors[place + 1 :]])
            return sum((w * y).sum() for w, y in zip(weights, found, strict=True))

        return torch.tensor(oracle.derivative(scalar, tensors[place]))

    return [of(place) for place, t in enumerate(leaves(asked)) if t is not None and t.requires_grad]


def unlike_sides(**options):
    return {"sizes": (2, 3), "window": (1, 2), "channels": 1, **options}


OPTIONS = {
    "plain": {},
    "channels first": {"channels_last": False},
    "same": {"padding": "same", "window": (3,)},
    "an even window, same": {"padding": "same"},
    "strides": {"sizes": (5,), "strides": (2,)},
    "strides, same": {"sizes": (5,), "strides": (3,), "padding": "same"},
    "dilation": {"sizes": (5,), "dilation": (2,)},
    "dilation, same, channels first": {"dilation": (3,), "padding": "same", "channels_last": False},
    "no bias": {"bias": False},
    "relu, hard_sigmoid": {"activation": "relu", "recurrent_activation": "hard_sigmoid"},
    "linear, tanh": {"activation": "linear", "recurrent_activation": "tanh"},
    "reverse": {"reverse": True},
    "last only": {"sequences": False},
    "mask": {"mask": MASK},
    "mask, reverse, last only": {"mask": MASK, "reverse": True, "sequences": False},
    "lengths": {"lengths": torch.tensor([1, 4])},
    "dropout for all": {"dropout": "shared", "recurrent_dropout": "shared"},
    "dropout by gate": {"dropout": "gates", "recurrent_dropout": "gates"},
    "dropout by gate, channels first": {"dropout": "gates", "recurrent_dropout": "gates", "channels_last": False},
    "dropout by gate, mask, no bias": {"dropout": "gates", "mask": MASK, "bias": False},
    "two axes": unlike_sides(),
    "two axes, channels first": unlike_sides(channels_last=False, window=(2, 2)),
    "two axes, strides unlike": unlike_sides(sizes=(3, 3), strides=(2, 1), padding="same", dropout="gates"),
    "two axes, dilation unlike": unlike_sides(sizes=(2, 4), dilation=(1, 3), mask=MASK),
    "three axes": {"sizes": (1, 2, 2), "window": (1, 2, 1), "channels": 1, "filters": 1, "time": 3},
    "three axes, channels first": {
        "sizes": (2, 1, 2),
        "window": (2, 1, 2),
        "channels": 1,
        "filters": 1,
        "time": 2,
        "padding": "same",
        "channels_last": False,
        "recurrent_dropout": "gates",
    },
    "one of everything": {"sizes": (1,), "window": (1,), "batch": 1, "time": 1, "channels": 1, "filters": 1},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_values_and_gradients_are_the_oracles(options):
    asked = problem(requires_grad=True, **options)
    values, gradients = value_and_gradients(asked, scan)
    close(values, expected(asked))
    close(gradients, expected_gradients(asked), atol=1e-11)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("options", [{}, {"sizes": (3, 2), "window": (2, 2), "padding": "same"}], ids=["1D", "2D"])
def test_every_mask_is_the_loop_over_samples(options, reverse):
    """Through `execute`, which compacts masks, and through the loop, which does not."""
    masks = all_masks(4)
    asked = problem(batch=masks.shape[1], mask=masks, reverse=reverse, requires_grad=True, **options)
    values, gradients = value_and_gradients(asked, lambda each: execute([each])[0])
    close(values, expected(asked))
    by_loop, loops = value_and_gradients(asked, scan)
    close(by_loop, values)
    close(gradients, loops)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e38])
def test_what_stands_in_masked_steps_changes_no_bit(bad):
    masks = all_masks(3)
    clean = problem(time=3, batch=8, mask=masks, requires_grad=True, padding="same")
    dirty = dataclasses.replace(clean, inputs=clean.inputs.detach().clone())
    dirty.inputs[~masks] = bad
    dirty.inputs.requires_grad_()
    right, wrong = (value_and_gradients(each, lambda p: execute([p])[0]) for each in (clean, dirty))
    equal(wrong[0], right[0])
    equal(wrong[1], right[1])
    assert wrong[1][0][~masks].eq(0).all()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"channels_last": False, "mask": MASK[:2], "reverse": True},
        {"padding": "same", "strides": (2,), "bias": False, "dropout": "gates", "recurrent_dropout": "gates"},
        unlike_sides(filters=1),
        {"sizes": (1, 2, 2), "window": (1, 1, 2), "channels": 1, "filters": 1},
    ],
    ids=["1D", "1D mask", "1D dropout", "2D", "3D"],
)
def test_first_and_second_derivatives_are_right(options):
    asked = problem(time=2, requires_grad=True, **options)

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        rest = iter(tensors)
        return tuple(results(scan(with_leaves(asked, [next(rest) if wanted else t for t, wanted in places]))))

    places = [(t, t is not None and t.requires_grad) for t in leaves(asked)]
    assert len(wanting(asked)) == 5 + (options.get("bias") is not False)
    assert torch.autograd.gradcheck(run, wanting(asked), fast_mode=False, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(run, wanting(asked), fast_mode=True)


# -- what a window of one place, and space of one place, reduce it to -------------------------------------------------


def test_in_space_of_one_place_it_is_an_lstm():
    asked = problem(sizes=(1, 1), window=(1, 1), channels=3, dropout="gates", recurrent_dropout="gates")
    flat = [None if t is None else t.reshape(*[n for n in t.shape if n != 1]) for t in leaves(asked)]
    inputs, h, c, *tensors = flat
    plain = Problem(LSTM(*tensors), inputs, (h, c))
    found = [y.reshape(wanted.shape) for y, wanted in zip(results(scan(asked)), results(scan(plain)), strict=True)]
    close(found, results(scan(plain)), atol=1e-14)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_channels_first_is_channels_last_turned(rank):
    options = {"sizes": (4, 3, 2)[:rank], "window": (2, 2, 1)[:rank], "dropout": "gates", "recurrent_dropout": "gates"}
    last = problem(channels_last=True, **options)
    first = problem(channels_last=False, **options)
    for a, b in zip(results(scan(first)), results(scan(last)), strict=True):
        torch.testing.assert_close(a.movedim(-1 - rank, -1), b, rtol=0, atol=1e-13)


# -- what every recurrence promises -----------------------------------------------------------------------------------

KINDS = {
    "1D": {},
    "2D, channels first": {"sizes": (4, 3), "window": (2, 3), "padding": "same", "channels_last": False},
    "2D, strides and dropout": {
        "sizes": (4, 3),
        "window": (2, 2),
        "strides": (2, 1),
        "dropout": "gates",
        "recurrent_dropout": "gates",
    },
    "3D": {"sizes": (2, 3, 2), "window": (2, 1, 2), "padding": "same"},
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def test_splitting_a_sequence_changes_nothing(kind):
    asked = problem(time=7, **kind)
    first = scan(dataclasses.replace(asked, inputs=asked.inputs[:3]))
    second = scan(dataclasses.replace(asked, inputs=asked.inputs[3:], state=first.state))
    whole = scan(asked)
    close([torch.cat([first.outputs, second.outputs]), *second.state], [whole.outputs, *whole.state], atol=1e-13)


def test_reverse_is_flipping_the_input(kind):
    asked = problem(reverse=True, **kind)
    flipped = dataclasses.replace(asked, inputs=asked.inputs.flip(0), reverse=False)
    close(results(scan(asked)), results(scan(flipped)), atol=1e-13)


def test_rows_do_not_see_each_other():
    asked = problem(batch=4, sizes=(4, 3), window=(2, 2))
    order = torch.tensor([2, 0, 3, 1])
    permuted = dataclasses.replace(asked, inputs=asked.inputs[:, order], state=tuple(h[order] for h in asked.state))
    whole = scan(asked)
    wanted = [whole.outputs[:, order], whole.last[order], *(h[order] for h in whole.state)]
    close(results(scan(permuted)), wanted, atol=1e-13)


@pytest.mark.parametrize("layout", ["batch major", "every second", "expanded"])
def test_how_inputs_lie_in_memory_changes_nothing(kind, layout):
    asked = problem(batch=3, **kind)
    x = asked.inputs[:1].expand(asked.inputs.shape) if layout == "expanded" else asked.inputs
    if layout == "batch major":
        x = x.transpose(0, 1).contiguous().transpose(0, 1)
    elif layout == "every second":
        x = torch.stack([x, torch.full_like(x, float("nan"))], -1)[..., 0]
    assert not x.is_contiguous()
    laid_out, compact = (dataclasses.replace(asked, inputs=each) for each in (x, x.contiguous()))
    close(results(scan(laid_out)), results(scan(compact)), atol=1e-13)


@pytest.mark.parametrize("mask", [None, MASK], ids=["no mask", "mask"])
def test_nothing_it_is_given_is_written_to(kind, mask):
    asked = problem(mask=mask, **kind)
    asked.state = (asked.state[0],) * 2  # one tensor in two places
    tensors = [t for t in (*leaves(asked), mask) if t is not None]
    before = [(t._version, t.clone()) for t in tensors]
    scan(asked)
    assert [t._version for t in tensors] == [version for version, _ in before]
    equal(tensors, [values for _, values in before])


@pytest.mark.parametrize("reverse", [False, True])
def test_no_steps_give_the_initial_state_and_zeros(kind, reverse):
    asked = problem(time=0, reverse=reverse, **kind)
    found = scan(asked)
    assert found.outputs.shape == (0, *asked.state[0].shape)
    equal([found.last], [torch.zeros_like(asked.state[0])])
    equal(list(found.state), list(asked.state))


def test_no_samples_give_empty_results_and_zero_gradients(kind):
    asked = problem(batch=0, requires_grad=True, **kind)
    values, gradients = value_and_gradients(asked, scan)
    assert values[0].shape == (4, *asked.state[0].shape)
    assert all(grad.eq(0).all() for grad in gradients)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_lower_precision_is_kept_and_near(kind, dtype):
    asked = problem(dtype=dtype, **kind)
    found = results(scan(asked))
    assert {y.dtype for y in found} == {dtype}
    close(found, expected(asked), atol={torch.float32: 1e-5, torch.bfloat16: 0.2, torch.float16: 0.02}[dtype])


def test_under_autocast_the_state_keeps_its_precision(kind):
    asked = problem(dtype=torch.float32, **kind)
    with torch.autocast("cpu", torch.bfloat16):
        found = results(scan(asked))
    assert {y.dtype for y in found} == {torch.float32}
    close(found, expected(asked), atol=0.2)
    assert max((a - b).abs().max() for a, b in zip(found, results(scan(asked)), strict=True)) > 1e-5


# -- fields -----------------------------------------------------------------------------------------------------------


def test_replace_takes_other_tensors_and_keeps_the_options():
    recurrence = problem(dropout="gates").recurrence
    names = ("kernel", "recurrent_kernel", "bias", "dropout", "recurrent_dropout")
    assert all(t is getattr(recurrence, name) for t, name in zip(recurrence.tensors(), names, strict=True))
    others = [None if t is None else torch.zeros_like(t) for t in recurrence.tensors()]
    replaced = recurrence.replace(others)
    assert type(replaced) is ConvLSTM and replaced.options() == recurrence.options()
    assert all(a is b for a, b in zip(replaced.tensors(), others, strict=True))


def test_options_tell_what_an_engine_may_decide_on():
    plain, same = problem().recurrence, problem(seed=5, batch=9, channels=7, filters=3, sizes=(11,)).recurrence
    assert plain.options() == same.options() and hash(plain.options()) == hash(same.options())
    different = [
        {"bias": False},
        {"activation": "relu"},
        {"recurrent_activation": "hard_sigmoid"},
        {"dropout": "shared"},
        {"dropout": "gates"},
        {"recurrent_dropout": "gates"},
        {"padding": "same"},
        {"strides": (2,)},
        {"dilation": (2,)},
        {"window": (3,)},
        {"channels_last": False},
    ]
    found = [problem(**each).recurrence.options() for each in different]
    assert all(a != b for a, b in itertools.combinations([plain.options(), *found], 2))


def test_facts_are_the_options_by_name():
    recurrence = problem(dropout="gates", activation="relu", strides=(2,)).recurrence
    assert ConvLSTM.facts(recurrence.options()) == {
        "convolution": Convolution((2,), (2,), (1,), "valid", True),
        "recurrent_convolution": Convolution((2,), (1,), (1,), "same", True),
        "activation": "relu",
        "recurrent_activation": "sigmoid",
        "bias": 1,
        "dropout": 4,
        "recurrent_dropout": None,
    }


def test_the_input_is_convolved_once_and_the_state_once_a_step(monkeypatch):
    calls = []
    whole = Convolution.__call__

    def counted(self, inputs, *rest):
        calls.append(tuple(inputs.shape))
        return whole(self, inputs, *rest)

    monkeypatch.setattr(Convolution, "__call__", counted)
    scan(problem(sizes=(4, 3), window=(2, 2), time=5, dropout="gates", recurrent_dropout="gates"))
    assert calls == [(10, 4, 3, 8)] + [(2, 3, 2, 8)] * 5
