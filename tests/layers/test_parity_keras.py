"""The recurrent layers against real Keras 3 (torch backend) from equal weights: outputs, states, every gradient.

Where Keras 3 is wrong, the test says why and asserts what is right instead.
"""

import inspect

import keras
import numpy as np
import pytest
import torch

import ostinato
from ostinato import layers
from side_by_side import MASKS, assert_same, give_weights, mask_of, run, tensor

CELLS = {
    "LSTM": ("LSTM", {}, 2),
    "GRU": ("GRU", {}, 1),
    "GRU, reset before": ("GRU", {"reset_after": False}, 1),
    "SimpleRNN": ("SimpleRNN", {}, 1),
}
"""By name: class, options, number of states."""


def twins(cell, units=4, features=3, **options):
    """Our layer and Keras's, built, with the same random weights."""
    name, own, _ = CELLS[cell]
    options = {**own, **options}
    pair = [getattr(module.layers, name)(units, **options) for module in (ostinato, keras)]
    for layer in pair:
        layer.build((3, 5, features))
    give_weights(*pair)
    return pair


def states_of(cell, units=4):
    return [tensor(3, units, seed=20 + i) for i in range(CELLS[cell][2])]


# -- LSTM, GRU, SimpleRNN ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("cell", CELLS)
def test_outputs_states_and_gradients(cell, backwards, mask):
    """Sequences and states at once, from an initial state: all that a layer can return, and all gradients."""
    pair = twins(cell, return_sequences=True, return_state=True, go_backwards=backwards)
    assert_same(*pair, tensor(3, 5, 3), states_of(cell), mask=mask_of(mask))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("cell", CELLS)
def test_last_output_from_zeros(cell, mask):
    """Only the last output, from no initial state: a row without steps gives zeros and gets no gradient."""
    outputs, _ = assert_same(*twins(cell), tensor(3, 5, 3), mask=mask_of(mask))
    assert outputs[0].shape == (3, 4)
    if mask == "a row without steps":
        assert outputs[0][1].eq(0).all() and not outputs[0][0].eq(0).any()


@pytest.mark.parametrize("cell", CELLS)
def test_last_output_and_states(cell):
    outputs, _ = assert_same(*twins(cell, return_state=True, go_backwards=True), tensor(3, 5, 3), states_of(cell))
    torch.testing.assert_close(outputs[0], outputs[1])  # h is the output


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("cell", CELLS)
def test_zero_output_for_mask(cell, mask):
    """Sequences only: Keras 3 zeroes the last output too, where the option is documented for the sequence."""
    pair = twins(cell, return_sequences=True, zero_output_for_mask=True)
    outputs, _ = assert_same(*pair, tensor(3, 5, 3), mask=mask_of(mask))
    if mask != "none":
        assert outputs[0][~mask_of(mask)].eq(0).all()


@pytest.mark.parametrize("cell", CELLS)
def test_zero_output_for_mask_leaves_the_last_output(cell):
    """Keras 3 gives zeros here, although the option speaks of masked time steps of the sequence."""
    mask = mask_of("right padding")
    zeroed, plain = (twins(cell, zero_output_for_mask=each)[0] for each in (True, False))
    torch.testing.assert_close(zeroed(tensor(3, 5, 3), mask=mask), plain(tensor(3, 5, 3), mask=mask))


@pytest.mark.parametrize("mask", ["none", "right padding", "gaps"])
@pytest.mark.parametrize("cell", CELLS)
def test_unroll_forwards(cell, mask):
    assert_same(*twins(cell, unroll=True, return_sequences=True), tensor(3, 5, 3), states_of(cell), mask=mask_of(mask))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("cell", CELLS)
def test_unroll_backwards(cell, mask):
    """Keras 3 crashes on unroll with go_backwards and a mask, so its rolled loop is the oracle."""
    options = {"go_backwards": True, "return_sequences": True, "return_state": True}
    ours, _ = twins(cell, unroll=True, **options)
    _, theirs = twins(cell, **options)
    assert_same(ours, theirs, tensor(3, 5, 3), states_of(cell), mask=mask_of(mask))


@pytest.mark.parametrize("mask", ["none", "gaps"])
@pytest.mark.parametrize("cell", CELLS)
def test_without_bias(cell, mask):
    pair = twins(cell, use_bias=False, return_sequences=True)
    assert len(pair[0].weights) == 2
    assert_same(*pair, tensor(3, 5, 3), states_of(cell), mask=mask_of(mask))


