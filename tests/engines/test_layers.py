"""Through the layers: which engine each recurrence gets, what is said of it, and gradients that are the oracle's."""

import numpy as np
import pytest
import torch

import oracle
from opaque import OpaqueEngine
from ostinato import layers
from ostinato.engines import select
from ostinato.engines.reference import REFERENCE
from ostinato.layers.explain import explain
from problems import close

LAYERS = {
    "simple_rnn": (layers.SimpleRNN, layers.SimpleRNNCell),
    "gru": (layers.GRU, layers.GRUCell),
    "lstm": (layers.LSTM, layers.LSTMCell),
}
MASK = torch.tensor([[False, True, True, False, True], [True, True, False, False, False]])


@pytest.fixture
def opaque(monkeypatch):
    engine = OpaqueEngine()
    monkeypatch.setattr(select, "ENGINES", (engine, REFERENCE))
    return engine


def inputs(features=3):
    return torch.randn(2, 5, features, dtype=torch.float64, requires_grad=True)


def oracle_of(cell):
    kind = next(kind for kind, (_, cls) in LAYERS.items() if isinstance(cell, cls))
    return oracle.Cell(kind, *(w.detach().numpy() for w in (cell.kernel, cell.recurrent_kernel, cell.bias)))


def by_oracle(cell, x, mask=None, go_backwards=False):
    cell = oracle_of(cell)
    states = [np.zeros((x.shape[0], cell.units)) for _ in range(cell.states)]
    mask = None if mask is None else mask.numpy()
    return cell, states, oracle.run(cell, x.detach().numpy(), states, mask, go_backwards)


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("mask", [None, MASK], ids=["no mask", "mask"])
@pytest.mark.parametrize("wrapped", [False, True], ids=["layer", "RNN(cell)"])
@pytest.mark.parametrize("kind", LAYERS)
def test_an_engine_listed_first_is_what_a_layer_runs_on(opaque, kind, wrapped, mask, go_backwards):
    whole, cell = LAYERS[kind]
    options = {"return_sequences": True, "return_state": True, "go_backwards": go_backwards, "dtype": "float64"}
    layer = layers.RNN(cell(4, dtype="float64"), **options) if wrapped else whole(4, **options)
    x = inputs()
    outputs, *states = layer(x, mask=mask)
    assert [each.recurrence.name for each in opaque.ran] == [kind]
    assert opaque.ran[0].owner == layer.name
    by_hand, zeros, wanted = by_oracle(layer.cell, x, mask, go_backwards)
    close([outputs, *states], [torch.tensor(a) for a in (wanted.outputs, *wanted.states)])
    draw = np.random.default_rng(0)
    d_outputs, d_states = draw.normal(size=(2, 5, 4)), [draw.normal(size=(2, 4)) for _ in zeros]
    torch.autograd.backward([outputs, *states], [torch.tensor(d) for d in (d_outputs, *d_states)])
    found = oracle.gradients(
        by_hand, wanted, x.detach().numpy(), zeros, d_outputs, np.zeros((2, 4)), d_states, go_backwards
    )
    gradients = [x.grad, *(w.grad for w in layer.trainable_weights)]
    close(gradients, [torch.tensor(a) for a in (found.inputs, found.kernel, found.recurrent_kernel, found.bias)])


def test_the_halves_of_a_bidirectional_run_on_it(opaque):
    layer = layers.Bidirectional(layers.LSTM(4, return_sequences=True, dtype="float64"), dtype="float64")
    x = inputs()
    found = layer(x, mask=MASK)
    assert [each.recurrence.name for each in opaque.ran] == ["lstm", "lstm"]
    forward = by_oracle(layer.forward_layer.cell, x, MASK)[2].outputs
    backward = by_oracle(layer.backward_layer.cell, x, MASK, True)[2].outputs[:, ::-1]
    wanted = np.concatenate([forward, backward], -1) * MASK.numpy()[..., None]
    close([found], [torch.tensor(wanted)])


def test_stacked_cells_each_get_an_engine_of_their_own(monkeypatch):
    grus, lstms = OpaqueEngine("grus", ["gru"]), OpaqueEngine("lstms", ["lstm"])
    monkeypatch.setattr(select, "ENGINES", (grus, lstms, REFERENCE))
    cells = [layers.LSTMCell(4, dtype="float64"), layers.SimpleRNNCell(3, dtype="float64")]
    cells += [layers.GRUCell(2, dtype="float64")]
    layer = layers.RNN(cells, dtype="float64")
    x = inputs()
    found = layer(x, mask=MASK)
    assert [each.recurrence.name for each in lstms.ran] == ["lstm"]
    assert [each.recurrence.name for each in grus.ran] == ["gru"]
    sequence = x.detach().numpy()
    for cell in cells:
        result = by_oracle(cell, torch.tensor(sequence), MASK)[2]
        sequence = result.outputs
    close([found], [torch.tensor(result.last)])


