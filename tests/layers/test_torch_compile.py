"""`torch.compile` of recurrent layers and models: one graph, with its operators, and the numbers of the eager call."""

import pytest
import torch

import ostinato
from cells import Minimal
from graphs import Seen
from ostinato import Input, Model, Sequential, layers
from ostinato.recurrence.nests import flatten
from recurrent import LAYERS, MAKE, assert_close, inputs, made, mask_for

every = pytest.mark.parametrize("what", MAKE)
OPERATORS = {
    "LSTM": ["lstm"],
    "GRU": ["gru"],
    "GRU, reset before": ["gru"],
    "SimpleRNN": ["simple_rnn"],
    "one's own cell": [],
    "stacked": ["lstm", "gru"],
    "Bidirectional": ["lstm", "lstm"],
    "Bidirectional of a stack": ["gru", "simple_rnn"] * 2,
    "ConvLSTM2D": [],
    "Sequential": ["gru", "lstm"],
    "functional": ["gru", "gru", "lstm"],
}
"""What is in the graph of each; the others are compiled as the loop, which is written out for a number of steps."""
SIZES = [(5, 7), (6, 9), (11, 13), (8, 10)]
"""Batch and time; no two sizes in a graph are the same number, which the compiler would take for one size."""


@pytest.fixture(autouse=True)
def _forget_compiled():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def compiled(layer, **options):
    """A layer compiled whole, and what the compiler made of it."""
    seen = Seen()
    return torch.compile(layer, backend=seen, fullgraph=True, **options), seen


def assert_alike(layer, fast, x, **kwargs):
    """Outputs and gradients of the compiled layer are those of the layer."""
    found = []
    for each in (layer, fast):
        x = x.detach().clone().requires_grad_(x.is_floating_point())
        outputs = flatten(each(x, **kwargs))
        wanted = [t for t in (x, *layer.parameters()) if t.requires_grad]
        loss = sum((y**3).sum() + y.sum() for y in outputs)
        found.append([*outputs, *torch.autograd.grad(loss, wanted)])
    assert_close(found[1], found[0], atol=1e-11)


# == One graph ========================================================================================================


@every
def test_one_graph_for_all_sizes(what):
    layer = made(what)
    fast, seen = compiled(layer, dynamic=True)
    sizes = SIZES if OPERATORS[what] else [(batch, 3) for batch, _ in SIZES]
    for batch, time in sizes:
        x = inputs(what, batch, time)
        if what in LAYERS:
            assert_alike(layer, fast, x, mask=mask_for(batch, time))
        else:
            assert_alike(layer, fast, x)
    assert len(seen.graphs) == 1
    assert seen.operators == OPERATORS[what]


@pytest.mark.parametrize("what", ["LSTM", "stacked", "functional"])
def test_sizes_that_turn_out_to_vary_take_a_second_graph(what):
    layer = made(what)
    fast, seen = compiled(layer)
    for batch, time in [*SIZES, *SIZES]:
        assert_alike(layer, fast, inputs(what, batch, time))
    assert len(seen.graphs) == 2


@pytest.mark.parametrize("what", ["GRU", "Bidirectional", "Sequential", "one's own cell", "ConvLSTM2D"])
def test_a_backward_that_is_compiled_too(what):
    layer = made(what)
    fast = torch.compile(layer, backend="aot_eager", fullgraph=True)
    x = inputs(what, 5, 3)
    assert_alike(layer, fast, x)
    with torch.no_grad():
        assert_close(fast(x), layer(x))
    assert_close(fast(x, training=False), layer(x))


