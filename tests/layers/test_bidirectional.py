"""`Bidirectional`: its halves, their states, their options. (Values against Keras: test_parity_keras.py.)"""

import pytest
import torch

import ostinato
from cells import Minimal
from ostinato import layers
from ostinato.recurrence.nests import flatten
from side_by_side import tensor

WEIGHTS = ("kernel", "recurrent_kernel", "bias")
MASK = torch.tensor([[1, 1, 1, 0], [0, 1, 0, 1]], dtype=torch.bool)


def by_hand(layer, x, states=(None, None), mask=None):
    """The outputs of the two halves called by themselves, the backward sequence turned round."""
    halves = (layer.forward_layer, layer.backward_layer)
    found = [half(x, initial_state=state, mask=mask) for half, state in zip(halves, states, strict=True)]
    (forward, *first), (backward, *second) = ([each] if isinstance(each, torch.Tensor) else each for each in found)
    return forward, backward.flip(1) if layer.return_sequences else backward, first, second


@pytest.mark.parametrize("mask", [None, MASK], ids=["unmasked", "masked"])
def test_states_are_split_by_what_each_half_needs(mask):
    """An LSTM carries two, a GRU one: not half of three each."""
    options = {"return_sequences": True, "return_state": True}
    layer = layers.Bidirectional(layers.LSTM(3, **options), backward_layer=layers.GRU(2, go_backwards=True, **options))
    h, c, g = tensor(2, 3, seed=1), tensor(2, 3, seed=2), tensor(2, 2, seed=3)
    x = tensor(2, 4, 5)
    merged, *states = layer(x, initial_state=[h, c, g], mask=mask)
    forward, backward, first, second = by_hand(layer, x, ([h, c], [g]), mask)
    torch.testing.assert_close(merged, torch.cat([forward, backward], -1))
    for mine, right in zip(states, [*first, *second], strict=True):
        torch.testing.assert_close(mine, right)
    pair, *_ = layer(x, initial_state=([h, c], [g]), mask=mask)
    assert torch.equal(pair, merged)


def test_a_wrong_number_of_states_is_refused():
    layer = layers.Bidirectional(layers.LSTM(3))
    with pytest.raises(ValueError, match=r"initial_state has 2 tensor.*forward half carries 2 and the backward half 2"):
        layer(tensor(2, 4, 5), initial_state=[tensor(2, 3)] * 2)


@pytest.mark.parametrize("merge_mode", ["concat", "sum", "ave", "mul", None])
@pytest.mark.parametrize("state", [False, True])
def test_output_shapes(merge_mode, state):
    options = {"return_sequences": True, "return_state": state}
    layer = layers.Bidirectional(layers.GRU(3, **options), merge_mode=merge_mode)
    outputs = flatten(layer(tensor(2, 4, 5)))
    shapes = layer.compute_output_shape((2, 4, 5))
    shapes = [shapes] if isinstance(shapes[0], int) else list(shapes)
    assert shapes == [tuple(leaf.shape) for leaf in outputs]
    symbols = flatten(layer(ostinato.Input((None, 5))))
    assert [symbol.shape for symbol in symbols] == [
        (None, None, n[-1]) if len(n) == 3 else (None, n[-1]) for n in shapes
    ]
    assert len(outputs) == 1 + (merge_mode is None) + 2 * state


def test_masked_steps_of_both_halves_are_zero():
    layer = layers.Bidirectional(layers.LSTM(3, return_sequences=True), merge_mode=None)
    forward, backward = layer(tensor(2, 4, 5), mask=MASK)
    for output in (forward, backward):
        assert output[~MASK].eq(0).all() and output[MASK].ne(0).all()
    torch.testing.assert_close(
        backward[1, 3], layer.backward_layer.cell(tensor(2, 4, 5)[1:, 3], [torch.zeros(1, 3)] * 2)[0][0]
    )


