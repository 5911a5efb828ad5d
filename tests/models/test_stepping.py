"""`Sequential.step`: one step at a time is the whole sequence, masks and nested models included."""

import numpy as np
import pytest
import torch

from ostinato import Input, Model, Sequential, layers

IDS = torch.tensor([[0, 1, 2, 0, 3, 0], [1, 0, 0, 4, 0, 2], [0, 0, 0, 0, 0, 0], [1, 2, 3, 1, 2, 3]])


def own_layer():
    class Doubled(layers.Layer):
        steps_independent = True
        supports_masking = True

        def call(self, inputs):
            return 2 * inputs

    return Doubled()


MODELS = {
    "sequences": lambda: [layers.LSTM(5, return_sequences=True), layers.GRU(3, return_sequences=True), layers.Dense(2)],
    "last": lambda: [layers.GRU(5, return_sequences=True), layers.LSTM(3), layers.Dense(2, activation="tanh")],
    "what knows no step": lambda: [
        layers.Dense(4),
        layers.Dropout(0.5),
        layers.SimpleRNN(5, return_sequences=True),
        layers.LayerNormalization(),
        layers.BatchNormalization(),
        layers.Activation("relu"),
        layers.Softmax(),
        layers.Rescaling(0.5),
        layers.TimeDistributed(layers.Dense(3)),
        own_layer(),
        torch.nn.Linear(3, 2),
        torch.nn.Tanh(),
    ],
    "anything after the last step": lambda: [
        layers.GRU(6),
        layers.Reshape((3, 2)),
        layers.Conv1D(2, 2),
        layers.Bidirectional(layers.LSTM(2)),
    ],
    "an encoder and a decoder": lambda: [layers.LSTM(3), layers.RepeatVector(4), layers.GRU(2, return_sequences=True)],
    "stacked, no layer before": lambda: [layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], return_sequences=True)],
    "a model in a model": lambda: [
        Sequential([layers.Dense(3), layers.GRU(4, return_sequences=True)]),
        Sequential([layers.LSTM(2), Sequential([layers.Dense(1)])]),
    ],
    "no recurrence at all": lambda: [layers.Dense(3), layers.Activation("tanh")],
}


