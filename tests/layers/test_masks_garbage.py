"""What stands in masked steps changes no bit of outputs, states, loss, metrics or any gradient, in whole models."""

import pytest
import torch

import ostinato
from masked_models import GARBAGE, MASK, SEQUENCES, VECTORS, Flagged, filled
from ostinato import layers
from ostinato.recurrence.nests import flatten
from side_by_side import tensor


class Absolute(ostinato.metrics.Metric):
    """As written for Keras: it knows no mask, and gets it as sample weights."""

    def __init__(self):
        super().__init__(name="absolute")
        self.total = self.add_variable(shape=(), initializer="zeros", name="total")

    def update_state(self, y_true, y_pred, sample_weight=None):
        values = (y_true - y_pred).abs().mean(-1)
        self.total.assign(self.total + (values if sample_weight is None else values * sample_weight).sum())

    def result(self):
        return self.total


def squared(y_true, y_pred):
    """A loss of one's own, of which the library knows nothing."""
    return (y_true - y_pred).square().mean(-1)


LOSSES = {
    "mse": ("mse", ["mae", "mse", "cosine_similarity"]),
    "huber": ("huber", [ostinato.metrics.RootMeanSquaredError]),
    "own": (squared, [squared, Absolute]),
}


def trained(table, name, loss, garbage, mask=MASK):
    """All that comes of training in which masked steps, and targets there, hold a value: floats and tensors."""
    ostinato.utils.set_random_seed(5)
    model = ostinato.Sequential([Flagged(mask, garbage), *table[name]()])
    outputs = model(tensor(5, 5, 3), training=False)
    used = getattr(outputs, "_keras_mask", None)
    targets = tensor(*outputs.shape, seed=1)
    kept = [outputs if used is None else outputs[used]]
    targets = targets if used is None else filled(targets, used, garbage)
    function, metrics = LOSSES[loss]
    metrics = [metric() if isinstance(metric, type) else metric for metric in metrics]
    model.compile(ostinato.optimizers.Adam(0.1), function, metrics=metrics)
    logs = model.fit(tensor(5, 5, 3), targets, batch_size=5, epochs=2, verbose=0, seed=7, shuffle=False).history
    numbers = model.evaluate(tensor(5, 5, 3), targets, batch_size=5, verbose=0)
    return logs, numbers, [*kept, *model.weights]


def same(first, second):
    assert first[:2] == second[:2]
    assert all(torch.equal(a, b) for a, b in zip(first[2], second[2], strict=True))
    assert all(weight.isfinite().all() for weight in second[2])


@pytest.mark.parametrize("name", SEQUENCES)
def test_training_on_sequences(name):
    clean = trained(SEQUENCES, name, "mse", 0.0)
    for garbage in GARBAGE:
        same(clean, trained(SEQUENCES, name, "mse", garbage))


@pytest.mark.parametrize("name", VECTORS)
def test_training_on_vectors(name):
    clean = trained(VECTORS, name, "mse", 0.0)
    for garbage in GARBAGE:
        same(clean, trained(VECTORS, name, "mse", garbage))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["LSTM", "Dense", "LayerNormalization", "concat", "TimeDistributed"])
def test_losses_and_metrics(name, loss):
    clean = trained(SEQUENCES, name, loss, 0.0)
    for garbage in GARBAGE:
        same(clean, trained(SEQUENCES, name, loss, garbage))


def test_nothing_is_used_at_all():
    nothing = torch.zeros(5, 5, dtype=torch.bool)
    clean = trained(SEQUENCES, "LSTM", "mse", 0.0, nothing)
    assert clean[0]["loss"] == [0.0, 0.0]
    for garbage in GARBAGE:
        same(clean, trained(SEQUENCES, "LSTM", "mse", garbage, nothing))


# -- gradients of inputs and states --------------------------------------------------------------------------------


