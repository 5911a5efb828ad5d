"""The oracle itself: against Keras's published numbers, and its backpropagation against the complex step."""

import dataclasses

import numpy as np
import pytest

import oracle

STEP = 1e-30  # a complex step has no rounding error, however small


def constant(kind, units=3, features=4, bias_shape=None, forget=0.03):
    gates = oracle.GATES[kind]
    bias = np.full(bias_shape or (gates * units,), 0.03)
    bias[..., units : 2 * units] = forget  # unit_forget_bias
    return oracle.Cell(
        kind,
        np.full((features, gates * units), 0.01),
        np.full((units, gates * units), 0.02),
        bias,
    )


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (constant("lstm", forget=1.0), [0.6288687, 0.86899155, 0.9460773]),
        (constant("gru", bias_shape=(2, 9)), [0.5217289, 0.6371659, 0.39384964]),
    ],
    ids=["lstm", "gru"],
)
def test_numbers_that_keras_publishes(cell, expected):
    inputs = np.arange(72.0).reshape(3, 6, 4)
    found = oracle.run(cell, inputs, [np.zeros((3, 3)) for _ in range(cell.states)])
    np.testing.assert_allclose(found.last, np.repeat(np.array(expected)[:, None], 3, axis=1), rtol=2e-7)


def random_cell(draw, kind, reset_after, bias, dropout, activations, batch=2, features=2, units=2):
    gates = oracle.GATES[kind]
    return oracle.Cell(
        kind,
        draw.normal(size=(features, gates * units)),
        draw.normal(size=(units, gates * units)),
        draw.normal(size=(2, gates * units) if kind == "gru" and reset_after else (gates * units,)) if bias else None,
        draw.normal(size=(gates, batch, features)) if dropout else None,
        draw.normal(size=(gates, batch, units)) if dropout else None,
        *activations,
        reset_after=reset_after,
    )


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize(
    ("bias", "dropout", "activations"),
    [
        (True, False, ("tanh", "sigmoid")),
        (False, True, ("tanh", "sigmoid")),
        (True, True, ("relu", "hard_sigmoid")),
        (True, False, ("linear", "tanh")),
    ],
)
@pytest.mark.parametrize(("kind", "reset_after"), [("simple_rnn", True), ("gru", True), ("gru", False), ("lstm", True)])
def test_its_backpropagation_is_the_derivative_of_its_forward(
    kind, reset_after, bias, dropout, activations, go_backwards
):
    draw = np.random.default_rng(3)
    cell = random_cell(draw, kind, reset_after, bias, dropout, activations)
    inputs = draw.normal(size=(2, 4, 2))
    states = [draw.normal(size=(2, 2)) for _ in range(cell.states)]
    mask = np.array([[False, True, False, True], [True, True, False, False]])
    result = oracle.run(cell, inputs, states, mask, go_backwards)
    weights = [draw.normal(size=array.shape) for array in (result.outputs, result.last, *result.states)]
    found = oracle.gradients(cell, result, inputs, states, weights[0], weights[1], weights[2:], go_backwards)

    def scalar(cell, inputs, states):
        again = oracle.run(cell, inputs, states, mask, go_backwards)
        arrays = (again.outputs, again.last, *again.states)
        return sum((w * a).sum() for w, a in zip(weights, arrays, strict=True))

    def derivative(array, of):
        gradient = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            moved = array.astype(complex)
            moved[index] += 1j * STEP
            gradient[index] = of(moved).imag / STEP
        return gradient

    def by_weight(name):
        return derivative(getattr(cell, name), lambda a: scalar(dataclasses.replace(cell, **{name: a}), inputs, states))

    def by_state(i):
        return derivative(states[i], lambda a: scalar(cell, inputs, [*states[:i], a, *states[i + 1 :]]))

    close = {"rtol": 0, "atol": 1e-13}
    np.testing.assert_allclose(found.inputs, derivative(inputs, lambda a: scalar(cell, a, states)), **close)
    for i in range(cell.states):
        np.testing.assert_allclose(found.states[i], by_state(i), **close)
    np.testing.assert_allclose(found.kernel, by_weight("kernel"), **close)
    np.testing.assert_allclose(found.recurrent_kernel, by_weight("recurrent_kernel"), **close)
    if bias:
        np.testing.assert_allclose(found.bias, by_weight("bias"), **close)
    else:
        assert found.bias is None