class MyLSTMCell(layers.LSTMCell):
    """A built-in cell with a call of its own, which is what must run."""

    def call(self, inputs, states, training=False):
        output, states = super().call(inputs, states, training)
        return 2 * output, states


def test_a_cell_with_a_call_of_its_own_is_stepped_by_the_loop(opaque):
    layer = layers.RNN(MyLSTMCell(4, dtype="float64"), dtype="float64")
    x = inputs()
    found = layer(x)
    assert opaque.ran == []
    close([found], [2 * torch.tensor(by_oracle(layer.cell, x)[2].last)])
    assert "keras_cell" in explain(layer, x)


# -- explain ----------------------------------------------------------------------------------------------------------


def test_explain_names_the_engine_and_the_reasons(monkeypatch):
    monkeypatch.setattr(select, "ENGINES", (OpaqueEngine("grus", ["gru"]), REFERENCE))
    layer = layers.LSTM(4, name="encoder")
    x = torch.zeros(2, 5, 3)
    assert explain(layer, x) == (
        "encoder: lstm float32 on cpu, with gradients: engine 'reference'\n  'grus' refuses: takes gru"
    )
    with torch.no_grad():
        assert explain(layer, x, mask=torch.ones(2, 5, dtype=torch.bool)).splitlines()[0] == (
            "encoder: lstm float32 on cpu, lengths, inference: engine 'reference'"
        )


def test_explain_tells_each_recurrence_once(monkeypatch):
    monkeypatch.setattr(select, "ENGINES", (OpaqueEngine("grus", ["gru"]), REFERENCE))
    model = torch.nn.Sequential(
        layers.Bidirectional(layers.GRU(4, return_sequences=True, name="middle")), layers.LSTM(2, name="top")
    )
    with torch.no_grad():
        lines = explain(model, torch.zeros(2, 5, 3)).splitlines()
    assert lines == [
        "forward_middle: gru float32 on cpu, inference: engine 'grus'",
        "  'grus' is the first in order: no faster engine is registered",
        "backward_middle: gru float32 on cpu, reverse, inference: engine 'grus'",
        "  'grus' is the first in order: no faster engine is registered",
        "top: lstm float32 on cpu, inference: engine 'reference'",
        "  'grus' refuses: takes gru",
    ]


def test_explain_leaves_recorded_states_as_they_were():
    layer = layers.LSTM(4, stateful=True)
    x = torch.randn(2, 5, 3)
    with torch.no_grad():
        layer(x)
        before = [h.clone() for h in layer.states]
        explain(layer, x)
    assert all(torch.equal(a, b) for a, b in zip(layer.states, before, strict=True))


def test_explain_of_what_has_no_recurrence():
    assert explain(torch.nn.Linear(3, 2), torch.zeros(1, 3)) == "Linear: no recurrence ran."


# -- results of a layer are its own -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LAYERS)
def test_what_is_done_to_an_output_in_place_reaches_no_state(kind):
    layer = LAYERS[kind][0](4, return_state=True, stateful=True)
    with torch.no_grad():
        output, *states = layer(torch.randn(2, 5, 3))
        before = [h.clone() for h in (*states, *layer.states)]
        output.zero_()
        assert all(torch.equal(a, b) for a, b in zip((*states, *layer.states), before, strict=True))
        states[0].zero_()
        assert all(torch.equal(a, b) for a, b in zip(layer.states, before[len(states) :], strict=True))


def test_states_that_are_set_are_copied():
    layer, h = layers.GRU(4, stateful=True), torch.ones(2, 4)
    layer.reset_states(h)
    h.zero_()
    assert layer.states[0].sum() == 8


# -- torch.func over a layer ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LAYERS)
def test_gradients_for_each_sample_by_vmap_over_grad(opaque, kind):
    layer = LAYERS[kind][0](3, dtype="float64")
    x = inputs().detach()
    layer.build((None, None, 3))
    weights = {name: w.detach() for name, w in layer.named_parameters()}

    def loss(weights, sample):
        return torch.func.functional_call(layer, weights, (sample[None],)).sum()

    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, x)
    assert opaque.ran == []
    cell = oracle_of(layer.cell)
    for sample in range(2):
        one = x[sample : sample + 1].numpy()
        states = [np.zeros((1, 3)) for _ in range(cell.states)]
        result = oracle.run(cell, one, states)
        wanted = oracle.gradients(cell, result, one, states, np.zeros((1, 5, 3)), np.ones((1, 3)), states)
        gradients = [found[f"cell.{name}"][sample] for name in ("kernel", "recurrent_kernel", "bias")]
        close(gradients, [torch.tensor(a) for a in (wanted.kernel, wanted.recurrent_kernel, wanted.bias)])
