"""Layers over cells with nests inside `Bidirectional`, models and other layers."""

import numpy as np
import pytest
import torch

import ostinato
from cell_loop import assert_alike, gradients, leaves, rebuilt, run
from cells import DOUBLE, FORMS, Attending, Minimal, Torch, Weave, parts_of, states_of, weave, woven
from ostinato import Input, Model, Sequential, layers
from ostinato.plots import plot_states
from side_by_side import mask_of, tensor

MERGES = {
    "concat": lambda a, b: torch.cat([a, b], -1),
    "sum": lambda a, b: a + b,
    "ave": lambda a, b: (a + b) / 2,
    "mul": lambda a, b: a * b,
}


def both(layer, x, starts, mask=None, merge_mode="concat", **given):
    """What a Bidirectional gives, from a loop over each half's cell: (outputs, final states), by leaf."""
    halves = (layer.forward_layer, layer.backward_layer)
    ran = [
        run(half.cell, x, start, mask, half.go_backwards, zero=True, **given)
        for half, start in zip(halves, starts, strict=True)
    ]
    if layer.return_sequences:
        # Each half in its own processing order; the backward layer's is turned round.
        pairs = [ran[0].outputs, [leaf.flip(1) for leaf in ran[1].outputs]]
    else:
        pairs = [ran[0].last, ran[1].last]
    merge = MERGES.get(merge_mode)
    outputs = pairs[0] + pairs[1] if merge is None else [merge(a, b) for a, b in zip(*pairs, strict=True)]
    return outputs, ran[0].states + ran[1].states


# -- Bidirectional -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("merge_mode", [*MERGES, None])
@pytest.mark.parametrize("form", FORMS)
def test_bidirectional(form, merge_mode):
    """Every merge of nested outputs, masked, from given states in all their forms, with gradients and masks after."""
    for sequences, backwards, name in (
        (True, False, "gaps"),
        (False, False, "a row without steps"),
        (True, True, "left padding"),
    ):
        mask = mask_of(name)
        x, starts = woven(form, mask), (states_of(form), states_of(form, seed=9))
        inner = layers.RNN(
            Weave(form, form, form, dtype="float64"),
            return_sequences=sequences,
            return_state=True,
            go_backwards=backwards,
        )
        layer = layers.Bidirectional(inner, merge_mode=merge_mode)
        found = layer(x, initial_state=starts, mask=mask)
        outputs, states = both(layer, x, starts, mask, merge_mode)
        assert_alike(found, outputs + states)
        assert type(found[0]) is type(x)
        wanted = [*leaves(x), *leaves(starts), *layer.parameters()]
        assert_alike(gradients(leaves(found), wanted), gradients(outputs + states, wanted))
        flat = [*leaves(starts[0]), *leaves(starts[1])]
        assert_alike(layer(x, initial_state=flat, mask=mask), found, tolerance=0)
        drawn = leaves(layer.compute_mask(x, mask)) if sequences else []
        assert len([each for each in drawn if each is not None]) == len(outputs) * sequences
        hung = [getattr(leaf, "_keras_mask", None) for leaf in leaves(found)]
        assert [each is not None for each in hung] == [sequences] * len(outputs) + [False] * 4
        after = mask.flip(1) if backwards else mask  # in the order of the outputs
        assert all(torch.equal(each, after) for each in hung if each is not None)


@pytest.mark.parametrize("form", FORMS)
def test_bidirectional_streams(form):
    """Two stateful calls are two calls with the states handed on; states have their form, and can be parked."""
    layer = layers.Bidirectional(
        layers.RNN(Weave(form, form, form, dtype="float64"), stateful=True, return_sequences=True)
    )
    x, y, mask = woven(form), woven(form, seed=3), mask_of("gaps")
    first = layer(x, mask=mask)
    zeros = rebuilt(states_of(form), [torch.zeros_like(leaf) for leaf in leaves(states_of(form))])
    outputs, states = both(layer, x, (zeros, zeros), mask)
    assert_alike(first, outputs)
    assert_alike(layer.states, states)
    starts = [rebuilt(zeros, states[:2]), rebuilt(zeros, states[2:])]
    parked = layer.get_states()
    second, _ = both(layer, y, starts, mask)
    assert_alike(layer(y, mask=mask), second)
    layer.set_states(parked)
    assert_alike(layer(y, mask=mask), second)
    layer.reset_states(rows=[1])
    layer.reset_states()
    assert layer.states is None
    assert_alike(layer(x, mask=mask), first)
    layer.reset_states(starts)
    assert_alike(layer(y, mask=mask), second)


