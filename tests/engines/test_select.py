"""Which engine runs: the first willing one; what a Spec tells it; what is said of those that refuse."""

import dataclasses
import re

import pytest
import torch
from torch.autograd import forward_ad

from opaque import LoopEngine, OpaqueEngine
from ostinato.engines import select
from ostinato.engines.execute import execute
from ostinato.engines.flat import results
from ostinato.engines.reference import REFERENCE
from ostinato.engines.select import observe, reasons_against, refusals
from ostinato.engines.spec import Spec, spec_of, transformed
from ostinato.recurrence import GRU, LSTM, Problem, SimpleRNN, Stack
from problems import CELLS, close, equal, expected, problem


def run(problem, engine="auto"):
    with select.use_engine(engine):
        return execute([problem])[0]


@pytest.fixture
def engines(monkeypatch):
    """An engine for GRUs, one for LSTMs, the reference."""
    found = (OpaqueEngine("for grus", ["gru"]), OpaqueEngine("for lstms", ["lstm"]), REFERENCE)
    monkeypatch.setattr(select, "ENGINES", found)
    return found


# -- the Spec ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_a_spec_knows_no_value_no_batch_and_no_time(cell):
    spec = spec_of(problem(cell))
    same = spec_of(problem(cell, batch=7, time=11, seed=3))
    assert spec == same
    assert hash(spec) == hash(same)
    assert not any(isinstance(field, torch.Tensor) for field in spec)


def test_a_spec_tells_everything_else_apart():
    plain = problem("lstm")
    lengths = torch.tensor([1, 2, 3])
    specs = [
        spec_of(each)
        for each in (
            plain,
            problem("gru"),
            problem("gru_v1"),
            problem("lstm", features=3),
            problem("lstm", units=4),
            problem("lstm", dtype=torch.float32),
            problem("lstm", bias=False),
            problem("lstm", activation="relu"),
            problem("lstm", dropout="shared"),
            problem("lstm", dropout="gates"),
            problem("lstm", requires_grad=True),
            dataclasses.replace(plain, reverse=True),
            dataclasses.replace(plain, sequences=False),
            dataclasses.replace(plain, lengths=lengths),
        )
    ]
    assert len(set(specs)) == len(specs)


def test_a_spec_in_facts_and_in_words():
    spec = spec_of(problem("gru", dtype=torch.float32, lengths=torch.tensor([1, 2, 3]), reverse=True))
    assert spec.recurrence == "gru"
    assert spec.kind is GRU
    assert spec.facts["reset_after"] is True
    assert spec.facts["activation"] == "tanh"
    assert spec.widths == ((2,), (3,))
    assert str(spec) == "gru float32 on cpu, lengths, reverse, inference"
    assert str(spec_of(problem("lstm", requires_grad=True))) == "lstm float64 on cpu, with gradients"


@pytest.mark.parametrize("which", ["inputs", "state", "weights"])
def test_gradients_are_wanted_if_any_tensor_wants_one(which):
    asked = problem("lstm")
    tensor = {"inputs": asked.inputs, "state": asked.state[1], "weights": asked.recurrence.bias}[which]
    assert not spec_of(asked).gradients
    tensor.requires_grad_()
    assert spec_of(asked).gradients
    with torch.no_grad():
        assert not spec_of(asked).gradients


def test_transforms_and_forward_mode_are_seen():
    seen = []

    def note(x):
        seen.append(transformed())
        return x.sum()

    note(torch.ones(2))
    torch.func.grad(note)(torch.ones(2))
    torch.func.vmap(note)(torch.ones(2, 2))
    torch.func.jvp(note, (torch.ones(2),), (torch.ones(2),))
    with forward_ad.dual_level():
        note(torch.ones(2))
    note(torch.ones(2))
    assert seen == [False, True, True, True, True, False]


# -- the choice -------------------------------------------------------------------------------------------------------


def test_the_first_willing_engine_runs(engines):
    gru, lstm, _ = engines
    for cell in ("gru", "lstm", "simple_rnn", "gru_v1"):
        close(results(run(problem(cell))), expected(problem(cell)))
    assert [each.recurrence.name for each in gru.ran] == ["gru", "gru"]
    assert [each.recurrence.name for each in lstm.ran] == ["lstm"]


