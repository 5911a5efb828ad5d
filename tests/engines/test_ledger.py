"""The ledger: what each engine accepts, what it refuses and with which reasons, and what that makes of a layer."""

import pytest
import torch

import ledger
from ostinato import Sequential, layers
from ostinato.engines import library, select
from ostinato.engines.execute import execute
from ostinato.engines.flat import results
from ostinato.engines.native import NativeEngine
from ostinato.engines.select import ENGINES, observe, reasons_against
from ostinato.recurrence import scan
from ostinato.training.optimizers import Adam
from problems import close, problem, specified
from ways import needs_native

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


@pytest.fixture
def engine(request):
    """A fast engine; the native one only where there is a library."""
    if request.param.name == "native":
        needs_native()
    return request.param


@pytest.mark.parametrize(("engine", "row"), rows(ledger.ACCEPTED), indirect=["engine"])
def test_accepted(engine, row):
    assert reasons_against(engine, row.spec) == []
    with select.use_engine(engine.name):
        assert select.select(row.spec) is engine


@pytest.mark.parametrize(("engine", "row"), rows(ledger.REFUSED), indirect=["engine"])
def test_refused_and_why(engine, row):
    assert tuple(reasons_against(engine, row.spec)) == row.reasons
    with select.use_engine(engine.name), pytest.raises(ValueError, match=r"engine .* refuses") as raised:
        select.select(row.spec)
    assert "; ".join(row.reasons) in str(raised.value)


@pytest.mark.parametrize(("engine", "row"), rows(ledger.ACCEPTED, lambda row: not row.facts), indirect=["engine"])
def test_what_is_accepted_on_a_cpu_runs_and_is_the_loops(engine, row):
    with select.use_engine(engine.name), observe() as choices:
        found = execute([row.problem])[0]
    assert [choice.engine for choice in choices] == [engine.name]
    wanted = results(specified(row.problem, scan(row.problem)))
    atol = 2e-2 if row.problem.inputs.dtype is torch.bfloat16 else 1e-6
    close(
        results(specified(row.problem, found)), wanted, atol * max(1, *(float(y.detach().abs().max()) for y in wanted))
    )


@pytest.mark.parametrize("table", [ledger.ACCEPTED, ledger.REFUSED], ids=["accepted", "refused"])
def test_the_reference_takes_everything_but_a_promise_of_cudnn(table):
    for of_engine in table.values():
        for row in of_engine.values():
            reasons = ["is not cuDNN, which use_cudnn=True asks for"] if row.spec.cudnn is True else []
            assert reasons_against(REFERENCE, row.spec) == reasons


# -- as a user meets it ------------------------------------------------------------------------------------------------

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
"""Of a layer, of a call, and the reasons of aten: the guide's rules."""


def runs(layer, dtype=torch.float32, **kwargs):
    """(engine, reasons of those before it) of each recurrence that a call runs."""
    with observe() as choices:
        layer(torch.randn(2, 5, 3, dtype=dtype), **kwargs)
    return [(choice.engine, dict(choice.refused)) for choice in choices]


OTHERS = {
    "simple_rnn, relu": (lambda **o: layers.SimpleRNN(4, activation="relu", **o), {}, ((),)),
    "gru, reset before": (lambda **o: layers.GRU(4, reset_after=False, **o), {}, (("takes reset_after=True only",),)),
    "both directions": (lambda **o: layers.Bidirectional(layers.LSTM(4, **o), **o), {"mask": GAPS}, ((), ())),
    "stacked cells": (
        lambda **o: layers.RNN([layers.LSTMCell(4, **o), layers.GRUCell(3, **o)], **o),
        {"mask": GAPS},
        ((), ()),
    ),
}
LAYERS = OTHERS | {
    f"{kind.__name__}, {name}": (lambda kind=kind, options=options, **o: kind(4, **options, **o), kwargs, (reasons,))
    for kind in (layers.LSTM, layers.GRU)
    for name, (options, kwargs, reasons) in OPTIONS.items()
}
layers_and_reasons = pytest.mark.parametrize(("make", "kwargs", "reasons"), LAYERS.values(), ids=LAYERS.keys())