@pytest.mark.parametrize(
    "activation", ["relu", "linear", "elu", "softsign", "hard_sigmoid", "selu", "gelu", "softplus"]
)
@pytest.mark.parametrize("cell", CELLS)
def test_activations(cell, activation):
    options = {"activation": activation}
    if cell != "SimpleRNN":
        options["recurrent_activation"] = "hard_sigmoid"
    assert_same(*twins(cell, return_sequences=True, **options), tensor(3, 5, 3), mask=mask_of("gaps"))


@pytest.mark.parametrize("shape", [(1, 5, 3), (3, 1, 3), (1, 1, 1), (7, 11, 2), (2, 3, 13)], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_sizes(cell, shape):
    pair = twins(cell, features=shape[-1], return_sequences=True, return_state=True)
    assert_same(*pair, tensor(*shape))


@pytest.mark.parametrize("cell", CELLS)
def test_stateful(cell):
    """Two calls: the second starts where the first ended. Values only: Keras 3 cuts its gradients by writing states."""
    ours, theirs = twins(cell, stateful=True, return_sequences=True)
    for call in range(3):
        x = tensor(3, 5, 3, seed=call)
        torch.testing.assert_close(ours(x), theirs(x).detach(), rtol=3e-6, atol=3e-6)
    ours.reset_states()
    theirs.reset_state()
    torch.testing.assert_close(ours(x), theirs(x).detach(), rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_what_stands_in_a_masked_step_does_not_matter(cell):
    """Keras 3 gives NaN in every weight gradient: it multiplies the NaN by the zero gradient of `where`."""
    ours, _ = twins(cell, return_sequences=True)
    mask, clean = mask_of("gaps"), tensor(3, 5, 3)
    expected = run(ours, ours.trainable_weights, clean, mask=mask)
    for garbage in (float("nan"), float("inf"), 1e30):
        got = run(ours, ours.trainable_weights, clean.masked_fill(~mask[..., None], garbage), mask=mask)
        for a, b in zip((*got[0], *got[1]), (*expected[0], *expected[1]), strict=True):
            assert torch.equal(a, b)


# -- a layer is its cell -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("cell", CELLS)
def test_rnn_of_a_cell_is_the_layer(cell, mask):
    """`RNN(LSTMCell(n))` and `LSTM(n)` with the same weights, and the other two: values and gradients to 1e-6."""
    name, own, _ = CELLS[cell]
    options = {"return_sequences": True, "return_state": True}
    layer = getattr(layers, name)(8, **own, **options)
    rnn = layers.RNN(getattr(layers, f"{name}Cell")(8, **own), **options)
    for each in (layer, rnn):
        each.build((None, None, 3))
    rnn.set_weights(layer.get_weights())
    x, states = tensor(3, 5, 3), states_of(cell, 8)
    got, expected = (run(each, each.trainable_weights, x, states, mask=mask_of(mask)) for each in (rnn, layer))
    for a, b in zip((*got[0], *got[1]), (*expected[0], *expected[1]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_called_step_by_step_is_the_layer(cell):
    layer, theirs = twins(cell, return_sequences=True, return_state=True)
    x, states = tensor(3, 5, 3), states_of(cell)
    sequence, *final = layer(x, initial_state=states)
    for t in range(5):
        output, states = layer.cell(x[:, t], states)
        torch.testing.assert_close(output, sequence[:, t], rtol=3e-6, atol=3e-6)
    for mine, last in zip(states, final, strict=True):
        torch.testing.assert_close(mine, last, rtol=3e-6, atol=3e-6)
    right, their_states = theirs.cell(x[:, 0], states_of(cell))
    mine, my_states = layer.cell(x[:, 0], states_of(cell))
    torch.testing.assert_close(mine, right.detach())
    assert len(my_states) == len(their_states)


# -- stacked cells -------------------------------------------------------------------------------------------------


def stacks(stack, **options):
    cells = {
        "LSTM, GRU": [("LSTMCell", 4, {}), ("GRUCell", 2, {})],
        "three": [("SimpleRNNCell", 3, {}), ("GRUCell", 4, {"reset_after": False}), ("LSTMCell", 2, {})],
    }[stack]
    pair = [
        module.layers.RNN(
            [getattr(module.layers, name)(units, **own) for name, units, own in cells],
            **options,
        )
        for module in (ostinato, keras)
    ]
    for layer in pair:
        layer.build((3, 5, 3))
    give_weights(*pair)
    return pair


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("stack", ["LSTM, GRU", "three"])
def test_stacked_cells(stack, mask):
    ours, theirs = stacks(stack, return_sequences=True, return_state=True)
    assert_same(ours, theirs, tensor(3, 5, 3), mask=mask_of(mask))
    assert isinstance(ours.cell, layers.StackedRNNCells)


@pytest.mark.parametrize("mask", MASKS)
def test_stacked_cells_backwards_are_layers_one_after_the_other(mask):
    ours, theirs = stacks("three", go_backwards=True)
    assert_same(ours, theirs, tensor(3, 5, 3), mask=mask_of(mask))


def test_states_of_stacked_cells_have_one_entry_for_each_cell():
    ours, theirs = stacks("LSTM, GRU", return_state=True)
    mine, right = ours(tensor(3, 5, 3)), theirs(tensor(3, 5, 3))
    assert len(mine) == len(right) == 3
    assert [tuple(state.shape) for state in mine[1]] == [tuple(state.shape) for state in right[1]] == [(3, 4), (3, 4)]
    assert mine[2].shape == (3, 2)
    again = ours(tensor(3, 5, 3), initial_state=list(mine[1:]))
    torch.testing.assert_close(again[0], theirs(tensor(3, 5, 3), initial_state=list(right[1:]))[0].detach())


# -- Bidirectional -------------------------------------------------------------------------------------------------


def bidirectionals(merge_mode="concat", cell="LSTM", **options):
    name, own, _ = CELLS[cell]
    pair = [
        module.layers.Bidirectional(getattr(module.layers, name)(4, **own, **options), merge_mode=merge_mode)
        for module in (ostinato, keras)
    ]
    for layer in pair:
        layer.build((3, 5, 3))
    give_weights(*pair)
    return pair


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("merge_mode", ["concat", "sum", "ave", "mul", None])
def test_bidirectional_sequences_and_states(merge_mode, mask):
    pair = bidirectionals(merge_mode, return_sequences=True, return_state=True)
    outputs, _ = assert_same(*pair, tensor(3, 5, 3), [tensor(3, 4, seed=s) for s in range(4)], mask=mask_of(mask))
    assert len(outputs) == (6 if merge_mode is None else 5)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("merge_mode", ["concat", "sum", "ave", "mul", None])
def test_bidirectional_last_output(merge_mode, mask):
    """The backward half's last output is that for time 0; a masked last step does not zero it."""
    assert_same(*bidirectionals(merge_mode, cell="GRU"), tensor(3, 5, 3), mask=mask_of(mask))


@pytest.mark.parametrize("cell", CELLS)
def test_bidirectional_of_each_layer(cell):
    pair = bidirectionals(cell=cell, return_sequences=True, return_state=True)
    assert_same(*pair, tensor(3, 5, 3), mask=mask_of("left padding"))


def test_bidirectional_with_a_backward_layer_of_another_size():
    pair = []
    for module in (ostinato, keras):
        forward = module.layers.LSTM(4, return_sequences=True)
        backward = module.layers.LSTM(2, return_sequences=True, go_backwards=True, activation="relu")
        pair.append(module.layers.Bidirectional(forward, backward_layer=backward))
        pair[-1].build((3, 5, 3))
    give_weights(*pair)
    outputs, _ = assert_same(*pair, tensor(3, 5, 3), mask=mask_of("gaps"))
    assert outputs[0].shape == (3, 5, 6)


# -- masks through stacks of layers --------------------------------------------------------------------------------

STACKS = {
    "embedding, two": lambda m: [
        m.layers.Embedding(9, 6, mask_zero=True),
        m.layers.LSTM(4, return_sequences=True),
        m.layers.GRU(3),
        m.layers.Dense(2, activation="tanh"),
    ],
    "bidirectional between": lambda m: [
        m.layers.Embedding(9, 6, mask_zero=True),
        m.layers.Bidirectional(m.layers.GRU(4, return_sequences=True)),
        m.layers.Dropout(0.5),
        m.layers.SimpleRNN(3, return_sequences=True),
        m.layers.Bidirectional(m.layers.LSTM(2), merge_mode="sum"),
    ],
    "masking, dense between": lambda m: [
        m.layers.Embedding(9, 6, mask_zero=True),
        m.layers.Dense(5),
        m.layers.RNN(m.layers.LSTMCell(4), return_sequences=True),
        m.layers.BatchNormalization(),
        m.layers.LSTM(2, return_sequences=True),
    ],
}


@pytest.mark.parametrize("stack", STACKS)
def test_masks_travel_through_a_stack(stack):
    """In a Sequential, and called one by one: the mask that Embedding makes reaches every recurrent layer."""
    pair = [module.Sequential(STACKS[stack](module)) for module in (ostinato, keras)]
    tokens = torch.tensor([[3, 1, 4, 1, 5], [2, 7, 0, 0, 0], [0, 0, 0, 0, 0], [0, 8, 0, 2, 0]])
    for model in pair:
        model.build((None, 5))
    give_weights(*pair)
    for model in pair:  # a variance is positive
        model.set_weights(
            [np.abs(w) if i == len(model.get_weights()) - 4 else w for i, w in enumerate(model.get_weights())]
        )
    outputs, _ = assert_same(*pair, tokens, training=False)
    value = tokens
    for layer in pair[0].layers:
        value = layer.eval()(value)
    torch.testing.assert_close(value, outputs[0], rtol=3e-6, atol=3e-6)


def test_masking_layer():
    pair = [
        module.Sequential(
            [
                module.layers.Input((5, 3)),
                module.layers.Masking(mask_value=2.0),
                module.layers.LSTM(4, return_sequences=True),
                module.layers.GRU(2),
            ]
        )
        for module in (ostinato, keras)
    ]
    give_weights(*pair)
    x = tensor(3, 5, 3)
    x[0, 3:] = 2.0
    x[1, 1] = 2.0
    x[2, :, 0] = 2.0  # one feature alone masks nothing
    assert_same(*pair, x)
    assert layers.Masking(2.0).compute_mask(x).tolist() == [[1, 1, 1, 0, 0], [1, 0, 1, 1, 1], [1, 1, 1, 1, 1]]


@pytest.mark.parametrize("cell", CELLS)
def test_an_implicit_mask_survives_an_initial_state(cell):
    """Keras 3 loses the mask, silently; Keras 2 kept it. So the oracle is Keras with the mask given."""
    ours, theirs = twins(cell, features=6)
    tokens = torch.tensor([[3, 1, 4, 0, 0], [2, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    embedding = layers.Embedding(9, 6, mask_zero=True)
    embedded = embedding(tokens)
    expected = theirs(embedded.detach().clone(), initial_state=states_of(cell), mask=tokens != 0)
    torch.testing.assert_close(ours(embedded, initial_state=states_of(cell)), expected.detach(), rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_the_mask_out_of_a_backwards_layer_is_in_its_order(cell):
    """Keras 3 hands the mask on as it came, although the outputs are in reversed order."""
    first, their_first = twins(cell, return_sequences=True, go_backwards=True)
    second, their_second = twins(cell, features=4)
    mask = mask_of("right padding")
    model = ostinato.Sequential([first, second])
    expected = their_second(their_first(tensor(3, 5, 3), mask=mask), mask=mask.flip(1))
    torch.testing.assert_close(model(tensor(3, 5, 3), mask=mask), expected.detach(), rtol=3e-6, atol=3e-6)


def test_bidirectional_of_a_backwards_layer_is_its_halves_swapped():
    """Keras 3 refuses it; in Keras 2 it works: each half runs in the other direction."""
    backwards = layers.Bidirectional(layers.LSTM(4, go_backwards=True, return_sequences=True))
    forwards = layers.Bidirectional(layers.LSTM(4, return_sequences=True))
    for layer in (backwards, forwards):
        layer.build((None, None, 3))
    mine = backwards.get_weights()
    forwards.set_weights([*mine[3:], *mine[:3]])
    x, mask = tensor(3, 5, 3), mask_of("right padding")
    first, second = forwards(x, mask=mask).flip(1).chunk(2, dim=-1)
    torch.testing.assert_close(backwards(x, mask=mask), torch.cat([second, first], dim=-1))


# -- Dense, BatchNormalization -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 3), (2, 5, 3), (2, 2, 2, 3), (1, 3)], ids=str)
@pytest.mark.parametrize(
    "options", [{}, {"use_bias": False}, {"activation": "softmax"}, {"activation": "relu"}], ids=str
)
def test_dense(shape, options):
    pair = [module.layers.Dense(4, **options) for module in (ostinato, keras)]
    for layer in pair:
        layer.build(shape)
    give_weights(*pair)
    assert_same(*pair, tensor(*shape))


def normalizations(shape, **options):
    pair = [module.layers.BatchNormalization(**options) for module in (ostinato, keras)]
    for layer in pair:
        layer.build(shape)
    rng = np.random.default_rng(3)
    values = [0.5 + rng.random(weight.shape) for weight in pair[0].get_weights()]
    for layer in pair:
        layer.set_weights(values)
    return pair


NORMALIZED = {
    "plain": ((8, 3), {}, None),
    "time": ((3, 5, 3), {}, None),
    "masked": ((3, 5, 3), {}, "gaps"),
    "a row without steps": ((3, 5, 3), {}, "a row without steps"),
    "axis 1": ((4, 3, 5), {"axis": 1}, None),
    "axis -2": ((4, 3, 5, 2), {"axis": -2}, None),
    "one sample": ((1, 3), {}, None),
    "no scale": ((8, 3), {"scale": False}, None),
    "no center": ((8, 3), {"center": False}, None),
    "neither, masked": ((3, 5, 3), {"center": False, "scale": False}, "right padding"),
    "momentum, epsilon": ((8, 3), {"momentum": 0.5, "epsilon": 0.1}, None),
}


@pytest.mark.parametrize("case", NORMALIZED)
def test_batch_normalization(case):
    """Inference, three steps of training, inference: values, gradients and moving statistics."""
    shape, options, mask = NORMALIZED[case]
    pair = normalizations(shape, **options)
    kwargs = {} if mask is None else {"mask": mask_of(mask)}
    assert_same(*pair, tensor(*shape), training=False, **kwargs)
    for step in range(3):
        assert_same(*pair, tensor(*shape, seed=step) + step, training=True, **kwargs)
        for mine, right in zip(pair[0].get_weights(), pair[1].get_weights(), strict=True):
            np.testing.assert_allclose(mine, right, rtol=3e-6, atol=3e-6)
    assert_same(*pair, tensor(*shape), training=False, **kwargs)
    assert len(pair[0].non_trainable_weights) == 2


def test_batch_normalization_that_is_not_trainable_infers():
    pair = normalizations((8, 3))
    for layer in pair:
        layer.trainable = False
    before = pair[0].get_weights()
    expected = pair[1](tensor(8, 3), training=True).detach()
    torch.testing.assert_close(pair[0](tensor(8, 3), training=True), expected, rtol=3e-6, atol=3e-6)
    for was, now in zip(before, pair[0].get_weights(), strict=True):
        assert np.array_equal(was, now)
    assert pair[0].trainable_weights == []


def test_what_stands_in_a_masked_step_does_not_reach_the_statistics_or_gradients():
    """Keras 3 gives NaN in every gradient."""
    mask = mask_of("gaps")
    found = []
    for garbage in (0.0, float("nan")):
        layer = layers.BatchNormalization()
        x = tensor(3, 5, 3).masked_fill(~mask[..., None], garbage).requires_grad_()
        output = layer(x, training=True, mask=mask)[mask]
        found.append([output, *torch.autograd.grad(output.square().sum(), [x, layer.gamma]), layer.moving_mean])
    for clean, dirty in zip(*found, strict=True):
        torch.testing.assert_close(dirty, clean)


def test_an_empty_batch_leaves_the_moving_statistics():
    layer = layers.BatchNormalization()
    assert layer(torch.zeros(0, 3), training=True).shape == (0, 3)
    assert layer.moving_mean.eq(0).all() and layer.moving_variance.eq(1).all()


def test_the_moving_variance_is_biased():
    layer = layers.BatchNormalization(momentum=0.0)
    x = torch.tensor([[0.0], [2.0]])
    layer(x, training=True)
    assert layer.moving_variance.item() == 1.0  # torch's own would be 2


# -- Dropout, and penalties ----------------------------------------------------------------------------------------


def test_dropout_keeps_the_mean():
    pair = [module.layers.Dropout(0.25, seed=3) for module in (ostinato, keras)]
    x = torch.ones(200, 200)
    for layer in pair:
        dropped = layer(x, training=True)
        torch.testing.assert_close(dropped.unique(), torch.tensor([0, 4 / 3]))
        assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
        assert torch.equal(layer(x, training=False), x)


@pytest.mark.parametrize("cell", CELLS)
def test_regularization_penalties(cell):
    options = {
        "kernel_regularizer": "l2",
        "recurrent_regularizer": "l1",
        "bias_regularizer": "l1",
    }
    if cell != "SimpleRNN":  # Keras 3 forgets it there
        options["activity_regularizer"] = "l2"
    ours, theirs = twins(cell, **options)
    with torch.no_grad():
        ours(tensor(3, 5, 3)), theirs(tensor(3, 5, 3))
    mine, right = sum(ours.losses).item(), sum(theirs.losses).item()
    assert mine == pytest.approx(right, rel=1e-6) and mine > 0
    assert len(ours.losses) == len(theirs.losses)


@pytest.mark.parametrize(
    "name",
    ["LSTM", "GRU", "SimpleRNN", "RNN", "LSTMCell", "GRUCell", "SimpleRNNCell", "Bidirectional", "StackedRNNCells"],
)
def test_arguments_stand_in_the_order_of_keras(name):
    """By name and by position, with the same defaults."""
    mine, right = (
        [(p.name, p.default) for p in inspect.signature(getattr(module.layers, name).__init__).parameters.values()]
        for module in (ostinato, keras)
    )
    right = [each for each in right if each[0] != "kwargs"]
    assert mine[: len(right)] == right


@pytest.mark.parametrize("cell", CELLS)
def test_new_weights_have_the_distribution_of_keras(cell):
    """Glorot and orthogonal act on the whole matrix; the forget gate's bias is 1."""
    name, own, _ = CELLS[cell]
    mine, right = (getattr(module.layers, name)(64, **own) for module in (ostinato, keras))
    for layer in (mine, right):
        layer.build((None, None, 32))
    for a, b in zip(mine.get_weights(), right.get_weights(), strict=True):
        assert a.shape == b.shape
        assert abs(a).max() == pytest.approx(abs(b).max(), rel=0.5)
        assert a.std() == pytest.approx(b.std(), rel=0.1, abs=1e-6)
    recurrent = mine.get_weights()[1]
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(64), atol=1e-5)
    np.testing.assert_array_equal(mine.get_weights()[2], right.get_weights()[2])


# -- numbers that Keras's own tests hold ---------------------------------------------------------------------------

CONSTANTS = {
    "kernel_initializer": ostinato.initializers.Constant(0.01),
    "recurrent_initializer": ostinato.initializers.Constant(0.02),
    "bias_initializer": ostinato.initializers.Constant(0.03),
}


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (layers.LSTM, [0.6288687, 0.86899155, 0.9460773]),
        (layers.GRU, [0.5217289, 0.6371659, 0.39384964]),
    ],
    ids=["LSTM", "GRU"],
)
def test_numbers_of_keras(layer, expected):
    output = layer(3, **CONSTANTS)(np.arange(72, dtype="float32").reshape(3, 6, 4))
    torch.testing.assert_close(output, torch.tensor(expected)[:, None].expand(3, 3), rtol=1e-6, atol=1e-6)


class OneStateCell(layers.Layer):
    """The cell of Keras's own tests: `h' = x W + h U`."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.state_size = units

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), initializer="ones", name="kernel")
        self.recurrent_kernel = self.add_weight(shape=(self.units, self.units), initializer="ones", name="recurrent")

    def call(self, inputs, states):
        output = inputs @ self.kernel + states[0] @ self.recurrent_kernel
        return output, [output]


def test_a_cell_of_ones_counts_to_9_and_45():
    layer = layers.RNN(OneStateCell(2), stateful=True)
    x = torch.ones(1, 2, 3)
    assert layer(x).tolist() == [[9.0, 9.0]]
    assert layer(x).tolist() == [[45.0, 45.0]]
    layer.reset_states()
    assert layer(x).tolist() == [[9.0, 9.0]]
