"""Derivatives of every order through recurrent layers, by autograd: against differences, whoever serves the first ones.

A first backward may be an engine's own; one that is differentiated in turn is that of the loop.
"""

import pytest
import torch
from torch.autograd import forward_ad

import ostinato
from ostinato import Sequential, layers
from ostinato.engines.select import observe
from ostinato.recurrence.nests import flatten
from recurrent import BY_LOOP, LAYERS, MAKE, MODELS, assert_close, directions, gradients, inputs, made, mask_for, total

every = pytest.mark.parametrize("what", MAKE)
STEP = 1e-5


def moves(what, tensors, seed=7):
    """A direction for input and weights, in which no step becomes one that `Masking` takes for another kind."""
    first, *rest = directions(tensors, seed)
    return [first * (tensors[0] != 0).any(-1, keepdim=True) if what in MODELS else first, *rest]


def leaves(layer, x):
    """What is differentiated by: input and parameters."""
    return [x.requires_grad_(), *layer.parameters()]


def first(layer, x, **kwargs):
    """Gradients of a number, to be differentiated in turn."""
    wanted = leaves(layer, x)
    return torch.autograd.grad(total(layer(x, **kwargs)), wanted, create_graph=True)


def along(tensors, direction, amount):
    """Move tensors in place."""
    with torch.no_grad():
        for tensor, each in zip(tensors, direction, strict=True):
            tensor.add_(amount * each)


def differences(function, tensors, direction):
    """(f(x + s v) - f(x - s v)) / 2 s, tensor by tensor."""
    along(tensors, direction, STEP)
    after = function()
    along(tensors, direction, -2 * STEP)
    before = function()
    along(tensors, direction, STEP)
    return [(a - b).detach() / (2 * STEP) for a, b in zip(after, before, strict=True)]


def product(layer, x, direction, create_graph=False, **kwargs):
    """The Hessian times a vector, by reverse over reverse."""
    found = first(layer, x, **kwargs)
    inner = sum((g * d).sum() for g, d in zip(found, direction, strict=True))
    return torch.autograd.grad(inner, leaves(layer, x), create_graph=create_graph)


# == Second and third derivatives =====================================================================================


@every
@pytest.mark.parametrize("masked", [False, True])
def test_second_derivatives_are_differences_of_the_first_ones(what, masked):
    layer, x = made(what), inputs(what)
    given = {"mask": mask_for()} if masked else {}
    tensors = leaves(layer, x)
    direction = moves(what, tensors)
    with observe() as choices:
        found = product(layer, x, direction, **given)
    # Who runs forwards gives no second backward: but for what is the loop's anyway, it must have been another one.
    assert all((choice.engine == "reference") == (what in BY_LOOP) for choice in choices) and choices
    wanted = differences(lambda: gradients(layer, x, **given)[1], tensors, direction)
    assert all(each.abs().max() > 1e-3 for each in wanted)
    assert_close(found, wanted, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("what", ["LSTM", "GRU", "SimpleRNN", "stacked", "Bidirectional", "ConvLSTM2D", "functional"])
def test_third_derivatives_are_differences_of_the_second_ones(what):
    layer, x = made(what), inputs(what, time=3)
    tensors = leaves(layer, x)
    one, other = moves(what, tensors, seed=1), moves(what, tensors, seed=2)
    second = product(layer, x, one, create_graph=True)
    inner = sum((g * d).sum() for g, d in zip(second, other, strict=True))
    found = torch.autograd.grad(inner, tensors)
    wanted = differences(lambda: product(layer, x, one), tensors, other)
    assert_close(found, wanted, atol=1e-5, rtol=1e-6)


@every
@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_first_derivatives_are_the_same_with_and_without_a_graph_of_their_own(what, engine):
    layer, x = made(what), inputs(what)
    with ostinato.use_engine(engine):
        assert_close(first(layer, x), gradients(layer, x)[1], atol=1e-12)


@pytest.mark.parametrize("what", ["LSTM", "GRU", "stacked", "Bidirectional"])
def test_second_derivatives_by_initial_states(what):
    layer, x = made(what), inputs(what)
    sizes = {"LSTM": [3, 3], "GRU": [3], "stacked": [3, 3, 2], "Bidirectional": [3] * 4}[what]
    states = [torch.randn(2, size, dtype=torch.float64, requires_grad=True) for size in sizes]
    assert torch.autograd.gradgradcheck(lambda *states: total(layer(x, initial_state=list(states))), states)


def test_a_layer_whose_states_feed_another_is_differentiated_twice():
    encoder = layers.LSTM(3, return_state=True, dtype="float64")
    decoder = layers.LSTM(3, return_sequences=True, dtype="float64")
    x, y = (torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))

    def run(x, y):
        _, *states = encoder(x)
        return decoder(y, initial_state=states)

    run(x, y)
    assert torch.autograd.gradgradcheck(run, (x, y))