def test_the_copies_keep_every_option():
    """Both halves have weights of their own; the layer that was given is left alone, unbuilt."""
    template = layers.LSTM(
        3,
        activation="relu",
        recurrent_activation="hard_sigmoid",
        use_bias=False,
        kernel_initializer="ones",
        kernel_regularizer="l2",
        recurrent_constraint="max_norm",
        dropout=0.25,
        recurrent_dropout=0.5,
        seed=3,
        return_sequences=True,
        unroll=True,
        use_cudnn=False,
        dtype="float64",
        name="given",
    )
    layer = layers.Bidirectional(template)
    layer.build((None, None, 5))
    asked = template.get_config()
    for half, backwards, name in ((layer.forward_layer, False, "forward"), (layer.backward_layer, True, "backward")):
        config = half.get_config()
        assert config.pop("name") == f"{name}_given" and config.pop("go_backwards") is backwards
        assert config == {key: value for key, value in asked.items() if key not in ("name", "go_backwards")}
    assert not template.built and template.weights == []
    assert len(layer.weights) == 4 and len({id(weight) for weight in layer.weights}) == 4
    assert [weight.dtype for weight in layer.weights] == [torch.float64] * 4
    first, second = layer.forward_layer.recurrent_kernel, layer.backward_layer.recurrent_kernel
    assert not torch.equal(first, second)


def test_a_given_backward_layer_is_used_as_it_is():
    backward = layers.GRU(2, go_backwards=True, name="mine")
    layer = layers.Bidirectional(layers.LSTM(3), backward_layer=backward)
    assert layer.backward_layer is backward
    assert layer(tensor(2, 4, 5)).shape == (2, 5)


@pytest.mark.parametrize(
    ("backward", "message"),
    [
        (lambda: layers.LSTM(3), "other direction"),
        (lambda: layers.LSTM(3, go_backwards=True, return_sequences=True), "agree in return_sequences"),
        (lambda: layers.LSTM(3, go_backwards=True, stateful=True), "agree in stateful"),
        (lambda: layers.LSTM(3, go_backwards=True, return_state=True), "agree in return_state"),
    ],
)
def test_halves_that_do_not_match_are_refused(backward, message):
    with pytest.raises(ValueError, match=message):
        layers.Bidirectional(layers.LSTM(3), backward_layer=backward())


def test_initial_weights():
    """Those of the forward half first."""
    source = layers.Bidirectional(layers.GRU(3))
    source.build((None, None, 5))
    layer = layers.Bidirectional(layers.GRU(3), weights=source.get_weights())
    torch.testing.assert_close(layer(tensor(2, 4, 5)), source(tensor(2, 4, 5)))
    assert "weights" not in layer.get_config()


def test_a_cell_of_ones_own_need_not_be_registered():
    class Private(Minimal):
        def get_config(self):
            return {"units": self.units}

    layer = layers.Bidirectional(layers.RNN(Private(3), return_sequences=True))
    x = tensor(2, 4, 5)
    forward, backward = layer(x).chunk(2, -1)
    again, turned, *_ = by_hand(layer, x)
    torch.testing.assert_close(forward, again)
    torch.testing.assert_close(backward, turned)


def test_a_function_of_ones_own_need_not_be_registered_and_is_not_taken_for_a_built_in():
    def relu(x):
        return x.clamp(0, 0.001)

    layer = layers.Bidirectional(layers.SimpleRNN(3, activation=relu), merge_mode=None)
    for output in layer(tensor(2, 4, 5)):
        assert output.min() >= 0 and output.max() <= 0.001
    assert layer.forward_layer.activation is layer.backward_layer.activation is relu


def test_a_subclass_with_a_call_of_its_own_is_called():
    @ostinato.utils.register_keras_serializable(package="tests")
    class Shifted(layers.GRU):
        def call(self, sequences, initial_state=None, mask=None, training=False):
            return super().call(sequences, initial_state, mask, training) + 1

    layer = layers.Bidirectional(Shifted(3), merge_mode=None)
    plain = layers.Bidirectional(layers.GRU(3), merge_mode=None)
    x = tensor(2, 4, 5)
    plain.build((None, None, 5))
    layer.build((None, None, 5))
    layer.set_weights(plain.get_weights())
    for mine, right in zip(layer(x), plain(x), strict=True):
        torch.testing.assert_close(mine, right + 1)