def test_a_given_backward_layer_with_other_nests():
    """A half with nested outputs beside one of another class with as many; states split by what each carries."""
    options = {"return_sequences": True, "return_state": True}
    forward = layers.RNN(Weave("list", "dict", "tuple", dtype="float64"), **options)
    backward = layers.RNN(Weave("list", "list", "list", dtype="float64"), go_backwards=True, **options)
    layer = layers.Bidirectional(forward, backward_layer=backward, merge_mode="sum")
    x, starts, mask = woven("list"), (states_of("dict"), states_of("list", seed=9)), mask_of("gaps")
    found = layer(x, initial_state=starts, mask=mask)
    outputs, states = both(layer, x, starts, mask, "sum")
    assert_alike(found, outputs + states)
    assert type(found[0]) is tuple and type(found[1]) is dict and len(found) == 4


def test_constants_reach_both_halves():
    layer = layers.Bidirectional(layers.RNN(Attending(3, dtype="float64"), return_sequences=True))
    x, constant, mask = tensor(3, 5, 4, dtype=DOUBLE), tensor(1, 2, dtype=DOUBLE).expand(3, 2), mask_of("gaps")
    found = layer(x, mask=mask, constants=[constant], training=True)
    start = [torch.zeros(3, 3, dtype=DOUBLE)]
    outputs, _ = both(layer, x, (start, start), mask, constants=[constant[:1]], training=True)
    assert_alike(found, outputs)


@pytest.mark.parametrize(
    ("merge_mode", "message"),
    [
        ("concat", r"needs outputs of one size, the last axis aside, got .* and 3"),
        ("sum", "needs outputs of one size, got"),
    ],
)
def test_halves_whose_outputs_cannot_be_merged(merge_mode, message):
    backward = layers.RNN(Minimal(3), go_backwards=True)
    with pytest.raises(ValueError, match=message):
        layers.Bidirectional(layers.RNN(Weave()), backward_layer=backward, merge_mode=merge_mode)


def test_bidirectional_states_in_a_dict_are_refused():
    layer = layers.Bidirectional(layers.RNN(Minimal(3)))
    with pytest.raises(ValueError, match=r"Pass them in one list, the forward half's first"):
        layer(torch.zeros(2, 4, 5), initial_state={"forward": torch.zeros(2, 3), "backward": torch.zeros(2, 3)})


def test_plain_torch_cells_go_both_ways():
    """A torch module has no config: the halves are copies, with weights of their own."""
    layer = layers.Bidirectional(layers.RNN(Torch(4, 3, dtype=DOUBLE), return_sequences=True))
    x, mask = tensor(3, 5, 4, dtype=DOUBLE), mask_of("gaps")
    found = layer(x, mask=mask)
    start = [torch.zeros(3, 3, dtype=DOUBLE)] * 2
    assert_alike(found, both(layer, x, (start, start), mask)[0])
    assert layer.dtype is DOUBLE
    assert layer.backward_layer.go_backwards and not layer.forward_layer.go_backwards
    first, second = (half.cell.inner.weight_ih for half in (layer.forward_layer, layer.backward_layer))
    assert first is not second and not torch.equal(first, second)
    assert len(list(layer.parameters())) == 8


# -- drawn models --------------------------------------------------------------------------------------------------


def inputs_for(form):
    return FORMS[form](Input((None, 6), name="vector"), Input((None, 3, 2), name="matrix"))