# == Losses made of gradients =========================================================================================


def penalised(critic, real, fake, optimizer):
    """A step of a critic with a gradient penalty (Gulrajani et al., 2017, arXiv:1704.00028); returns its loss."""
    shares = torch.linspace(0.1, 0.9, real.shape[0], dtype=torch.float64).reshape(-1, 1, 1)
    between = (shares * real + (1 - shares) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    penalty = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
    loss = critic(fake).mean() - critic(real).mean() + 10 * penalty
    if optimizer is not None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss


CRITICS = {
    "LSTM": lambda: [layers.LSTM(3, dtype="float64")],
    "GRU": lambda: [layers.GRU(3, dtype="float64", return_sequences=True), layers.SimpleRNN(3, dtype="float64")],
    "Bidirectional": lambda: [layers.Bidirectional(layers.LSTM(2, dtype="float64"))],
    "Masking": lambda: [layers.Masking(dtype="float64"), layers.RNN([layers.LSTMCell(3, dtype="float64")])],
}


def ours(parameters):
    optimizer = ostinato.optimizers.RMSprop(0.01)
    optimizer.build(parameters)
    return optimizer


@pytest.mark.parametrize("optimizer", [lambda p: torch.optim.Adam(p, lr=0.01), ours], ids=["torch's", "ours"])
@pytest.mark.parametrize("what", CRITICS)
def test_a_critic_with_a_gradient_penalty_learns_as_the_loop_does(what, optimizer):
    critic = Sequential([*CRITICS[what](), layers.Dense(1, dtype="float64")])
    real, fake = inputs("LSTM", batch=4), inputs("LSTM", batch=4, seed=1)
    critic(real)
    start, ends = critic.get_weights(), []
    for engine in ("auto", "reference"):
        critic.set_weights(start)
        steps = optimizer(critic.parameters())
        with ostinato.use_engine(engine):
            losses = [penalised(critic, real, fake, steps).item() for _ in range(6)]
        ends.append((losses, critic.get_weights()))
        assert losses[-1] < losses[0]
    for mine, right in zip([ends[0][0], *ends[0][1]], [ends[1][0], *ends[1][1]], strict=True):
        assert_close(torch.as_tensor(mine), torch.as_tensor(right), atol=1e-9)


def test_the_gradient_of_a_penalty_is_that_of_differences():
    critic = Sequential([layers.LSTM(3, dtype="float64"), layers.Dense(1, dtype="float64")])
    real, fake = inputs("LSTM", batch=4), inputs("LSTM", batch=4, seed=1)
    critic(real)
    weights = list(critic.parameters())
    found = torch.autograd.grad(penalised(critic, real, fake, None), weights)
    for weight, slope in zip(weights, found, strict=True):
        (direction,) = directions([weight])
        (wanted,) = differences(lambda: [penalised(critic, real, fake, None)], [weight], [direction])
        assert_close((slope * direction).sum(), wanted, atol=1e-6)


@every
def test_newton_steps_by_products_with_the_hessian(what):
    """torch.autograd.functional's products are those of reverse over reverse."""
    layer, x = made(what), inputs(what)
    (vector,) = directions([x])
    function = lambda x: total(layer(x))  # noqa: E731
    _, forward_over = torch.autograd.functional.hvp(function, x, vector)
    _, reverse_over = torch.autograd.functional.vhp(function, x, vector)
    (wanted,) = torch.autograd.grad((first(layer, x)[0] * vector).sum(), x)
    assert_close([forward_over, reverse_over], [wanted, wanted])


@pytest.mark.parametrize("what", ["LSTM", "GRU", "Bidirectional", "functional"])
@pytest.mark.parametrize("options", [{}, {"vectorize": True}, {"vectorize": True, "strategy": "forward-mode"}], ids=str)
def test_jacobians_of_torch_autograd_functional(what, options):
    layer, x = made(what), inputs(what, time=3)
    outputs = lambda x: layer(x)[0] if what == "LSTM" else layer(x)  # noqa: E731
    found = torch.autograd.functional.jacobian(outputs, x, **options)
    y = outputs(x.requires_grad_())
    rows = [torch.autograd.grad(y, x, g.reshape(y.shape), retain_graph=True)[0] for g in torch.eye(y.numel()).double()]
    assert_close(found, torch.stack(rows).reshape(*y.shape, *x.shape))


@pytest.mark.parametrize("what", ["LSTM", "GRU", "SimpleRNN", "stacked", "Bidirectional", "functional"])
def test_many_gradients_at_once(what):
    """`is_grads_batched`, of first and of second derivatives: vmap over a backward."""
    layer, x = made(what), inputs(what, time=3).requires_grad_()
    (slope,) = torch.autograd.grad(total(layer(x)), x, create_graph=True)
    rows = torch.eye(x.numel(), dtype=torch.float64).reshape(-1, *x.shape)
    (found,) = torch.autograd.grad(slope, x, rows, is_grads_batched=True, retain_graph=True)
    assert_close(found, torch.stack([torch.autograd.grad(slope, x, row, retain_graph=True)[0] for row in rows]))
    y = total(layer(x))
    (found,) = torch.autograd.grad(y, x, torch.tensor([1.0, -2.0]).double(), is_grads_batched=True)
    assert_close(found, torch.stack([slope, -2 * slope]))


# == Forward mode =====================================================================================================


@every
@pytest.mark.parametrize("masked", [False, True])
def test_tangents_are_differences(what, masked):
    layer, x = made(what), inputs(what)
    given = {"mask": mask_for()} if masked else {}
    names = [name for name, _ in layer.named_parameters()]
    tensors = [x, *(weight.detach() for weight in layer.parameters())]
    direction = moves(what, tensors)
    with forward_ad.dual_level():
        dual, *weights = (forward_ad.make_dual(t, d) for t, d in zip(tensors, direction, strict=True))
        outputs = torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (dual,), given)
        found = [forward_ad.unpack_dual(y).tangent for y in flatten(outputs)]
    with torch.no_grad():
        wanted = differences(lambda: flatten(layer(x, **given)), tensors, direction)
    assert_close(found, wanted, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("what", LAYERS)
def test_forward_over_reverse(what):
    layer, x = made(what), inputs(what)
    (vector,) = directions([x])
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x.requires_grad_(), vector)
        (slope,) = torch.autograd.grad(total(layer(dual)), dual, create_graph=True)
        found = forward_ad.unpack_dual(slope).tangent
    (wanted,) = torch.autograd.grad((first(layer, x)[0] * vector).sum(), x)
    assert_close(found, wanted)


def test_a_tangent_of_a_state_reaches_the_outputs():
    layer, x = made("GRU"), inputs("GRU")
    h, vector = torch.randn(2, 3).double(), torch.randn(2, 3).double()
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(layer(x, initial_state=forward_ad.make_dual(h, vector))).tangent
    wanted = differences(lambda: [layer(x, initial_state=h)], [h], [vector])
    assert_close([found], wanted, atol=1e-8)
