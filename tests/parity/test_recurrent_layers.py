"""Recurrent layers of any kind, with any options, masks and states: outputs, states and every gradient.

Against the per-sample loop in float64 everywhere, and against real Keras 3 wherever it is right (`keras_is_wrong.py`
has the table of where it is not). `OSTINATO_PARITY_SEEDS=1,2,3` draws other cases, as many for each seed.
"""

import dataclasses
import os

import hypothesis
import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings

import oracle
import ostinato
from parity.case_data import data_of
from parity.comparing import DOUBLE, SINGLE, differences
from parity.keras_is_wrong import AFTER_RESET, EVERYTHING, GRADIENTS, ROWS, agreement, rows_of
from parity.layers_of import make_layer, results, weights_of
from parity.loop_of import loop_results
from parity.recurrent_cases import Case, Cell, Half, cases

SEEDS = [int(each) for each in os.environ.get("OSTINATO_PARITY_SEEDS", "0").split(",")]
EXAMPLES = {"vectors": 400, "images": 100}


def check(case):
    """Ours against the loop, in both precisions; against Keras where it is right; garbage against none."""
    right = loop_results(case)
    for engine in ("auto", "reference"):
        with ostinato.use_engine(engine):
            assert differences(results(ostinato, case, "float64"), right, DOUBLE, recorded=True) == [], engine
    mine = results(ostinato, case, "float32")
    assert differences(mine, right, SINGLE, recorded=True) == []
    assert {out.dtype for result in mine for out in result.outputs} == {np.dtype("float32")}
    if case.garbage is not None:
        clean = results(ostinato, dataclasses.replace(case, garbage=None), "float32")
        assert differences(mine, clean, (0.0, 0.0)) == []
    calls, gradients = agreement(case)
    if calls:
        check_initial_biases(case)
        theirs = results(keras, case, calls=calls, gradients=gradients)
        assert differences(mine[:calls], theirs, SINGLE) == []
    return calls == case.calls and gradients


def check_initial_biases(case):
    """zeros, and ones for forget gates, as Keras has them; the other weights are random."""
    layers = [make_layer(library, case, "float32") for library in (ostinato, keras)]
    for mine, right in zip(*map(weights_of, layers), strict=True):
        assert mine.shape == right.shape and mine.dtype == right.dtype
    cells = [cell for half in case.halves for cell in half.cells]
    place = 0
    for cell in cells:
        place += cell.weights
        if cell.weights == 3:
            mine, right = (weights_of(layer)[place - 1] for layer in layers)
            assert torch.equal(mine, right)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("inputs", EXAMPLES)
def test_any_layer_is_the_loop_and_keras(inputs, seed):
    compared = []

    @hypothesis.seed(seed)
    @settings(max_examples=EXAMPLES[inputs], deadline=None, database=None, report_multiple_bugs=False)
    @given(cases(conv=inputs == "images"))
    def run(case):
        compared.append(check(case))

    run()
    # The table of exceptions must not eat up what it is an exception from.
    assert sum(compared) > 0.3 * len(compared)


# -- where Keras is wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ROWS)
def test_keras_is_wrong_here(name):
    """And only here; ours is the loop. A row that fails has been mended in Keras: take it out of the table."""
    row = ROWS[name]
    case = row.example
    assert rows_of(case) == [row]
    right = loop_results(case)
    assert differences(results(ostinato, case, "float64"), right, DOUBLE, recorded=True) == []
    if row.error is None:
        assert differences(results(keras, case), right, SINGLE) != []
    else:
        kind, words = row.error
        with pytest.raises(kind, match=words):
            results(keras, case)
    if row.what == GRADIENTS:
        assert differences(results(keras, case, gradients=False), right, SINGLE) == []
    if row.what == AFTER_RESET:
        assert differences(results(keras, case, calls=2), right[:2], SINGLE) == []
    assert row.what in (EVERYTHING, GRADIENTS, AFTER_RESET)


# -- the loop itself --------------------------------------------------------------------------------------------------

KINDS = {
    "simple_rnn": {},
    "gru": {},
    "gru, reset before": {"reset_after": False},
    "lstm": {},
    "lstm, other activations": {"activation": "softsign", "recurrent_activation": "hard_sigmoid"},
}


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_the_loop_is_the_other_oracle(name, go_backwards, monkeypatch):
    """tests/oracle.py, where backpropagation is by hand and a masked step is looked at, says the same."""
    kind = name.split(",")[0]
    options = dict(KINDS[name])
    if "softsign" in options.values():
        monkeypatch.setitem(
            oracle.ACTIVATIONS, "softsign", (lambda z: z / (1 + abs(z)), lambda z: 1 / (1 + abs(z)) ** 2)
        )
    mask = ((False, True, False, True, True), (True, True, False, False, False), (False,) * 5)
    half = Half((Cell(kind, units=3, **options),), go_backwards=go_backwards)
    case = Case(half, return_sequences=True, return_state=True, batch=3, time=5, mask=mask, states="list", seed=4)
    (found,) = loop_results(case)
    data = data_of(case)
    (call,) = data.calls
    cell = oracle.Cell(kind, *data.weights, **options)
    ran = oracle.run(cell, call.source, call.states, call.mask, go_backwards)
    for mine, right in zip(found.outputs, [ran.outputs, *ran.states], strict=True):
        np.testing.assert_allclose(mine, right, rtol=0, atol=1e-13)
    rng = np.random.default_rng(5)
    cotangents = [rng.standard_normal(out.shape) for out in found.outputs]
    zeros = np.zeros_like(ran.last)
    wanted = oracle.gradients(cell, ran, call.source, call.states, cotangents[0], zeros, cotangents[1:], go_backwards)
    right = [wanted.kernel, wanted.recurrent_kernel, wanted.bias, wanted.inputs, *wanted.states]
    for (what, mine), other in zip(found.gradients.items(), right, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-12, err_msg=what)