@pytest.mark.parametrize("form", FORMS)
def test_a_drawn_encoder_and_decoder(form):
    """States go from one layer to the other as nests, masks past them; values and gradients are those of the loops."""
    encoder, decoder = weave(form, form, form), weave(form, form, form)
    question, answer = inputs_for(form), inputs_for(form)
    one, other = parts_of(form, question)
    masked = FORMS[form](layers.Masking(0.0)(one), other)
    _, *states = layers.RNN(encoder, return_state=True)(masked)
    output = layers.RNN(decoder, return_sequences=True)(answer, initial_state=states)
    model = Model([question, answer], output)
    mask = mask_of("gaps")
    x, y = woven(form), woven(form, seed=4)
    with torch.no_grad():
        parts_of(form, x)[0][~mask] = 0.0
        parts_of(form, x)[1][~mask] = float("nan")
    found = model([x, y])
    zeros = rebuilt(states_of(form), [torch.zeros_like(leaf) for leaf in leaves(states_of(form))])
    first = run(encoder, x, zeros, mask)
    right = run(decoder, y, rebuilt(zeros, first.states)).outputs
    assert_alike(found, right)
    wanted = [*leaves(y), *encoder.parameters(), *decoder.parameters()]
    assert_alike(gradients(leaves(found), wanted), gradients(right, wanted))
    assert [symbol.shape for symbol in parts_of(form, output)] == [(None, None, 5), (None, None, 4, 2)]


@pytest.mark.parametrize("form", FORMS)
def test_drawn_initial_states(form):
    """Symbolic states in a nest, or flat, are inputs like others; shapes that do not fit are refused when drawing."""
    cell, x, start = weave(form, form, form), woven(form), states_of(form)
    drawn, states = inputs_for(form), FORMS[form](Input((3,)), Input((2, 4)))
    layer = layers.RNN(cell, return_state=True)
    right = run(cell, x, start).final
    for given in (states, leaves(states)):
        model = Model([*leaves(drawn), *leaves(states)], layer(drawn, initial_state=given))
        assert_alike(model([*leaves(x), *leaves(start)]), right)
    with pytest.raises(ValueError, match="initial_state must be"):
        layer(drawn, initial_state=FORMS[form](Input((3,)), Input((2, 5))))


@pytest.mark.parametrize("form", ["list", "tuple", "dict", "deep"])
def test_fit_predict_and_summary(form, capsys):
    """Several nested outputs each have their loss; training goes down the very gradient of the loop."""
    cell = Weave(form, form, form)
    drawn = inputs_for(form)
    model = Model(drawn, layers.RNN(cell)(drawn))
    model.compile(optimizer=ostinato.optimizers.SGD(0.5), loss="mse")
    model.summary()
    assert str(model.count_params()) in capsys.readouterr().out
    x = rebuilt(woven(form), [leaf.detach().float() for leaf in leaves(woven(form))])
    targets = rebuilt(
        x,
        [tensor(3, 5, seed=8), tensor(3, 4, 2, seed=9)]
        if form != "dict"
        else [tensor(3, 4, 2, seed=9), tensor(3, 5, seed=8)],
    )
    weights = list(cell.parameters())
    zeros = rebuilt(states_of(form), [torch.zeros_like(leaf).float() for leaf in leaves(states_of(form))])
    last = run(cell, x, zeros).last
    loss = sum(((a - b) ** 2).mean() for a, b in zip(last, leaves(targets), strict=True))
    expected = [w.detach() - 0.5 * g for w, g in zip(weights, torch.autograd.grad(loss, weights), strict=True)]
    arrays = [rebuilt(nest, [leaf.numpy() for leaf in leaves(nest)]) for nest in (x, targets)]
    history = model.fit(*arrays, batch_size=3, shuffle=False, verbose=0)
    assert history.history["loss"][0] == pytest.approx(loss.item(), rel=1e-5)
    assert_alike([w.detach() for w in weights], expected, tolerance=1e-5)
    predicted = model.predict(arrays[0], verbose=0)
    assert_alike(
        [torch.from_numpy(leaf) for leaf in leaves(predicted)],
        [leaf.detach() for leaf in run(cell, x, zeros).last],
        1e-5,
    )


