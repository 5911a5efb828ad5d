"""ConvLSTM layers among others: masks, states, wrappers, models."""

import keras
import pytest
import torch

import ostinato
from conv_twins import shape_of, states_of, twins
from ostinato import layers
from ostinato.layers.conv_lstm import ConvLSTMCell
from ostinato.recurrence.nests import flatten
from side_by_side import assert_same, give_weights, mask_of, tensor

# -- masks and garbage ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e38])
@pytest.mark.parametrize("wrap", [lambda layer: layer, layers.Bidirectional], ids=["alone", "Bidirectional"])
@pytest.mark.parametrize("mask", ["right padding", "left padding", "gaps", "a row without steps"])
def test_what_stands_in_a_masked_step_changes_no_bit(mask, wrap, bad):
    layer, mask = wrap(layers.ConvLSTM2D(3, 2, return_sequences=True, return_state=True)), mask_of(mask)

    def run(x):
        x = x.clone().requires_grad_()
        outputs = layer(x, mask=mask)
        loss = sum((leaf * tensor(*leaf.shape, seed=i)).sum() for i, leaf in enumerate(outputs))
        return outputs, torch.autograd.grad(loss, [x, *layer.trainable_weights])

    x = tensor(*shape_of(2))
    dirty = x.clone()
    dirty[~mask] = bad
    (clean, gradients), (found, others) = run(x), run(dirty)
    assert all(torch.equal(a, b) for a, b in zip([*clean, *gradients], [*found, *others], strict=True))
    assert others[0][~mask].eq(0).all()


def test_an_implicit_mask_meets_an_initial_state_and_passes_on():
    first, second = layers.ConvLSTM2D(3, 2, return_sequences=True), layers.ConvLSTM2D(2, 2, return_sequences=True)
    mask = mask_of("gaps")
    x = tensor(*shape_of(2))
    first.build(x.shape)
    states = states_of(first)
    hung = x.clone()
    hung._keras_mask = mask
    found = second(first(hung, initial_state=states))
    assert torch.equal(found._keras_mask, mask)
    assert torch.equal(found, second(first(x, initial_state=states, mask=mask), mask=mask))


# -- states -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_two_stateful_batches_equal_one_long_one(data_format):
    options = {"return_sequences": True, "data_format": data_format}
    stateful, plain = twins(2, stateful=True, **options)[0], twins(2, **options)[0]
    x = tensor(*shape_of(2, data_format))
    pieces = [stateful(piece) for piece in (x[:, :2], x[:, 2:3], x[:, 3:])]
    torch.testing.assert_close(torch.cat(pieces, 1), plain(x))
    stateful.reset_states()
    assert stateful.states is None and torch.equal(stateful(x[:, :2]), pieces[0])


def test_stateful_training_replaces_states():
    """Two calls and then backward: Keras on torch fails here."""
    layer = layers.ConvLSTM2D(3, 2, stateful=True)
    x = tensor(*shape_of(2))
    total = layer(x).sum()
    kept = flatten(layer.states)
    total = total + layer(x).square().sum()
    assert all(a is not b for a, b in zip(kept, flatten(layer.states), strict=True))
    assert not any(leaf.requires_grad for leaf in kept)
    got = torch.autograd.grad(total, layer.trainable_weights)
    layer.stateful = False
    right = torch.autograd.grad(layer(x).sum() + layer(x, initial_state=kept).square().sum(), layer.trainable_weights)
    torch.testing.assert_close(got, right)


def test_states_are_set_before_and_after_it_is_built():
    x = tensor(*shape_of(2))
    layer = layers.ConvLSTM2D(3, 2, stateful=True)
    given = [tensor(3, 4, 3, 3, seed=i) for i in range(2)]
    layer.reset_states(given)
    found = layer(x)
    plain = layers.ConvLSTM2D(3, 2)
    plain.build(x.shape)
    plain.set_weights(layer.get_weights())
    assert torch.equal(found, plain(x, initial_state=given))
    layer.reset_states([leaf.numpy() for leaf in given])
    assert torch.equal(layer(x), found)
    other = layers.ConvLSTM2D(3, 2)
    other.build(x.shape)
    assert other(x, initial_state=layer.states).shape == (3, 4, 3, 3)


