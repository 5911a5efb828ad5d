"""`torch.func` over recurrent layers and models of them: values against loops over samples, weights and entries."""

import copy

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import (
    functional_call,
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    linearize,
    stack_module_state,
    vjp,
    vmap,
)
from torch.fx.experimental.proxy_tensor import make_fx

import ostinato
from ostinato import Sequential, layers
from ostinato.recurrence.nests import flatten
from recurrent import LAYERS, MAKE, assert_close, directions, gradients, inputs, made, mask_for, total, weights_of

every = pytest.mark.parametrize("what", MAKE)
some = pytest.mark.parametrize("what", ["LSTM", "GRU", "SimpleRNN", "stacked", "Bidirectional", "functional"])


def rows_of(leaf):
    return [leaf[row : row + 1] for row in range(len(leaf))]


# == Derivatives ======================================================================================================


@every
def test_grad_and_vjp_are_those_of_autograd(what):
    layer, x = made(what), inputs(what)
    weights = weights_of(layer)

    def loss(weights, x):
        return total(functional_call(layer, weights, (x,)))

    outputs, (slope, *slopes) = gradients(layer, x)
    (by_weights, by_x), value = grad_and_value(loss, argnums=(0, 1))(weights, x)
    assert_close(value, total(outputs))
    assert_close([by_x, *by_weights.values()], [slope, *slopes])
    assert list(by_weights) == [name for name, _ in layer.named_parameters()]
    value, pull = vjp(loss, weights, x)
    by_weights, by_x = pull(torch.tensor(-2.0, dtype=torch.float64))
    assert_close([by_x, *by_weights.values()], [-2 * slope, *(-2 * each for each in slopes)])


@every
@pytest.mark.parametrize("masked", [False, True])
def test_jvp_agrees_with_the_gradient(what, masked):
    layer, x = made(what), inputs(what)
    given = {"mask": mask_for()} if masked else {}
    weights = weights_of(layer)
    names, values = list(weights), list(weights.values())

    def loss(x, *values):
        return total(functional_call(layer, dict(zip(names, values, strict=True)), (x,), given))

    direction = directions([x, *values])
    _, found = jvp(loss, (x, *values), tuple(direction))
    _, slopes = gradients(layer, x, **given)
    assert_close(found, sum((s * d).sum() for s, d in zip(slopes, direction, strict=True)))


@some
def test_jacobians_row_by_row(what):
    layer, x = made(what), inputs(what, time=3)

    def run(x):
        return flatten(layer(x))[0]

    leaf = x.clone().requires_grad_()
    y = run(leaf)
    units = torch.eye(y.numel(), dtype=torch.float64)
    rows = [torch.autograd.grad(y, leaf, unit.reshape(y.shape), retain_graph=True)[0] for unit in units]
    wanted = torch.stack(rows).reshape(*y.shape, *x.shape)
    for found in (jacrev(run)(x), jacfwd(run)(x), jacrev(run, chunk_size=2)(x), jacfwd(run, randomness="same")(x)):
        assert_close(found, wanted)


@some
def test_hessians_column_by_column(what):
    layer, x = made(what), inputs(what, time=2)
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(total(layer(leaf)), leaf, create_graph=True)
    rows = [torch.autograd.grad(each, leaf, retain_graph=True)[0] for each in slope.flatten()]
    wanted = torch.stack(rows).reshape(*x.shape, *x.shape)

    def loss(x):
        return total(layer(x))

    for found in (hessian(loss)(x), jacrev(jacrev(loss))(x), jacrev(grad(loss))(x)):
        assert_close(found, wanted)


@pytest.mark.parametrize("what", ["LSTM", "GRU", "Bidirectional"])
def test_products_with_the_hessian_by_weights(what):
    layer, x = made(what), inputs(what, time=3)
    weights = weights_of(layer)
    direction = dict(zip(weights, directions(weights.values()), strict=True))

    def loss(weights):
        return total(functional_call(layer, weights, (x,)))

    _, found = jvp(grad(loss), (weights,), (direction,))
    leaves = list(layer.parameters())
    slopes = torch.autograd.grad(total(layer(x)), leaves, create_graph=True)
    wanted = torch.autograd.grad(slopes, leaves, list(direction.values()))
    assert_close(list(found.values()), list(wanted))


