"""The ledger: what each engine accepts, what it refuses and with which reasons, and what that makes of a layer."""

import pytest
import torch

import ledger
from ostinato import layers
from ostinato.engines import select
from ostinato.engines.execute import execute
from ostinato.engines.flat import results
from ostinato.engines.select import ENGINES, observe, reasons_against
from ostinato.recurrence import scan
from problems import close, specified

REFERENCE = ENGINES[-1]
FAST = {engine.name: engine for engine in ENGINES[:-1]}


def rows(table, only=lambda row: True):
    named = [(name, what, row) for name in table for what, row in table[name].items()]
    return [pytest.param(FAST[name], row, id=f"{name}: {what}") for name, what, row in named if only(row)]


def test_each_engine_has_rows_of_both_kinds():
    assert set(ledger.ACCEPTED) == set(ledger.REFUSED) == set(FAST)
    assert all(len(table[name]) >= 10 for table in (ledger.ACCEPTED, ledger.REFUSED) for name in FAST)


def test_no_spec_is_on_both_sides():
    for name in FAST:
        accepted, refused = ({row.spec for row in table[name].values()} for table in (ledger.ACCEPTED, ledger.REFUSED))
        assert not accepted & refused


@pytest.mark.parametrize(("engine", "row"), rows(ledger.ACCEPTED))
def test_accepted(engine, row):
    assert reasons_against(engine, row.spec) == []
    with select.use_engine(engine.name):
        assert select.select(row.spec) is engine


@pytest.mark.parametrize(("engine", "row"), rows(ledger.REFUSED))
def test_refused_and_why(engine, row):
    assert tuple(reasons_against(engine, row.spec)) == row.reasons
    with select.use_engine(engine.name), pytest.raises(ValueError, match=r"engine .* refuses") as raised:
        select.select(row.spec)
    assert "; ".join(row.reasons) in str(raised.value)


@pytest.mark.parametrize(("engine", "row"), rows(ledger.ACCEPTED, lambda row: not row.facts))
def test_what_is_accepted_on_a_cpu_runs_and_is_the_loops(engine, row):
    with select.use_engine(engine.name), observe() as choices:
        found = execute([row.problem])[0]
    assert [choice.engine for choice in choices] == [engine.name]
    atol = 2e-2 if row.problem.inputs.dtype is torch.bfloat16 else 1e-6
    close(results(specified(row.problem, found)), results(specified(row.problem, scan(row.problem))), atol)


@pytest.mark.parametrize("table", [ledger.ACCEPTED, ledger.REFUSED], ids=["accepted", "refused"])
def test_the_reference_takes_everything_but_a_promise_of_cudnn(table):
    for of_engine in table.values():
        for row in of_engine.values():
            reasons = ["is not cuDNN, which use_cudnn=True asks for"] if row.spec.cudnn is True else []
            assert reasons_against(REFERENCE, row.spec) == reasons


# -- the guide's rules, as a user meets them --------------------------------------------------------------------------

MASK = torch.tensor([[True, True, True, False, False], [True] * 5])
GAPS = torch.tensor([[False, True, False, True, True], [False, False, True, True, True]])
TRAINING = {"training": True}

OPTIONS = {
    "plain": ({}, {}, ()),
    "unroll": ({"unroll": True}, {}, ()),
    "no bias": ({"use_bias": False}, {}, ()),
    "right padding": ({}, {"mask": MASK}, ()),
    "gaps and left padding": ({}, {"mask": GAPS}, ()),
    "backwards under a mask": ({"go_backwards": True}, {"mask": GAPS}, ()),
    "stateful": ({"stateful": True}, {}, ()),
    "time_major": ({"time_major": True}, {}, ()),
    "implementation 1": ({"implementation": 1}, {}, ()),
    "use_cudnn=False": ({"use_cudnn": False}, {}, ()),
    "recurrent_dropout, in inference": ({"recurrent_dropout": 0.5}, {"training": False}, ()),
    "dropout": ({"dropout": 0.5}, TRAINING, ()),
    "recurrent_dropout": ({"recurrent_dropout": 0.5}, TRAINING, ("takes no recurrent_dropout",)),
    "activation": ({"activation": "relu"}, {}, ("takes activation tanh, not relu",)),
    "recurrent_activation": (
        {"recurrent_activation": "hard_sigmoid"},
        {},
        ("takes recurrent_activation sigmoid, not hard_sigmoid",),
    ),
}


def runs(layer, **kwargs):
    """(engine, reasons of aten) of each recurrence that a call runs."""
    with observe() as choices:
        layer(torch.randn(2, 5, 3), **kwargs)
    return [(choice.engine, dict(choice.refused).get("aten", ())) for choice in choices]


@pytest.mark.parametrize(("options", "kwargs", "reasons"), OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU])
def test_which_options_of_a_layer_leave_it_to_the_loop(kind, options, kwargs, reasons):
    assert runs(kind(4, **options), **kwargs) == [("reference" if reasons else "aten", reasons)]


def test_options_of_the_other_layers():
    assert runs(layers.SimpleRNN(4, activation="relu")) == [("aten", ())]
    assert runs(layers.GRU(4, reset_after=False)) == [("reference", ("takes reset_after=True only",))]
    assert runs(layers.Bidirectional(layers.LSTM(4)), mask=GAPS) == [("aten", ())] * 2
    assert runs(layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)]), mask=GAPS) == [("aten", ())] * 2


@pytest.mark.parametrize("wrap", [lambda layer: layer, layers.Bidirectional], ids=["alone", "bidirectional"])
def test_a_promise_of_cudnn_that_cannot_be_kept_is_an_error_with_all_reasons(wrap):
    layer = wrap(layers.LSTM(4, use_cudnn=True, activation="relu"))
    with pytest.raises(
        ValueError, match=r"aten: takes activation tanh, not relu, is not cuDNN.*reference: is not cuDNN"
    ):
        layer(torch.zeros(2, 5, 3, device="cpu"))