def test_refusals_are_of_those_before_the_chosen_one(engines):
    assert refusals(spec_of(problem("gru"))) == ()
    assert refusals(spec_of(problem("lstm"))) == (("for grus", ("takes gru",)),)
    assert refusals(spec_of(problem("simple_rnn"))) == (("for grus", ("takes gru",)), ("for lstms", ("takes lstm",)))


def test_every_reason_is_told(engines):
    own = problem("simple_rnn")
    own.recurrence = dataclasses.replace(own.recurrence, activation=torch.sin)
    assert refusals(spec_of(own))[0] == ("for grus", ("takes gru", "takes activations that it knows"))
    assert run(own).last.abs().max() > 0.1


@pytest.mark.parametrize(("name", "engine"), [("for lstms", 1), ("reference", 2), ("auto", 1)])
def test_an_engine_is_chosen_by_name(engines, name, engine):
    with select.use_engine(name):
        assert select.select(spec_of(problem("lstm"))) is engines[engine]
    assert select.select(spec_of(problem("lstm"))) is engines[1]


def test_an_unknown_name_is_an_error_that_tells_the_known_ones(engines):
    message = "engine 'fast' is not known; the engines are 'for grus', 'for lstms', 'reference', and 'auto'."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        run(problem("lstm"), engine="fast")