@every
@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node:UserWarning")  # torch, of its own graph
def test_linearize_gives_the_tangents_of_jvp(what):
    layer = made(what)
    x, vector = inputs(what, time=3), inputs(what, time=3, seed=1)
    weights = weights_of(layer)  # torch's tracer takes plain tensors, and no subclasses

    def run(x):
        return flatten(functional_call(layer, weights, (x,)))

    values, push = linearize(run, x)
    assert_close([values, push(vector)], list(jvp(run, (x,), (vector,))))


@pytest.mark.parametrize("given", [{"mask": mask_for()}, {"lengths": torch.tensor([5, 2])}], ids=["mask", "lengths"])
@pytest.mark.parametrize("what", ["LSTM", "GRU", "Bidirectional", "stacked"])
def test_tracers_see_the_operators_and_fake_tensors_shapes(what, given):
    layer, x = made(what), inputs(what)
    weights = weights_of(layer)
    traced = make_fx(lambda weights, x: functional_call(layer, weights, (x,), given))(weights, x)
    other = inputs(what, seed=1)
    assert_close(traced(weights, other), layer(other, **given))
    seen = {str(node.target).split(".")[1] for node in traced.graph.nodes if "ostinato" in str(node.target)}
    assert seen == {"stacked": {"lstm", "gru"}}.get(what, {what.lower() if what != "Bidirectional" else "lstm"})
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = {name: mode.from_tensor(value) for name, value in given.items()}
        found = flatten(layer(mode.from_tensor(x), **fake))
    assert [leaf.shape for leaf in found] == [leaf.shape for leaf in flatten(layer(x, **given))]


# == vmap =============================================================================================================


@every
def test_vmap_over_samples_is_the_batch(what):
    layer, x = made(what), inputs(what, batch=3)
    found = flatten(vmap(lambda row: layer(row[None]))(x))
    for mine, right in zip(found, flatten(layer(x)), strict=True):
        assert_close(mine[:, 0], right)
    turned = flatten(vmap(lambda row: layer(row[None]), in_dims=2, out_dims=1)(x.movedim(0, 2)))
    for mine, right in zip(turned, flatten(layer(x)), strict=True):
        assert_close(mine[0], right)


@pytest.mark.parametrize("what", LAYERS)
def test_vmap_over_samples_and_their_masks(what):
    layer, x, mask = made(what), inputs(what, batch=3), mask_for(3)
    found = flatten(vmap(lambda row, used: layer(row[None], mask=used[None]))(x, mask))
    for mine, right in zip(found, flatten(layer(x, mask=mask)), strict=True):
        assert_close(mine[:, 0], right)


@pytest.mark.parametrize("what", LAYERS)
def test_vmap_over_masks_alone_and_over_lengths_alone(what):
    layer, x = made(what), inputs(what)
    masks = torch.stack([mask_for(seed=seed) for seed in range(4)])
    found = vmap(lambda mask: total(layer(x, mask=mask)))(masks)
    assert_close(found, torch.stack([total(layer(x, mask=mask)) for mask in masks]))
    lengths = torch.tensor([[5, 0], [1, 2], [4, 5]])
    found = vmap(lambda each: total(layer(x, lengths=each)))(lengths)
    assert_close(found, torch.stack([total(layer(x, lengths=each)) for each in lengths]))


@pytest.mark.parametrize("what", ["LSTM", "GRU", "SimpleRNN", "Bidirectional"])
def test_vmap_over_initial_states(what):
    layer, x = made(what), inputs(what)
    count = {"LSTM": 2, "Bidirectional": 4}.get(what, 1)
    states = [torch.randn(5, 2, 3, dtype=torch.float64) for _ in range(count)]
    found = vmap(lambda *states: total(layer(x, initial_state=list(states))))(*states)
    assert_close(found, torch.stack([total(layer(x, initial_state=list(each))) for each in zip(*states, strict=True)]))