def test_layers_in_a_cell_are_built_when_a_model_is_drawn():
    class Outer(layers.Layer):
        state_size = 3

        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.inside = layers.Dense(3)

        def call(self, inputs, states):
            h = torch.tanh(self.inside(inputs) + states[0])
            return h, [h]

    for made in (lambda: layers.RNN(Outer()), lambda: layers.RNN([Outer(), layers.GRUCell(2), Outer()])):
        drawn = Input((None, 5))
        model = Model(drawn, made()(drawn))
        count = len(model.get_weights())
        assert count in (2, 7)
        model(torch.zeros(2, 4, 5))
        assert len(model.get_weights()) == count
    drawn = Input((None, 5))
    both_ways = Model(drawn, layers.Bidirectional(layers.RNN(Outer()))(drawn))
    assert len(both_ways.get_weights()) == 4


def test_a_stream_through_a_drawn_model_is_parked_and_forgotten():
    drawn = inputs_for("dict")
    hidden = layers.RNN(Weave("dict", "dict", "dict", dtype="float64"), stateful=True, return_sequences=True)(drawn)
    model = Model(
        drawn,
        layers.Bidirectional(layers.RNN(Weave("dict", "named", "list", dtype="float64"), stateful=True))(
            {"z": hidden["z"], "a": hidden["a"]}
        ),
    )
    x = woven("dict")
    first = model(x)
    parked = model.get_states()
    second = model(x)
    assert not torch.allclose(first[0], second[0])
    model.set_states(parked)
    assert_alike(model(x), second)
    model.reset_states()
    assert_alike(model(x), first)


# -- around and inside other layers --------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_in_a_sequential_and_step_by_step(form):
    """A nest may enter a Sequential; what passes from layer to layer there is one tensor."""

    class Single(Weave):
        def call(self, inputs, states):
            output, new = super().call(inputs, states)
            return parts_of(form, output)[0], new

    first, second = Single(form, form, form, dtype="float64"), layers.GRUCell(2, dtype="float64")
    first.output_size = 5
    model = Sequential([layers.RNN(first, return_sequences=True), layers.RNN(second)])
    x, mask = woven(form), mask_of("gaps")
    found = model(x, mask=mask)
    zeros = rebuilt(states_of(form), [torch.zeros_like(leaf) for leaf in leaves(states_of(form))])
    start = [torch.zeros(3, 2, dtype=DOUBLE)]
    assert_alike(found, run(second, run(first, x, zeros, mask).outputs[0], start, mask).last)
    state, plain = None, run(second, run(first, x, zeros).outputs[0], start).last
    for t in range(5):
        output, state = model.step(rebuilt(x, [leaf[:, t] for leaf in leaves(x)]), state)
    assert_alike(output, plain)


@pytest.mark.parametrize("form", FORMS)
def test_time_distributed_around_it(form):
    cell = weave(form, form, form)
    films = [woven(form, seed=seed) for seed in (0, 4)]
    x = rebuilt(films[0], [torch.stack(pair, 1) for pair in zip(*[leaves(film) for film in films], strict=True)])
    found = layers.TimeDistributed(layers.RNN(cell))(x)
    zeros = rebuilt(states_of(form), [torch.zeros_like(leaf) for leaf in leaves(states_of(form))])
    for number, film in enumerate(films):
        assert_alike([leaf[:, number] for leaf in leaves(found)], run(cell, film, zeros).last)


def test_explain_and_plot_states():
    layer, x = layers.RNN(weave("dict", "dict", "dict")), woven("dict")
    assert "keras_cell float64" in ostinato.explain(layer, x)
    shown = plot_states(layer, x, state=1, sample=2).axes[0].images[0].get_array()
    cell, states = layer.cell, []
    start = {"z": torch.zeros(1, 3, dtype=DOUBLE), "a": torch.zeros(1, 2, 4, dtype=DOUBLE)}
    for t in range(5):
        _, start = cell({key: leaf[2:3, t] for key, leaf in x.items()}, start)
        states.append(start["z"][0].detach())
    np.testing.assert_allclose(shown, torch.stack(states, 1), rtol=1e-6)