def test_gradients_reach_initial_states():
    layer, _ = twins(1)
    states = [leaf.requires_grad_() for leaf in states_of(layer)]
    layer(tensor(*shape_of(1)), initial_state=states).sum().backward()
    assert all(leaf.grad.ne(0).any() for leaf in states)


# -- layers around it -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", ["none", "right padding", "gaps", "a row without steps"])
@pytest.mark.parametrize("sequences", [False, True], ids=["last", "sequences"])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("merge_mode", ["concat", "sum", "ave", "mul", None])
def test_bidirectional_is_that_of_keras(merge_mode, data_format, sequences, mask):
    """Last output and no mask at its step: Keras zeroes a masked last output, against what it documents."""
    shape = shape_of(2, data_format)
    pair = [
        module.layers.Bidirectional(
            module.layers.ConvLSTM2D(3, 2, return_sequences=sequences, return_state=True, data_format=data_format),
            merge_mode=merge_mode,
        )
        for module in (ostinato, keras)
    ]
    for layer in pair:
        layer.build(shape)
    give_weights(*pair)
    x, mask = tensor(*shape), mask_of(mask)
    if mask is None or sequences:
        states = states_of(pair[0].forward_layer) + states_of(pair[0].backward_layer)
        outputs, _ = assert_same(*pair, x, states, tolerance=1e-5, mask=mask)
    else:
        outputs = flatten(pair[0](x, mask=mask))
        halves = [half(x, mask=mask) for half in (pair[0].forward_layer, pair[0].backward_layer)]
        torch.testing.assert_close(outputs[-4:], [*halves[0][1:], *halves[1][1:]])
    computed = pair[0].compute_output_shape(shape)
    assert list(computed) == [tuple(leaf.shape) for leaf in outputs]


def test_bidirectional_stateful_and_its_states():
    layer = layers.Bidirectional(layers.ConvLSTM2D(3, 2, stateful=True))
    x = tensor(*shape_of(2))
    first, second = layer(x), layer(x)
    recorded = layer.states
    assert [leaf.shape for leaf in recorded] == [(3, 4, 3, 3)] * 4 and not torch.equal(first, second)
    layer.reset_states()
    assert torch.equal(layer(x), first)
    layer.reset_states(recorded)
    third = layer(x)
    assert torch.equal(layer(x, initial_state=recorded), third)


@pytest.mark.parametrize("mask", ["none", "gaps"])
@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
def test_stacked_cells_are_layers_one_after_the_other(backwards, mask):
    x, mask = tensor(*shape_of(2)), mask_of(mask)
    cells = [ConvLSTMCell(2, 3, 2, padding="same"), ConvLSTMCell(2, 2, 3, strides=2)]
    stack = layers.RNN(cells, return_sequences=True, return_state=True, go_backwards=backwards)
    assert stack.compute_output_shape((None, 5, 5, 4, 2))[0] == (None, 5, None, None, 2)
    output, *states = stack(x, mask=mask)
    options = {"return_sequences": True, "return_state": True}
    lower = layers.ConvLSTM2D(3, 2, padding="same", go_backwards=backwards, **options)
    upper = layers.ConvLSTM2D(2, 3, strides=2, **options)
    between = lower.compute_output_shape(x.shape)[0]
    for layer, cell, shape in ((lower, cells[0], x.shape), (upper, cells[1], between)):
        layer.build(shape)
        layer.set_weights(cell.get_weights())
    middle, *first = lower(x, mask=mask)
    turned = mask.flip(1) if mask is not None and backwards else mask
    right, *second = upper(middle, mask=turned)
    torch.testing.assert_close(output, right)
    torch.testing.assert_close(flatten(states), [*first, *second])
    assert stack.compute_output_shape(x.shape)[0] == tuple(output.shape)
    assert [[tuple(leaf.shape) for leaf in each] for each in states] == [
        list(each) for each in stack.compute_output_shape(x.shape)[1:]
    ]
    assert isinstance(stack.cell, layers.StackedRNNCells)


def test_a_cell_in_rnn_is_the_layer():
    ours = layers.RNN(ConvLSTMCell(2, 3, 2), return_sequences=True, stateful=True)
    layer = twins(2, return_sequences=True, stateful=True)[0]
    x = tensor(*shape_of(2))
    ours.build(x.shape)
    ours.set_weights(layer.get_weights())
    for _ in range(2):
        assert torch.equal(ours(x), layer(x))
    wrapped = layers.Bidirectional(layers.RNN(ConvLSTMCell(1, 3, 2), return_sequences=True))
    assert wrapped(tensor(*shape_of(1))).shape == (3, 5, 5, 6)