@every
def test_an_ensemble_is_a_loop_over_its_members(what):
    members, x = [made(what, seed=seed) for seed in range(3)], inputs(what)
    weights, buffers = stack_module_state(members)
    bare = copy.deepcopy(members[0]).to("meta")  # only its shape is of use
    run = lambda weights, buffers, x: total(functional_call(bare, (weights, buffers), (x,)))  # noqa: E731
    wanted = torch.stack([total(member(x)) for member in members])
    assert_close(vmap(run, (0, 0, None))(weights, buffers, x), wanted)
    apart = torch.stack([inputs(what, seed=seed) for seed in range(3)])  # a batch for each
    found = vmap(grad(run), (0, 0, 0))(weights, buffers, apart)
    for number, (member, each) in enumerate(zip(members, apart, strict=True)):
        assert_close([slope[number] for slope in found.values()], gradients(member, each)[1][1:])
    plain = {name: value.detach() for name, value in weights.items()}
    nested = vmap(vmap(run, (0, 0, None)), (None, None, 0))(plain, buffers, apart)
    assert_close(nested, torch.stack([torch.stack([total(member(each)) for member in members]) for each in apart]))


@every
def test_gradients_for_each_sample(what):
    layer, x = made(what), inputs(what, batch=3)
    weights = weights_of(layer)

    def loss(weights, row):
        return total(functional_call(layer, weights, (row[None],)))

    found = vmap(grad(loss), (None, 0))(weights, x)
    for number, row in enumerate(rows_of(x)):
        assert_close([slope[number] for slope in found.values()], gradients(layer, row)[1][1:])


def test_gradients_for_each_sample_of_words():
    model = Sequential(
        [layers.Embedding(9, 3, mask_zero=True, dtype="float64"), layers.GRU(3, dtype="float64")],
    )
    words = torch.tensor([[1, 2, 0, 0], [0, 3, 0, 8], [4, 0, 0, 0]])
    model(words)
    weights = weights_of(model)
    found = vmap(grad(lambda weights, row: total(functional_call(model, weights, (row[None],)))), (None, 0))(
        weights, words
    )
    for number, row in enumerate(rows_of(words)):
        wanted = torch.autograd.grad(total(model(row)), list(model.parameters()))
        assert_close([slope[number] for slope in found.values()], list(wanted))


# == Dropout under transforms =========================================================================================

DROPOUTS = [{"dropout": 0.5}, {"recurrent_dropout": 0.5}, {"dropout": 0.3, "recurrent_dropout": 0.3}]


def seeded(kind, options, seed=3):
    layer = getattr(layers, kind)(8, dtype="float64", seed=seed, **options)
    layer.build((None, None, 4))
    return layer


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("options", DROPOUTS, ids=str)
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_randomness_of_vmap(kind, options, seed):
    layer, x = seeded(kind, options, seed), inputs("LSTM", batch=1).expand(4, -1, -1)

    def run(randomness):
        return vmap(lambda row: layer(row[None], training=True)[0], randomness=randomness)(x)

    same = run("same")
    assert_close(same, same[:1].expand(4, -1))
    apart = run("different")
    assert all(not torch.allclose(apart[i], apart[j]) for i in range(4) for j in range(i))
    assert not torch.allclose(run("same")[0], same[0])  # each call draws anew
    with pytest.raises(RuntimeError, match="randomness error mode"):
        run("error")
    assert_close(vmap(lambda row: layer(row[None], training=False)[0])(x), layer(x, training=False))


@pytest.mark.parametrize("options", DROPOUTS, ids=str)
def test_transforms_draw_what_a_plain_call_draws(options):
    layer, twin, x = seeded("LSTM", options), seeded("LSTM", options), inputs("LSTM")
    twin.set_weights(layer.get_weights())
    wanted = gradients(layer, x, training=True)[1][0]
    assert_close(grad(lambda x: total(twin(x, training=True)))(x), wanted)
    assert layer.cell._stream.counter == twin.cell._stream.counter > 0
    found = vmap(lambda _: twin(x, training=True), randomness="same")(torch.zeros(2))
    right = layer(x, training=True)
    assert_close(found, torch.stack([right, right]))