def test_by_inductor():
    """The whole way once, with the code that the compiler writes."""
    model = Sequential([layers.Masking(), layers.GRU(3), layers.Dense(2, activation="softmax")])
    x = inputs("LSTM", 5, 7, torch.float32)
    model(x)
    found, wanted = torch.compile(model, fullgraph=True)(x), model(x)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
    slopes = [torch.autograd.grad((y**2).sum(), list(model.parameters())) for y in (found, wanted)]
    torch.testing.assert_close(*slopes, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("model", [False, True])
def test_layers_of_one_structure_share_a_graph(model):
    seen = Seen()
    for seed in range(12):  # the compiler gives up on the ninth graph of a function
        layer = made("Sequential" if model else "LSTM", seed=seed)
        x = inputs("LSTM", 5, 7)
        assert_close(torch.compile(layer, backend=seen, fullgraph=True)(x), layer(x))
    assert len(seen.graphs) == 1


def test_modes_and_gradients_have_graphs_of_their_own_and_no_more():
    layer, x = made("GRU").eval(), inputs("GRU", 5, 7)
    fast, seen = compiled(layer)
    for _ in range(3):
        fast(x, training=True)
        fast(x, training=False)
        with torch.no_grad():
            fast(x)
        layer.train()
        fast(x)
        layer.eval()
        fast(x)
        layer(x)  # a call outside changes nothing
    assert len(seen.graphs) <= 5


# == Options ==========================================================================================================

LENGTHS = torch.tensor([7, 0, 3, 5, 1])
CALLS = {
    "lengths": ("LSTM", {}, {"lengths": LENGTHS}),
    "lengths, backwards": ("GRU", {"go_backwards": True, "return_sequences": True}, {"lengths": LENGTHS}),
    "zeros at masked steps": (
        "GRU",
        {"zero_output_for_mask": True, "return_sequences": True, "return_state": True},
        {"mask": mask_for(5, 7)},
    ),
    "initial states": ("LSTM", {"return_state": True}, {"initial_state": [torch.ones(5, 3).double()] * 2}),
    "one initial state": ("GRU", {}, {"initial_state": torch.ones(5, 3).double(), "mask": mask_for(5, 7)}),
    "unrolled": ("SimpleRNN", {"unroll": True}, {}),
    "not by cuDNN": ("GRU", {"use_cudnn": False}, {}),
    "no bias": ("LSTM", {"use_bias": False, "return_state": True}, {}),
    "other activations": ("LSTM", {"activation": "relu", "recurrent_activation": "hard_sigmoid"}, {}),
    "a function of one's own": ("GRU", {"activation": torch.sin}, {"mask": mask_for(5, 7)}),
}


@pytest.mark.parametrize(("kind", "options", "kwargs"), CALLS.values(), ids=CALLS.keys())
def test_options_and_arguments(kind, options, kwargs):
    layer = getattr(layers, kind)(3, dtype="float64", **options)
    x = inputs("LSTM", 5, 7)
    layer(x)
    fast, seen = compiled(layer)
    assert_alike(layer, fast, x, **kwargs)
    assert len(seen.graphs) == 1
    assert len(seen.operators) == (options.get("activation") is not torch.sin)


def test_time_first():
    layer = layers.LSTM(3, time_major=True, return_sequences=True, dtype="float64")
    x = inputs("LSTM", 5, 7).transpose(0, 1)
    layer(x)
    assert_alike(layer, compiled(layer)[0], x, mask=mask_for(5, 7).T)


def test_cudnn_that_cannot_be_had_is_told_by_compiled_code_too():
    layer = layers.LSTM(3, use_cudnn=True, activation="relu")
    layer.build((None, None, 4))
    fast, _ = compiled(layer)
    with pytest.raises(ValueError, match="use_cudnn=True asks for"):
        fast(torch.randn(5, 7, 4))


def test_constants_and_nests():
    class Shifting(Minimal):
        def call(self, inputs, states, constants):
            output, new = super().call(inputs["x"], states)
            return {"y": output + constants[0]}, new

        def build(self, shape):
            super().build(shape["x"])

    layer = layers.RNN(Shifting(3, dtype="float64"), return_sequences=True)
    x, shift = {"x": inputs("LSTM", 5, 7)}, torch.ones(5, 3).double()
    wanted = layer(x, constants=[shift])
    fast, seen = compiled(layer)
    assert_close(fast(x, constants=[shift]), wanted)
    assert len(seen.graphs) == 1


# == State from call to call ==========================================================================================


@pytest.mark.parametrize("backend", ["seen", "aot_eager"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_stateful_layer_over_several_calls(wrapped, backend):
    def make():
        inner = layers.LSTM(3, stateful=True, return_sequences=True, dtype="float64")
        return layers.Bidirectional(inner) if wrapped else inner

    layer, twin = make(), make()
    parts = [inputs("LSTM", 5, 7, seed=seed) for seed in range(4)]
    for each in (layer, twin):
        each(parts[0])
        each.reset_states()
    twin.set_weights(layer.get_weights())
    seen = Seen()
    fast = torch.compile(twin, backend=seen if backend == "seen" else backend, fullgraph=True)
    for _ in range(2):
        for x in parts:
            assert_close(fast(x), layer(x))
            assert_close(twin.get_states(), layer.get_states())
            assert not any(state.requires_grad for state in twin.states)
        layer.reset_states()
        twin.reset_states()
    assert len(seen.graphs) <= 2  # with states and without


def test_backward_through_each_call_of_a_stateful_layer():
    layer, twin = (layers.GRU(3, stateful=True, dtype="float64") for _ in range(2))
    for each in (layer, twin):
        each.build((5, 7, 4))
    twin.set_weights(layer.get_weights())
    fast = torch.compile(twin, backend="aot_eager", fullgraph=True)
    for seed in range(3):
        x = inputs("LSTM", 5, 7, seed=seed)
        for each in (layer, fast):
            each(x).square().sum().backward()
        assert_close([p.grad for p in twin.parameters()], [p.grad for p in layer.parameters()])


@pytest.mark.parametrize("seed", [None, 11])
def test_dropout_draws_what_it_draws_outside(seed):
    options = {"dropout": 0.4, "recurrent_dropout": 0.3, "seed": seed, "dtype": "float64"}
    model = Sequential(
        [layers.LSTM(3, return_sequences=True, **options), layers.Dropout(0.5), layers.GRU(3, **options)]
    )
    x = inputs("LSTM", 5, 7)
    model.build(x.shape)
    fast, seen = compiled(model)

    def three(call):
        ostinato.utils.set_random_seed(5)
        for layer in model.layers:
            stream = getattr(getattr(layer, "cell", layer), "_stream", None)
            if seed is not None and stream is not ostinato.random.DEFAULT:
                stream.counter = 0
        return [call(x, training=True) for _ in range(3)]

    found, wanted = three(fast), three(model)
    assert_close(found, wanted)
    assert not torch.allclose(found[0], found[1]) and not torch.allclose(found[1], found[2])
    assert len(seen.graphs) == 1
    assert_close(fast(x, training=False), model(x, training=False))


def test_losses_that_layers_add():
    class Adding(layers.Layer):
        def call(self, inputs, training=False):
            if training:
                self.add_loss(inputs.mean())
            return inputs

    model = Sequential([layers.GRU(3, activity_regularizer="l2", kernel_regularizer="l1"), Adding()])
    other, x = layers.LSTM(2), torch.randn(5, 7, 4)
    model.build(x.shape)
    fast, seen = compiled(model)
    for _ in range(4):
        other(x)  # which counts as a call
        fast(x, training=True)
        found = [loss.detach() for loss in model.losses]
        slopes = torch.autograd.grad(sum(model.losses), list(model.parameters()), allow_unused=True)
        model(x, training=True)
        wanted = torch.autograd.grad(sum(model.losses), list(model.parameters()), allow_unused=True)
        assert len(found) == 3
        torch.testing.assert_close([found, slopes], [[loss.detach() for loss in model.losses], wanted])
    fast(x, training=False)
    assert len(model.losses) == 2
    assert len(seen.graphs) == 2


# == Models around and inside =========================================================================================


def test_an_encoder_and_a_decoder():
    x, y = Input((None, 4)), Input((None, 2))
    _, *states = layers.LSTM(3, return_state=True)(layers.Masking()(x))
    h = layers.LSTM(3, return_sequences=True)(y, initial_state=states)
    model = Model([x, y], layers.Dense(2)(layers.Attention()([h, h])))
    fast, seen = compiled(model, dynamic=True)
    for batch, time in SIZES[:3]:
        given = [inputs("LSTM", batch, time, torch.float32), torch.randn(batch, time + 6, 2)]
        torch.testing.assert_close(fast(given), model(given), atol=1e-6, rtol=1e-5)
    assert len(seen.graphs) == 1 and seen.operators == ["lstm", "lstm"]


def test_a_compiled_layer_in_a_model_gets_its_mask_and_hands_it_on():
    plain = [layers.Masking(), layers.GRU(3, return_sequences=True), layers.LSTM(2)]
    model = Sequential(plain)
    x = inputs("LSTM", 5, 7, torch.float32)
    wanted = model(x)
    seen = Seen()
    mixed = torch.nn.ModuleList([plain[0], torch.compile(plain[1], backend=seen, fullgraph=True), plain[2]])
    again = Sequential(list(mixed))
    torch.testing.assert_close(again(x), wanted, atol=1e-6, rtol=1e-5)
    assert seen.operators == ["gru"]


def test_a_function_around_a_training_step():
    model = Sequential([layers.Bidirectional(layers.GRU(3, dtype="float64")), layers.Dense(1, dtype="float64")])
    x, y = inputs("LSTM", 5, 7), torch.randn(5, 1).double()
    model.build(x.shape)
    start, ends = model.get_weights(), []

    def loss_of(x, y):
        return torch.nn.functional.mse_loss(model(x, training=True), y)

    for function in (loss_of, torch.compile(loss_of, backend="aot_eager", fullgraph=True)):
        model.set_weights(start)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        losses = []
        for _ in range(5):
            optimizer.zero_grad()
            loss = function(x, y)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        ends.append([*losses, *(weight.detach().clone() for weight in model.parameters())])
    assert ends[0][4] < ends[0][0]
    assert_close(ends[1], ends[0])