def test_stacked_cells_in_both_directions():
    cells = [layers.LSTMCell(3), layers.GRUCell(2)]
    layer = layers.Bidirectional(layers.RNN(cells, return_sequences=True, return_state=True))
    x = tensor(2, 4, 5)
    merged, *states = layer(x)
    forward, backward, first, second = by_hand(layer, x)
    torch.testing.assert_close(merged, torch.cat([forward, backward], -1))
    for mine, right in zip(flatten(states), flatten([*first, *second]), strict=True):
        torch.testing.assert_close(mine, right)
    again, *_ = layer(x, initial_state=states)
    assert again.shape == merged.shape and not torch.allclose(again, merged)


def test_time_major():
    layer = layers.Bidirectional(layers.LSTM(3, return_sequences=True, time_major=True))
    minor = layers.Bidirectional(layers.LSTM(3, return_sequences=True))
    for each in (layer, minor):
        each.build((None, None, 5))
    layer.set_weights(minor.get_weights())
    x = tensor(2, 4, 5)
    torch.testing.assert_close(layer(x.transpose(0, 1), mask=MASK.t()).transpose(0, 1), minor(x, mask=MASK))


def test_dropout_only_in_training():
    layer = layers.Bidirectional(layers.GRU(3, dropout=0.5, seed=1))
    x = tensor(2, 4, 5)
    still = layer(x, training=False)
    assert torch.equal(layer(x, training=False), still)
    assert not torch.equal(layer(x, training=True), still)


def test_the_state_of_an_encoder_starts_a_decoder_in_a_drawn_model():
    inputs = ostinato.Input((None, 5))
    _, *states = layers.Bidirectional(layers.LSTM(3, return_state=True))(inputs)
    outputs = layers.Bidirectional(layers.LSTM(3))(inputs, initial_state=states)
    model = ostinato.Model(inputs, outputs)
    encoder, decoder = model.layers[1:]
    x = tensor(2, 4, 5)
    torch.testing.assert_close(model(x), decoder(x, initial_state=list(encoder(x)[1:])))


def test_activity_penalties_of_both_halves():
    layer = layers.Bidirectional(layers.GRU(3, activity_regularizer="l2", kernel_regularizer="l1"), merge_mode=None)
    forward, backward = layer(tensor(2, 4, 5))
    expected = 0.01 * (forward.square().sum() + backward.square().sum()) / 2
    expected = expected + 0.01 * sum(half.kernel.abs().sum() for half in (layer.forward_layer, layer.backward_layer))
    assert len(layer.losses) == 4
    torch.testing.assert_close(sum(layer.losses), expected)


def test_frozen():
    layer = layers.Bidirectional(layers.GRU(3), trainable=False)
    layer(tensor(2, 4, 5))
    assert layer.trainable_weights == [] and len(layer.non_trainable_weights) == 6
    layer.trainable = True
    assert len(layer.trainable_weights) == 6


def test_the_order_of_weights_is_forward_then_backward():
    layer = layers.Bidirectional(layers.LSTM(3))
    layer(tensor(2, 4, 5))
    halves = [*layer.forward_layer.weights, *layer.backward_layer.weights]
    assert all(a is b for a, b in zip(layer.weights, halves, strict=True))
    names = [f"{half}.cell.{name}" for half in ("forward_layer", "backward_layer") for name in WEIGHTS]
    assert list(layer.state_dict()) == names


def test_whole_numbers_are_taken_as_numbers():
    """As by the layer inside, called alone; arrays of them too."""
    layer = layers.Bidirectional(layers.LSTM(3))
    x = torch.arange(24).reshape(2, 4, 3)
    right = layer(x.float())
    assert torch.equal(layer(x), right) and torch.equal(layer(x.numpy()), right)
    assert torch.equal(layers.Bidirectional.from_config(layer.get_config())(x.numpy()) * 0, right * 0)