@pytest.mark.parametrize(
    "layer", [layers.Dropout(0.5), layers.GaussianNoise(0.5), layers.SpatialDropout1D(0.5)], ids=str
)
def test_randomness_of_vmap_in_other_layers(layer):
    x = torch.ones(3, 2, 5, 16)
    apart = vmap(lambda row: layer(row, training=True), randomness="different")(x)
    assert all(not torch.equal(apart[i], apart[j]) for i in range(3) for j in range(i))
    same = vmap(lambda row: layer(row, training=True), randomness="same")(x)
    assert torch.equal(same, same[:1].expand(3, -1, -1, -1))


# == Layers that record something =====================================================================================

TRANSFORMS = {
    "grad": lambda run, x: grad(lambda x: total(run(x)))(x),
    "jvp": lambda run, x: jvp(run, (x,), (x,)),
    "jacfwd": lambda run, x: jacfwd(run)(x),
    "jacrev": lambda run, x: jacrev(run)(x),
    "hessian": lambda run, x: hessian(lambda x: total(run(x)))(x),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_what_a_stateful_layer_records_outlives_a_transform(kind, transform):
    layer = getattr(layers, kind)(3, stateful=True, dtype="float64")
    x = inputs("LSTM", time=2)
    layer(x)
    wanted = [layer(x).detach(), *layer.get_states()]
    layer.reset_states()
    layer(x)
    TRANSFORMS[transform](layer, x)
    found = layer.get_states()
    assert_close(found, wanted[1:], atol=1e-12)
    assert all(type(leaf) is torch.Tensor and not leaf.requires_grad for leaf in found)
    assert_close(torch.as_tensor(np.asarray(found[0])), wanted[1])  # no tensor of the transform's
    layer.reset_states()
    layer(x)
    assert_close(layer(x), wanted[0])


@pytest.mark.parametrize("over", ["samples", "weights"])
def test_a_stateful_layer_under_vmap_is_refused_and_unharmed(over):
    layer = layers.GRU(3, stateful=True, dtype="float64", name="mine")
    x = inputs("LSTM")
    layer(x)
    before = layer.get_states()
    with pytest.raises(ValueError, match=r"GRU 'mine': stateful=True records states.*vmap.*stateful=False"):
        if over == "samples":
            vmap(layer)(x[None])
        else:
            weights = {name: torch.stack([each, each]) for name, each in weights_of(layer).items()}
            vmap(lambda weights: functional_call(layer, weights, (x,)))(weights)
    assert_close(layer.get_states(), before)
    layer.stateful = False
    assert_close(vmap(layer)(x[None])[0], layer(x))


def test_losses_added_under_a_transform():
    model = Sequential([layers.GRU(3, dtype="float64", activity_regularizer="l2")])
    x = inputs("LSTM")
    model(x)
    found = grad(lambda weights: functional_call(model, weights, (x,)).sum() + 100 * sum(model.losses))(
        weights_of(model)
    )
    wanted = torch.autograd.grad(model(x).sum() + 100 * sum(model.losses), list(model.parameters()))
    assert_close(list(found.values()), list(wanted))


# == What cannot be ===================================================================================================


@pytest.mark.parametrize("transform", [lambda f, x: grad(lambda x: f(x).sum())(x), lambda f, x: vmap(f)(x[None])])
def test_an_engine_by_name_says_that_it_cannot_be_transformed(transform):
    layer = made("GRU")
    with (
        ostinato.use_engine("aten"),
        pytest.raises(ValueError, match=r"engine 'aten' refuses gru float64.*opaque to torch.func.*'reference'"),
    ):
        transform(layer, inputs("GRU"))


@pytest.mark.parametrize("what", LAYERS)
@pytest.mark.parametrize("transform", [lambda f, x: grad(lambda x: total(f(x)))(x), lambda f, x: vmap(f)(x[None])])
def test_the_first_call_of_a_layer_may_be_inside_a_transform(what, transform):
    layer, twin, x = MAKE[what](dtype="float64"), MAKE[what](dtype="float64"), inputs(what)
    found = transform(layer, x)
    assert all(torch.is_tensor(weight) and weight.requires_grad and weight.is_leaf for weight in layer.parameters())
    twin(x)
    twin.set_weights(layer.get_weights())
    assert_close(list(gradients(layer, x)), list(gradients(twin, x)))
    assert_close(found, transform(twin, x))
