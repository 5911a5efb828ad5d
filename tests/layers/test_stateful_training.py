"""Stateful layers in training: what fit, evaluate and predict do with recorded states, and what gradients see."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch

import oracle
import ostinato
from ostinato import layers
from ostinato.recurrence.nests import flatten
from side_by_side import tensor

MADE = {
    "LSTM": lambda **options: layers.LSTM(4, **options),
    "GRU": lambda **options: layers.GRU(4, **options),
    "SimpleRNN": lambda **options: layers.SimpleRNN(4, **options),
    "stacked": lambda **options: layers.RNN([layers.LSTMCell(3), layers.GRUCell(4)], **options),
}


@pytest.fixture(params=MADE)
def made(request):
    return MADE[request.param]


def model_of(made, rate=0.1, **options):
    model = ostinato.Sequential(
        [ostinato.Input((None, 2)), made(stateful=True, return_sequences=True, **options), layers.Dense(1)]
    )
    model.compile(ostinato.optimizers.SGD(rate), "mse")
    return model


class Batches:
    """Batches in their order: a list of them would be a nest of inputs."""

    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def pieces(count=3, rows=3, steps=4):
    """Consecutive pieces of long sequences, x and y, in the order in which fit gets them."""
    x, y = tensor(rows, count * steps, 2), tensor(rows, count * steps, 1, seed=1)
    cut = [slice(i * steps, (i + 1) * steps) for i in range(count)]
    return x, y, Batches([(x[:, part], y[:, part]) for part in cut])


@pytest.mark.parametrize("kind", ["simple_rnn", "gru", "lstm"])
def test_pieces_are_the_long_sequence_of_a_loop_over_samples(kind):
    """In float64, against NumPy; masks hold the state over the seam."""
    layer = {"simple_rnn": layers.SimpleRNN, "gru": layers.GRU, "lstm": layers.LSTM}[kind](
        4, stateful=True, return_sequences=True, dtype="float64"
    )
    layer.build((None, None, 2))
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(weight.shape) / 2 for weight in layer.get_weights()]
    layer.set_weights(weights)
    x, mask = rng.standard_normal((3, 12, 2)), rng.random((3, 12)) < 0.6
    states = [np.zeros((3, 4)) for _ in range(2 if kind == "lstm" else 1)]
    found = oracle.run(oracle.Cell(kind, *weights), x, states, mask)
    for start, end in itertools.pairwise([0, 5, 6, 12]):
        used = torch.as_tensor(mask[:, start:end])
        got = layer(torch.as_tensor(x[:, start:end]), mask=used)
        expected = torch.as_tensor(found.outputs[:, start:end])
        torch.testing.assert_close(got[used], expected[used], rtol=1e-10, atol=1e-12)
    for recorded, final in zip(layer.states, found.states, strict=True):
        torch.testing.assert_close(recorded, torch.as_tensor(final), rtol=1e-10, atol=1e-12)


def test_batches_of_a_fit_are_one_long_sequence(made):
    """With a rate of 0, the losses of the pieces are those of the whole."""
    model, (x, y, batches) = model_of(made, rate=0.0), pieces()
    plain = ostinato.Sequential([ostinato.Input((None, 2)), made(return_sequences=True), layers.Dense(1)])
    plain.set_weights(model.get_weights())
    plain.compile("sgd", "mse")
    whole = plain.evaluate(x, y, verbose=0)
    assert model.fit(batches, shuffle=False, verbose=0).history["loss"][0] == pytest.approx(whole, rel=1e-5)
    model.reset_states()
    assert model.evaluate(batches, verbose=0) == pytest.approx(whole, rel=1e-5)
    model.reset_states()
    shown = np.concatenate([model.predict_on_batch(piece) for piece, _ in batches], 1)
    np.testing.assert_allclose(shown, plain.predict(x, verbose=0), rtol=1e-4, atol=1e-6)


def test_gradients_end_where_a_batch_begins(made):
    """Steps of fit are steps in which the states of the batch before are constants."""
    model, (_, _, batches) = model_of(made), pieces()
    twin = made(return_sequences=True, return_state=True)
    dense = layers.Dense(1)
    twin.build((None, None, 2)), dense.build((None, None, 4))
    weights = [*twin.weights, *dense.weights]
    with torch.no_grad():
        for mine, other in zip(weights, model.weights, strict=True):
            mine.copy_(other)
    losses, states = [], None
    for x, y in batches:
        outputs, *finals = twin(x, initial_state=states)
        states = [leaf.detach() for leaf in flatten(finals)]
        loss = (dense(outputs) - y).square().mean()
        grads = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for weight, grad in zip(weights, grads, strict=True):
                weight -= 0.1 * grad
        losses.append(loss.item())
    found = model.fit(batches, shuffle=False, verbose=0).history["loss"][0]
    assert found == pytest.approx(np.mean(losses), rel=1e-5)
    for mine, right in zip(model.weights, weights, strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-4, atol=1e-6)
    for mine, right in zip(flatten(model.layers[0].states), states, strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-4, atol=1e-6)


def test_reset_between_epochs_by_a_callback(made):
    model, (_, _, batches) = model_of(made, rate=0.0), pieces()
    reset = ostinato.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: model.reset_states())
    losses = model.fit(batches, epochs=3, shuffle=False, verbose=0, callbacks=[reset]).history["loss"]
    assert losses == pytest.approx([losses[0]] * 3)
    losses = model.fit(batches, epochs=2, shuffle=False, verbose=0).history["loss"]
    assert abs(losses[0] - losses[1]) > 1e-7  # without it, an epoch goes on from the last


def test_a_train_step_of_ones_own(made):
    class Own(ostinato.Sequential):
        def train_step(self, data):
            x, y = data
            loss = self.compute_loss(x, y, self(x, training=True))
            self.zero_grad()
            loss.backward()
            self.optimizer.apply([weight.grad for weight in self.trainable_weights])
            return {"found": loss}

    model, (_, _, batches) = model_of(made), pieces()
    own = Own([ostinato.Input((None, 2)), made(stateful=True, return_sequences=True), layers.Dense(1)])
    own.set_weights(model.get_weights())
    own.compile(ostinato.optimizers.SGD(0.1), "mse")
    for batch in batches:
        assert own.train_on_batch(*batch) == pytest.approx(model.train_on_batch(*batch), rel=1e-5)
    for mine, right in zip(own.weights, model.weights, strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-4, atol=1e-6)


def test_whatever_runs_moves_the_states(made):
    """As in Keras 2: predict, evaluate and the validation of fit go on from what is recorded, and record."""
    model, (x, y, _) = model_of(made, rate=0.0), pieces(1)
    runs = {
        "call": lambda: model(x),
        "predict": lambda: model.predict(x, verbose=0),
        "predict_on_batch": lambda: model.predict_on_batch(x),
        "evaluate": lambda: model.evaluate(x, y, verbose=0),
        "test_on_batch": lambda: model.test_on_batch(x, y),
        "train_on_batch": lambda: model.train_on_batch(x, y),
        "fit": lambda: model.fit(x, y, batch_size=3, shuffle=False, verbose=0),
    }
    seen = []
    for run in runs.values():
        model.reset_states()
        for _ in range(2):
            run()
        seen.append(flatten(model.get_states()["0"]))
    for each in seen[1:]:
        for mine, right in zip(each, seen[0], strict=True):
            torch.testing.assert_close(mine, right, rtol=1e-5, atol=1e-6)
    model.reset_states()
    model.fit(x, y, batch_size=3, shuffle=False, validation_data=(x, y), verbose=0)  # two passes over x
    for mine, right in zip(flatten(model.get_states()["0"]), seen[0], strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-5, atol=1e-6)


def test_states_that_were_set_before_the_first_batch_are_used(made):
    """fit builds what is not built by a call of its own, which must leave the states alone."""
    built, (x, y, _) = model_of(made, rate=0.0), pieces(1)
    built(x)
    states = built.get_states()
    expected = built.evaluate(x, y, verbose=0)
    fresh = ostinato.Sequential([made(stateful=True, return_sequences=True), layers.Dense(1)])
    fresh.set_states(states)
    fresh.compile(ostinato.optimizers.SGD(0.0), "mse")
    copied = ostinato.callbacks.LambdaCallback(on_train_begin=lambda logs: fresh.set_weights(built.get_weights()))
    found = fresh.fit(x, y, batch_size=3, shuffle=False, verbose=0, callbacks=[copied]).history["loss"]
    assert found == pytest.approx([expected], rel=1e-5)


# -- the batch ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["fit", "evaluate", "predict"])
def test_a_partial_batch_is_refused_before_anything_is_computed(made, run):
    model = model_of(made)
    x, y = tensor(4, 5, 2), tensor(4, 5, 1)
    with pytest.raises(ValueError, match=rf"{run}: .* is stateful, so all batches must have the same size.*\[3, 1\]"):
        getattr(model, run)(*([x] if run == "predict" else [x, y]), batch_size=3, verbose=0)
    assert model.layers[0].states is None


def test_another_batch_is_refused_wherever_it_comes_from(made):
    model = model_of(made)
    x, y = tensor(3, 5, 2), tensor(3, 5, 1)
    model.predict(x, verbose=0)
    before = [leaf.clone() for leaf in flatten(model.layers[0].states)]
    weights = [weight.detach().clone() for weight in model.weights]
    message = r"recorded states are for a batch of 3, got 2\. Call reset_states\(\) or pass batches of 3"
    for run in (
        lambda: model(x[:2]),
        lambda: model.predict(x[:2], verbose=0),
        lambda: model.evaluate(x[:2], y[:2], verbose=0),
        lambda: model.fit(x[:2], y[:2], verbose=0),
        lambda: model.fit(Batches([(x[:2], y[:2])]), verbose=0),
        lambda: model.train_on_batch(x[:2], y[:2]),
    ):
        with pytest.raises(ValueError, match=message):
            run()
    assert all(torch.equal(a, b) for a, b in zip(before, flatten(model.layers[0].states), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(weights, model.weights, strict=True))
    model.reset_states()
    assert model.predict(x[:2], verbose=0).shape == (2, 5, 1)


def test_states_given_in_a_call_may_be_of_another_batch(made):
    layer = made(stateful=True)
    layer(tensor(3, 5, 2))
    states = [tensor(2, *leaf.shape[1:]) for leaf in flatten(layer.states)]
    layer(tensor(2, 5, 2), initial_state=states)
    assert all(leaf.shape[0] == 2 for leaf in flatten(layer.states))


def test_no_rows_and_no_steps(made):
    layer = made(stateful=True)
    assert layer(tensor(0, 5, 2)).shape == (0, 4) and all(len(leaf) == 0 for leaf in flatten(layer.states))
    layer.reset_states()
    layer(tensor(3, 5, 2))
    before = [leaf.clone() for leaf in flatten(layer.states)]
    layer(tensor(3, 0, 2))
    assert all(torch.equal(a, b) for a, b in zip(before, flatten(layer.states), strict=True))


# -- stateful toggled, copies, modes ---------------------------------------------------------------------------------


def test_stateful_is_toggled_at_run_time(made):
    """Off, a layer ignores what it has recorded and keeps it; on again, it goes on from there."""
    layer, x = made(stateful=True), tensor(3, 5, 2)
    begun = layer(x)
    kept = [leaf.clone() for leaf in flatten(layer.states)]
    going_on = copy.deepcopy(layer)(x)
    layer.stateful = False
    assert torch.equal(layer(x), begun) and layer(tensor(5, 2, 2)).shape == (5, 4)
    assert all(torch.equal(a, b) for a, b in zip(kept, flatten(layer.states), strict=True))
    with pytest.raises(ValueError, match="not stateful"):
        layer.reset_states()
    layer.stateful = True
    assert torch.equal(layer(x), going_on)
    assert layer.get_config()["stateful"] is True


def test_stateful_is_toggled_on_a_bidirectional():
    both, x = layers.Bidirectional(layers.GRU(4)), tensor(3, 5, 2)
    begun = both(x)
    both.stateful = True
    assert torch.equal(both(x), begun) and both.states is not None
    assert not torch.allclose(both(x), begun)
    assert both.stateful and both.forward_layer.stateful and both.backward_layer.stateful
    both.stateful = False
    assert torch.equal(both(x), begun)
    with pytest.raises(AttributeError, match="not stateful"):  # as Keras 2 has it
        both.reset_states()


def test_configs_carry_no_states_and_copies_do(made):
    layer = made(stateful=True)
    layer(tensor(3, 5, 2))
    assert type(layer).from_config(layer.get_config()).states is None
    both = layers.Bidirectional(layer)
    assert both.states is None and both.forward_layer.stateful
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        pairs = list(zip(flatten(twin.states), flatten(layer.states), strict=True))
        assert all(torch.equal(a, b) and a.data_ptr() != b.data_ptr() for a, b in pairs)


def test_states_handed_on_end_gradients_and_returned_ones_do_not(made):
    first, second = made(stateful=True, return_state=True), made()
    x = tensor(3, 5, 2)
    _, *returned = first(x)
    second.build((None, None, 2))
    by_states, by_return = second(x, initial_state=first.states), second(x, initial_state=returned)
    assert torch.equal(by_states, by_return)
    weights = first.trainable_weights
    assert all(g is None for g in torch.autograd.grad(by_states.sum(), weights, allow_unused=True))
    assert all(g.ne(0).any() for g in torch.autograd.grad(by_return.sum(), weights))


def test_inference_mode_and_training_take_turns(made):
    model, (x, _, batches) = model_of(made), pieces()
    twin = copy.deepcopy(model)
    with torch.inference_mode():
        model(x[:, :4])
        parked = model.get_states()
    with torch.no_grad():
        twin(x[:, :4])
    model.set_states(parked)
    for batch in batches.batches[1:]:
        assert model.train_on_batch(*batch) == twin.train_on_batch(*batch)
    decoder = made()
    with torch.inference_mode():
        model(x[:, :4])
    decoder(x, initial_state=model.layers[0].states).sum().backward()
    assert all(weight.grad is not None for weight in decoder.trainable_weights)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_states_are_kept_in_the_dtype_of_the_weights(made, dtype):
    """Under autocast too, and whatever they are set from."""
    layer = made(stateful=True) if dtype is torch.float32 else made(stateful=True).to(dtype)
    x = tensor(3, 5, 2).to(dtype)
    if dtype is torch.float32:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            layer(x), layer(x)
    else:
        layer.build((None, None, 2))
        layer.to(dtype)
        layer(x)
    leaves = flatten(layer.states)
    for given in ([leaf.half() for leaf in leaves], [leaf.float().numpy().astype("float64") for leaf in leaves]):
        layer.set_states(given)
        assert {leaf.dtype for leaf in flatten(layer.states)} == {dtype}
        layer(x)
    assert {leaf.dtype for leaf in flatten(layer.states)} == {dtype}


@pytest.fixture
def fresh_compiler():
    """The compiler counts what it compiles by code object, which all layers share."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_layers_go_on_too(made):
    layer = made(stateful=True)
    layer.build((None, None, 2))
    plain = copy.deepcopy(layer)
    compiled = torch.compile(layer, fullgraph=True)
    for seed in range(4):
        x = tensor(3, 5, 2, seed=seed)
        if seed == 3:
            layer.reset_states(rows=[1]), plain.reset_states(rows=[1])
        torch.testing.assert_close(compiled(x), plain(x), rtol=1e-5, atol=1e-6)
    for mine, right in zip(flatten(layer.states), flatten(plain.states), strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("fresh_compiler")
def test_a_fit_that_is_compiled_goes_on_too():
    model, (_, _, batches) = model_of(MADE["GRU"]), pieces()
    fast = copy.deepcopy(model)
    fast.compile(ostinato.optimizers.SGD(0.1), "mse", jit_compile=True)
    for batch in batches:
        assert fast.train_on_batch(*batch) == pytest.approx(model.train_on_batch(*batch), rel=1e-5)
    for mine, right in zip(fast.get_states()["0"], model.get_states()["0"], strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-5, atol=1e-6)