def test_a_named_engine_that_refuses_is_an_error_that_tells_why(engines):
    message = (
        "engine 'for grus' refuses lstm float64 on cpu, inference: takes gru. engine 'auto' would run 'for lstms'."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        run(problem("lstm"), engine="for grus")
    assert not engines[1].ran


def test_if_nobody_is_willing_the_error_tells_every_reason(monkeypatch):
    monkeypatch.setattr(select, "ENGINES", (OpaqueEngine("a", ["gru"]), OpaqueEngine("b", ["simple_rnn"])))
    with pytest.raises(ValueError, match=r"no engine is willing to run lstm .*: a: takes gru; b: takes simple_rnn\.$"):
        run(problem("lstm"))


def test_the_reference_takes_everything():
    assert select.ENGINES[-1] is REFERENCE
    for cell in CELLS:
        assert REFERENCE.refuses(spec_of(problem(cell, dropout="shared"))) == []


def test_the_house_refuses_transforms_for_an_engine_that_does_not():
    # LoopEngine refuses nothing, and under jvp would give a zero tangent.
    spec = spec_of(problem("lstm"))._replace(transformed=True)
    assert LoopEngine().refuses(spec) == []
    assert reasons_against(LoopEngine(), spec) == ["is opaque to torch.func transforms and forward-mode AD"]
    assert reasons_against(LoopEngine(), spec._replace(transformed=False)) == []
    assert reasons_against(REFERENCE, spec) == []


def test_a_named_engine_refuses_a_transform(monkeypatch):
    monkeypatch.setattr(select, "ENGINES", (OpaqueEngine(), REFERENCE))
    asked = problem("lstm")

    def of(x):
        return run(dataclasses.replace(asked, inputs=x), engine="opaque").last

    with pytest.raises(ValueError, match=r"^engine 'opaque' refuses .* transform or .*'auto' would run 'reference'\.$"):
        torch.func.jvp(of, (asked.inputs,), (asked.inputs,))


# -- watching ---------------------------------------------------------------------------------------------------------


def test_choices_are_observed_in_order(engines):
    low, top = problem("lstm", features=2, units=3), problem("gru", features=3, units=2)
    stacked = Problem(Stack([low.recurrence, top.recurrence]), low.inputs, (low.state, top.state), owner="tower")
    with observe() as choices:
        run(stacked)
        with observe() as inner:
            run(problem("simple_rnn", owner="small"))
    run(problem("simple_rnn"))
    assert [(choice.owner, choice.engine) for choice in choices] == [
        ("tower", "for lstms"),
        ("tower", "for grus"),
        ("small", "reference"),
    ]
    assert inner == choices[2:]
    assert all(isinstance(choice.spec, Spec) for choice in choices)
    assert str(choices[0]) == (
        "tower: lstm float64 on cpu, inference: engine 'for lstms'\n  'for grus' refuses: takes gru"
    )
    assert str(choices[1]) == (
        "tower: gru float64 on cpu, inference: engine 'for grus'\n"
        "  'for grus' is the first in order: no faster engine is registered"
    )
    assert str(choices[2]).splitlines()[1:] == ["  'for grus' refuses: takes gru", "  'for lstms' refuses: takes lstm"]


def test_a_choice_by_name_is_told_as_such(engines):
    with observe() as choices:
        run(problem("lstm"), engine="reference")
    assert str(choices[0]) == (
        "lstm: lstm float64 on cpu, inference: engine 'reference'\n"
        "  'for grus' refuses: takes gru\n"
        "  'for lstms' is willing; 'reference' was asked for by name"
    )


def test_observing_ends_with_the_block_and_with_an_error():
    with pytest.raises(ValueError, match="not known"), observe() as choices:
        run(problem("lstm"), engine="fast")
    run(problem("lstm"))
    assert choices == []
    assert select._observers == []


# -- what an engine is given ------------------------------------------------------------------------------------------

GAPS = torch.tensor([[False, True, False], [True, True, False], [False, True, False], [True, False, False], [True] * 3])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_a_mask_reaches_an_engine_as_lengths(monkeypatch, cell, reverse):
    engine = OpaqueEngine()
    monkeypatch.setattr(select, "ENGINES", (engine, REFERENCE))
    asked = problem(cell, mask=GAPS, reverse=reverse)
    asked.inputs.masked_fill_(~GAPS[..., None], float("nan"))
    run(asked)
    (given,) = engine.ran
    assert given.mask is None
    assert given.reverse is reverse
    assert given.lengths.tolist() == [3, 4, 1]
    assert given.lengths.dtype is torch.int64
    used = [[1, 3, 4], [0, 1, 2, 4], [4]]
    for row, steps in enumerate(used):
        wanted = torch.zeros(5, 2, dtype=torch.float64)
        wanted[: len(steps)] = asked.inputs[steps, row]
        equal([given.inputs[:, row]], [wanted])
    assert engine.specs[-1].lengths is True
    assert engine.specs[-1].reverse is reverse


def test_without_a_mask_the_problem_is_given_as_it_is(monkeypatch):
    engine = OpaqueEngine()
    monkeypatch.setattr(select, "ENGINES", (engine, REFERENCE))
    asked = problem("lstm", reverse=True, owner="encoder")
    run(asked)
    assert engine.ran[0] is asked


@pytest.mark.parametrize("mask", [None, GAPS], ids=["no mask", "mask"])
@pytest.mark.parametrize("reverse", [False, True])
def test_stacked_cells_are_each_a_whole_sequence(engines, mask, reverse):
    low, top = problem("lstm", features=2, units=3), problem("gru", features=3, units=2)
    stacked = Problem(Stack([low.recurrence, top.recurrence]), low.inputs, (low.state, top.state))
    stacked = dataclasses.replace(stacked, mask=mask, reverse=reverse, sequences=False)
    found = run(stacked)
    (lower,), (upper,) = engines[1].ran, engines[0].ran
    assert lower.sequences is True
    assert upper.sequences is False
    assert upper.reverse is False
    assert lower.reverse is reverse
    assert (lower.lengths is None) is (mask is None)
    below = run(dataclasses.replace(low, mask=mask, reverse=reverse))
    mask = mask.flip(0) if mask is not None and reverse else mask
    above = run(dataclasses.replace(top, inputs=below.outputs, mask=mask, sequences=False))
    close(results(found), [above.last, *below.state, *above.state], atol=1e-14)


def test_several_problems_are_answered_in_order(engines):
    asked = [problem("gru"), problem("lstm"), problem("simple_rnn")]
    for found, each in zip(execute(asked), asked, strict=True):
        close(results(found), expected(each))


def test_the_classes_of_the_three_recurrences_have_names():
    assert [cls.name for cls in (SimpleRNN, GRU, LSTM)] == ["simple_rnn", "gru", "lstm"]