@layers_and_reasons
def test_the_native_engine_takes_every_option_of_a_layer(native, make, kwargs, reasons):
    with select.use_engine("auto"):
        runs_both = isinstance(make(), layers.Bidirectional)  # as one
        assert runs(make(), **kwargs) == [("native", {})] * (1 if runs_both else len(reasons))


@layers_and_reasons
def test_which_options_of_a_layer_leave_it_to_the_loop_in_another_dtype(make, kwargs, reasons):
    for (engine, refused), against_aten in zip(
        runs(make(dtype="float64"), torch.float64, **kwargs), reasons, strict=True
    ):
        assert engine == ("reference" if against_aten else "aten")
        assert "takes float32, bfloat16" in refused["native"]
        assert refused.get("aten", ()) == against_aten


@layers_and_reasons
def test_without_a_native_library_it_is_as_if_there_were_two_engines(monkeypatch, make, kwargs, reasons):
    monkeypatch.setattr(library, "absent", lambda: "its library was not built")
    monkeypatch.setattr(select, "ENGINES", (NativeEngine(), *ENGINES[1:]))  # another one: what is said is remembered
    for (engine, refused), against_aten in zip(runs(make(), **kwargs), reasons, strict=True):
        assert engine == ("reference" if against_aten else "aten")
        assert refused["native"] == ("its library was not built",)
        assert refused.get("aten", ()) == against_aten


@layers_and_reasons
def test_asked_for_by_name_aten_keeps_its_rules(make, kwargs, reasons):
    with select.use_engine("reference"):
        assert [dict(refused)["aten"] for _, refused in runs(make(), **kwargs)] == list(reasons)
    with select.use_engine("aten"):
        if any(reasons):
            with pytest.raises(ValueError, match=f"engine 'aten' refuses .*{'; '.join(*reasons)}"):
                runs(make(), **kwargs)
        else:
            assert {engine for engine, _ in runs(make(), **kwargs)} == {"aten"}


def test_an_activation_of_ones_own_is_left_to_the_loop(native):
    assert [engine for engine, _ in runs(layers.GRU(4, activation=torch.sin))] == ["reference"]


def test_asked_for_by_name_the_native_engine_says_who_would_run(native):
    with (
        select.use_engine("native"),
        pytest.raises(
            ValueError,
            match=r"engine 'native' refuses lstm float64 .*: takes float32, bfloat16\. engine 'auto' would run 'aten'",
        ),
    ):
        execute([problem("lstm")])


def test_training_runs_on_the_native_engine(native):
    model = Sequential([layers.LSTM(4, dropout=0.1, recurrent_dropout=0.1, return_sequences=True), layers.GRU(3)])
    model.compile(Adam(0.01), "mse")
    with observe() as choices:
        model.fit(torch.randn(8, 5, 3), torch.randn(8, 3), batch_size=4, verbose=0)
        model.predict(torch.randn(2, 5, 3), verbose=0)
    assert {choice.engine for choice in choices} == {"native"}
    assert {choice.spec.recurrence for choice in choices} == {"lstm", "gru"}
    assert {choice.spec.gradients for choice in choices} == {True, False}


@pytest.mark.parametrize("wrap", [lambda layer: layer, layers.Bidirectional], ids=["alone", "bidirectional"])
def test_a_promise_of_cudnn_that_cannot_be_kept_is_an_error_with_all_reasons(wrap):
    layer = wrap(layers.LSTM(4, use_cudnn=True, activation="relu"))
    with pytest.raises(
        ValueError,
        match=r"native: .*is not cuDNN.*aten: takes activation tanh, not relu, is not cuDNN.*reference: is not cuDNN",
    ):
        layer(torch.zeros(2, 5, 3, device="cpu"))