def derivatives(layer, garbage, states=(), mask=MASK):
    """(outputs at used steps and final states, gradients of the input, of initial states and of weights)."""
    x = filled(tensor(5, 5, 3), mask, garbage).requires_grad_()
    starts = [state.clone().requires_grad_() for state in states]
    outputs = flatten(layer(x, mask=mask, **({"initial_state": starts} if starts else {})))
    shown = [out for out in outputs if out.dim() == 2]
    for out in outputs:
        if out.dim() == 3:
            shown.append(out[out._keras_mask])
    total = sum((out * tensor(*out.shape, seed=i)).sum() for i, out in enumerate(shown))
    return [*shown, *torch.autograd.grad(total, [x, *starts, *layer.trainable_weights])]


RECURRENT = {
    "SimpleRNN": lambda **options: layers.SimpleRNN(4, **options),
    "GRU": lambda **options: layers.GRU(4, **options),
    "LSTM": lambda **options: layers.LSTM(4, **options),
    "stacked": lambda **options: layers.RNN([layers.LSTMCell(3), layers.GRUCell(4)], **options),
    "both ways": lambda **options: layers.Bidirectional(layers.LSTM(4, **options)),
    "both ways, mul": lambda **options: layers.Bidirectional(layers.GRU(4, **options), merge_mode="mul"),
    "both halves": lambda **options: layers.Bidirectional(layers.GRU(4, **options), merge_mode=None),
}
OPTIONS = {
    "sequences": {"return_sequences": True},
    "states": {"return_state": True},
    "both": {"return_sequences": True, "return_state": True},
    "backwards": {"return_sequences": True, "go_backwards": True, "return_state": True},
    "unrolled, backwards": {"return_sequences": True, "go_backwards": True, "unroll": True},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", RECURRENT)
@pytest.mark.parametrize("with_states", [False, True])
def test_gradients_of_inputs_states_and_weights(name, options, with_states):
    layer = RECURRENT[name](**OPTIONS[options])
    layer.build((None, None, 3))
    halves = [layer.forward_layer, layer.backward_layer] if isinstance(layer, layers.Bidirectional) else [layer]
    sizes = [size for half in halves for size in half._sizes] if with_states else []
    states = [tensor(5, *size, seed=10 + i) for i, size in enumerate(sizes)]
    clean = derivatives(layer, 0.0, states)
    for garbage in GARBAGE:
        found = derivatives(layer, garbage, states)
        for got, right in zip(found, clean, strict=True):
            assert torch.equal(got, right)


@pytest.mark.parametrize("garbage", GARBAGE)
def test_the_row_of_padding_in_a_table(garbage):
    """Row 0 of an Embedding is an ordinary row; under mask_zero what stands in it reaches nothing."""
    ids = torch.tensor([[1, 2, 0, 3], [0, 0, 0, 0], [0, 4, 0, 1]])
    model = ostinato.Sequential(
        [layers.Embedding(5, 3, mask_zero=True), layers.Dense(3, "relu"), layers.GRU(4, return_sequences=True)]
    )
    model(ids)
    table = model.layers[0].embeddings
    found = []
    for value in (0.0, garbage):
        with torch.no_grad():
            table[0] = value
        outputs = model(ids)
        grads = torch.autograd.grad(outputs[ids != 0].square().sum(), model.trainable_weights)
        assert grads[0][0].eq(0).all()
        found.append([outputs, *grads])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("activation", [None, "exponential", "softmax", "gelu", "hard_silu", "squareplus", torch.exp])
def test_dense_and_activation_on_raw_data(activation, garbage):
    """An explicit mask on a Dense layer: NaN in a masked step was NaN in every gradient of the kernel."""
    made = [
        layers.Dense(4, activation),
        layers.Activation(activation),
        layers.TimeDistributed(layers.Dense(4, activation)),
    ]
    for layer in made:
        layer(tensor(5, 5, 3))
        found = [derivatives(layer, value) for value in (0.0, garbage)]
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True)), layer


def test_dense_maps_finite_padding_as_keras_does():
    """Only what is not finite, or beyond all use, counts as 0: the outputs of masked steps are Keras's."""
    layer = layers.Dense(4, "tanh")
    x = filled(tensor(5, 5, 3), MASK, -999.0)
    assert torch.equal(layer(x, mask=MASK), layer(x))
    with pytest.raises(
        ValueError, match=r"Dense 'dense.*mask must have the shape of its input's leading axes \(5, 5\)"
    ):
        layer(x, mask=MASK[:, :4])