def check(model, x, mask=None):
    """Each output of step is that of the whole sequence so far."""
    state = None
    for t in range(x.shape[1]):
        flags = None if mask is None else mask[:, t]
        output, state = model.step(x[:, t], state, flags, training=False)
        whole = model(x[:, : t + 1], training=False, **({} if mask is None else {"mask": mask[:, : t + 1]}))
        whole = whole[:, -1] if whole.dim() > output.dim() else whole
        torch.testing.assert_close(output, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_steps_are_the_sequence(make):
    model = Sequential(make())
    check(model, torch.randn(3, 6, 4))


@pytest.mark.parametrize("sequences", [False, True])
def test_what_is_done_to_an_output_does_not_reach_the_next_one(sequences):
    model = Sequential([layers.LSTM(3, return_sequences=True), layers.GRU(2, return_sequences=sequences)])
    x, none = torch.randn(2, 2, 4), torch.zeros(2, dtype=torch.bool)
    with torch.no_grad():
        output, state = model.step(x[:, 0])
        wanted = output.clone(), model.step(x[:, 1], state)[0]
        output.fill_(torch.nan)
        held = model.step(x[:, 1], state, none)[0]  # a masked step shows the output before
        assert torch.equal(model.step(x[:, 1], state)[0], wanted[1])
    assert torch.equal(held, wanted[0])


@pytest.mark.parametrize("zeroed", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
def test_a_masked_step_shows_what_the_sequence_shows(sequences, zeroed):
    model = Sequential(
        [
            layers.Embedding(5, 4, mask_zero=True),
            layers.LSTM(5, return_sequences=True),
            layers.SimpleRNN(3, return_sequences=True, zero_output_for_mask=zeroed),
            layers.GRU(2, return_sequences=sequences),
            layers.Dense(2),
        ]
    )
    check(model, IDS)


def test_a_mask_may_be_given_and_garbage_in_it_reaches_nothing():
    model = Sequential([layers.GRU(3, return_sequences=True), layers.LSTM(2, return_sequences=True)])
    x, mask = torch.randn(4, 6, 3), IDS != 0
    check(model, x, mask)
    spoilt = x.masked_fill(~mask[..., None], torch.nan)
    state = spoilt_state = None
    for t in range(6):
        output, state = model.step(x[:, t], state, mask[:, t])
        again, spoilt_state = model.step(spoilt[:, t], spoilt_state, mask[:, t].numpy())
        assert torch.equal(output, again)


def test_a_model_that_was_never_called_is_built_by_its_first_step():
    model = Sequential([layers.Embedding(5, 4), layers.LSTM(3)])
    output, state = model.step(np.array([1, 2]))
    assert output.shape == (2, 3)
    assert len(state) == 1
    assert model.built
    torch.testing.assert_close(output, model(np.array([[1], [2]])))


def test_recorded_states_are_neither_used_nor_changed():
    model = Sequential([layers.GRU(3, stateful=True)])
    x = torch.randn(2, 4, 3)
    model(x)
    before = model.get_states()
    check(Sequential([layer_like(model.layers[0])]), x)
    model.step(x[:, 0])
    assert torch.equal(model.get_states()["0"][0], before["0"][0])


def layer_like(layer):
    """The same layer, not stateful."""
    twin = type(layer).from_config({**layer.get_config(), "stateful": False})
    twin.build((None, None, 3))
    twin.set_weights(layer.get_weights())
    return twin


def test_gradients_flow_through_the_steps():
    model = Sequential([layers.LSTM(3, return_sequences=True), layers.GRU(2)])
    x = torch.randn(2, 5, 3, requires_grad=True)
    wanted = torch.autograd.grad(model(x).sum(), [x, *model.parameters()])
    state = None
    for t in range(5):
        output, state = model.step(x[:, t], state)
    found = torch.autograd.grad(output.sum(), [x, *model.parameters()])
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        (lambda: [layers.Bidirectional(layers.LSTM(2))], r"Bidirectional.*backward half starts from the last step"),
        (lambda: [layers.LSTM(2, go_backwards=True)], r"LSTM.*go_backwards=True starts from the last step"),
        (lambda: [layers.Conv1D(2, 2), layers.LSTM(2)], r"no step through Conv1D.*steps_independent"),
        (lambda: [layers.Softmax(1)], r"no step through Softmax"),
        (lambda: [layers.LayerNormalization(axis=[1, 2])], r"no step through LayerNormalization"),
        (lambda: [layers.Flatten()], r"no step through Flatten"),
        (lambda: [torch.nn.BatchNorm1d(5)], r"no step through BatchNorm1d"),
    ],
)
def test_what_needs_other_steps_is_refused(inside, message):
    model = Sequential(inside())
    model(torch.randn(2, 5, 3), training=False)
    with pytest.raises(ValueError, match=message):
        model.step(torch.randn(2, 3))


def test_misuse_is_told():
    model = Sequential([layers.LSTM(2, return_sequences=True), layers.GRU(2)])
    _, state = model.step(torch.randn(2, 3))
    with pytest.raises(ValueError, match=r"state has 1 entries, its recurrent layers are 2\. Pass what step returned"):
        model.step(torch.randn(2, 3), state[:1])
    with pytest.raises(ValueError, match=r"LSTM.*initial_state must be \(batch, 2\).*with batch 3"):
        model.step(torch.randn(3, 3), state)
    with pytest.raises(ValueError, match=r"LSTM.*expected \(batch, time, 3\), got \(2, 1, 4\)"):
        model.step(torch.randn(2, 4), state)

    class Own(Sequential):
        def call(self, inputs):
            return inputs

    with pytest.raises(ValueError, match=r"has a call of its own"):
        Own([layers.LSTM(2)]).step(torch.randn(2, 3))
    drawn = Input((None, 3))
    assert not hasattr(Model(drawn, layers.LSTM(2)(drawn)), "step")