def test_time_distributed_after_it():
    pair = []
    for module in (ostinato, keras):
        convolved = module.layers.ConvLSTM2D(3, 2, padding="same", return_sequences=True)
        pair.append(
            module.Sequential(
                [
                    module.layers.Input((5, 5, 4, 2)),
                    convolved,
                    module.layers.TimeDistributed(module.layers.Conv2D(2, 2)),
                    module.layers.TimeDistributed(module.layers.Flatten()),
                    module.layers.LSTM(3),
                ]
            )
        )
    give_weights(*pair)
    assert_same(*pair, tensor(*shape_of(2)), tolerance=1e-5)


def test_time_distributed_around_it():
    layer = layers.ConvLSTM1D(3, 2)
    x = tensor(2, 4, 5, 6, 2)
    found = layers.TimeDistributed(layer)(x)
    right = torch.stack([layer(x[:, t]) for t in range(4)], 1)
    torch.testing.assert_close(found, right)


def test_time_major():
    layer, _ = twins(2, return_sequences=True, return_state=True)
    turned = layers.ConvLSTM2D(3, 2, return_sequences=True, return_state=True, time_major=True)
    x, mask = tensor(*shape_of(2)), mask_of("gaps")
    turned.build((5, 3, 5, 4, 2))
    turned.set_weights(layer.get_weights())
    found, right = turned(x.transpose(0, 1), mask=mask.T), layer(x, mask=mask)
    assert torch.equal(found[0].transpose(0, 1), right[0]) and torch.equal(found[1], right[1])
    assert turned.compute_output_shape((5, 3, 5, 4, 2))[0] == tuple(found[0].shape)


# -- models -----------------------------------------------------------------------------------------------------------


def frames(batch=4, time=5):
    """Rows that light up one after the other, and the next frame."""
    film = torch.eye(6)[(torch.arange(time + 1)[None] + torch.arange(batch)[:, None]) % 6]
    film = film[:, :, :, None, None].expand(batch, time + 1, 6, 6, 1)
    return film[:, :-1].numpy(), film[:, -1].numpy()


def test_a_functional_model_of_open_length_learns_the_next_frame():
    inputs = ostinato.Input((None, 6, 6, 1))
    x = layers.ConvLSTM2D(4, 3, padding="same", return_sequences=True)(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.ConvLSTM2D(4, 3, padding="same")(x)
    model = ostinato.Model(inputs, layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x))
    assert model.output_shape == (None, 6, 6, 1)
    model.compile(ostinato.optimizers.Adam(0.02), "binary_crossentropy")
    x, y = frames()
    losses = model.fit(x, y, epochs=12, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    assert model.predict(x[:, :3], verbose=0).shape == (4, 6, 6, 1)


def test_an_encoder_gives_its_states_to_a_decoder():
    past, future = ostinato.Input((None, 5, 4, 2)), ostinato.Input((None, 5, 4, 1))
    encoder = layers.ConvLSTM2D(3, 2, padding="same", return_state=True)
    decoder = layers.ConvLSTM2D(3, 3, padding="same", return_sequences=True)
    _, h, c = encoder(past)
    model = ostinato.Model([past, future], decoder(future, initial_state=[h, c]))
    x, y = tensor(3, 5, 5, 4, 2), tensor(3, 7, 5, 4, 1)
    right = decoder(y, initial_state=encoder(x)[1:])
    assert torch.equal(model([x, y]), right)
    both = layers.Bidirectional(layers.ConvLSTM2D(3, 2, padding="same"))
    assert both(past, initial_state=[h, c, h, c]).shape == (None, 5, 4, 6)


def test_the_first_layer_of_a_sequential_model():
    model = ostinato.Sequential([layers.ConvLSTM1D(3, 2, input_shape=(None, 6, 2)), layers.Flatten(), layers.Dense(1)])
    assert model.built and model.output_shape == (None, 1)
    late = ostinato.Sequential([layers.ConvLSTM2D(3, 2, return_sequences=True), layers.ConvLSTM2D(2, 2)])
    assert late(tensor(*shape_of(2))).shape == (3, 3, 2, 2)
