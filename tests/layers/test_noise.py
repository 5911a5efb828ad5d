"""SpatialDropout1D and GaussianNoise: what is drawn, when, and from which seed. Dropout has a file of its own."""

import copy

import keras
import pytest
import torch

import ostinato
from ostinato import layers
from ostinato.random import Stream, dropout_mask, normal_noise
from side_by_side import tensor

NOISY = {
    "SpatialDropout1D": lambda **options: layers.SpatialDropout1D(0.5, **options),
    "GaussianNoise": lambda **options: layers.GaussianNoise(0.5, **options),
}


@pytest.mark.parametrize("sizes", [(1, 1, 1), (4, 7, 3), (2, 1, 50), (0, 3, 2), (2, 0, 2)])
def test_spatial_dropout_by_hand(sizes):
    x = tensor(*sizes)
    mask = dropout_mask((sizes[0], 1, sizes[2]), 0.3, x, Stream(11))
    assert torch.equal(layers.SpatialDropout1D(0.3, seed=11)(x, training=True), x * mask)


def test_spatial_dropout_drops_whole_features_as_often_as_it_says():
    y = layers.SpatialDropout1D(0.3, seed=3)(torch.ones(200, 6, 50), training=True)
    assert torch.equal(y, y[:, :1].expand_as(y))
    assert y.unique().tolist() == [0.0, pytest.approx(1 / 0.7)]
    assert abs(y[:, 0].eq(0).double().mean().item() - 0.3) < 0.015


@pytest.mark.parametrize("sizes", [(1,), (4, 7, 3), (0, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_gaussian_noise_by_hand(sizes, dtype):
    x = tensor(*sizes).to(dtype)
    y = layers.GaussianNoise(0.25, seed=11)(x, training=True)
    assert y.dtype is dtype and torch.equal(y, x + normal_noise(sizes, 0.25, x, Stream(11)))


def test_gaussian_noise_has_the_mean_and_deviation_it_says():
    noise = layers.GaussianNoise(0.25, seed=3)(torch.zeros(200, 500), training=True)
    assert abs(noise.mean().item()) < 0.003 and abs(noise.std().item() - 0.25) < 0.003


def test_gaussian_noise_makes_whole_numbers_floats():
    y = layers.GaussianNoise(0.25)(torch.arange(5), training=True)
    assert y.dtype is torch.float32 and (y - torch.arange(5)).abs().max() < 2


@pytest.mark.parametrize("name", NOISY)
def test_inference_gives_the_input_and_draws_nothing(name):
    layer, x = NOISY[name](seed=1), tensor(2, 3, 4)
    first = layer(x, training=True)
    again = NOISY[name](seed=1)
    assert torch.equal(again(x, training=False), x)
    assert torch.equal(again(x, training=True), first)


@pytest.mark.parametrize("name", NOISY)
def test_no_noise_draws_nothing(name):
    layer = getattr(layers, name)(0.0, seed=1)
    x = tensor(2, 3, 4)
    assert torch.equal(layer(x, training=True), x) and layer._stream.counter == 0


@pytest.mark.parametrize("name", NOISY)
def test_seeds_repeat(name):
    x = tensor(2, 30, 4)
    layer, same, other = NOISY[name](seed=1), NOISY[name](seed=1), NOISY[name](seed=2)
    first, second = layer(x, training=True), layer(x, training=True)
    assert not torch.equal(first, second)
    twin = copy.deepcopy(layer)
    assert torch.equal(same(x, training=True), first) and torch.equal(same(x, training=True), second)
    assert not torch.equal(other(x, training=True), first)
    assert torch.equal(twin(x, training=True), layer(x, training=True))
    unseeded = NOISY[name]()
    ostinato.utils.set_random_seed(5)
    first = unseeded(x, training=True)
    assert not torch.equal(unseeded(x, training=True), first)
    ostinato.utils.set_random_seed(5)
    assert torch.equal(unseeded(x, training=True), first)


@pytest.mark.parametrize("name", NOISY)
def test_compiled_code_draws_anew_the_same_numbers(name):
    """A compiler takes a generator's seed for a constant, which would give each batch the same noise."""
    x = tensor(2, 30, 4)
    eager, layer = NOISY[name](seed=1), NOISY[name](seed=1)
    compiled = torch.compile(lambda x: layer(x, training=True), fullgraph=True, backend="aot_eager")
    found = [compiled(x) for _ in range(3)]
    right = [eager(x, training=True) for _ in range(3)]
    assert not torch.equal(found[0], found[1])
    torch.testing.assert_close(found, right)
    torch._dynamo.reset()


@pytest.mark.parametrize("name", NOISY)
def test_gradient_in_training(name):
    x = tensor(2, 3, 4).requires_grad_()
    y = NOISY[name](seed=1)(x, training=True)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    expected = (y / x).detach() if name == "SpatialDropout1D" else torch.ones_like(x)
    torch.testing.assert_close(gradient, expected)


def test_rate_1_gives_zeros():
    assert layers.SpatialDropout1D(1)(tensor(2, 3, 4), training=True).eq(0).all()


@pytest.mark.parametrize("name", NOISY)
def test_passes_the_mask_on_in_training(name):
    x = tensor(2, 3, 4)
    x._keras_mask = torch.tensor([[True, True, False], [True, False, False]])
    assert torch.equal(NOISY[name]()(x, training=True)._keras_mask, x._keras_mask)


@pytest.mark.parametrize("name", NOISY)
def test_a_config_that_keras_wrote(name):
    theirs = getattr(keras.layers, name)(0.25, seed=4, name="mine")
    ours = layers.deserialize(keras.layers.serialize(theirs))
    assert type(ours) is getattr(layers, name) and ours.seed == 4 and ours.name == "mine"
    assert 0.25 in (getattr(ours, "rate", None), getattr(ours, "stddev", None))


REFUSED = {
    "rate": (lambda: layers.SpatialDropout1D(1.5), r"SpatialDropout1D: rate must be in \[0, 1\], got 1.5"),
    "stddev": (lambda: layers.GaussianNoise(-0.1), r"GaussianNoise: stddev must be in \[0, 1\], got -0.1"),
    "stddev, no number": (lambda: layers.GaussianNoise("a"), r"stddev must be in \[0, 1\], got 'a'"),
    "rank": (lambda: layers.SpatialDropout1D(0.5)(tensor(2, 3)), r"expected \(batch, time, features\), got \(2, 3\)"),
    "unknown": (lambda: layers.GaussianNoise(0.5, seeds=1), "Did you mean 'seed'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name):
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        make()
