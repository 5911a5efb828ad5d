"""Initializers against the real Keras: bounds and moments of those that draw, values of the others, names, configs."""

import math

import keras
import numpy as np
import pytest
import torch
from keras.src.initializers import ALL_OBJECTS_DICT
from keras.src.initializers.random_initializers import compute_fans

import ostinato
from ostinato import initializers, layers
from ostinato.core.initializers.scaled import fans

SHAPES = [(300, 200), (3, 3, 40, 30), (20000,), (40000, 1)]
DRAWN = [
    ("RandomUniform", {}),
    ("RandomUniform", {"minval": 1.0, "maxval": 4.0}),
    ("RandomNormal", {}),
    ("RandomNormal", {"mean": 2.0, "stddev": 0.5}),
    ("TruncatedNormal", {}),
    ("TruncatedNormal", {"mean": -3.0, "stddev": 2.0}),
    ("GlorotUniform", {}),
    ("GlorotNormal", {}),
    ("HeUniform", {}),
    ("HeNormal", {}),
    ("LecunUniform", {}),
    ("LecunNormal", {}),
    *[
        ("VarianceScaling", {"scale": scale, "mode": mode, "distribution": distribution})
        for scale, mode in [(0.5, "fan_in"), (3.0, "fan_out"), (1.0, "fan_avg")]
        for distribution in ["truncated_normal", "untruncated_normal", "uniform", "normal"]
    ],
]


def test_all_of_keras_are_there_and_nothing_else():
    assert sorted(initializers.__all__) == sorted(name for name in dir(keras.initializers) if not name.startswith("_"))
    assert all(getattr(initializers, name).__doc__ for name in initializers.__all__)


# -- those that draw --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options"), DRAWN, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("seed", [1, 2**31 + 5])
def test_moments_and_bounds_are_keras(name, options, shape, seed):
    ours = getattr(initializers, name)(**options, seed=seed)(shape).numpy().astype("float64").ravel()
    theirs = getattr(keras.initializers, name)(**options, seed=seed)(shape).numpy().astype("float64").ravel()
    assert ours.shape == theirs.shape
    spread, error = theirs.std(), 5 / math.sqrt(ours.size)  # five standard errors of a mean
    assert abs(ours.mean() - theirs.mean()) < math.sqrt(2) * error * spread
    assert abs(ours.std() / spread - 1) < math.sqrt(2) * error
    kurtosis = [np.mean(((each - each.mean()) / each.std()) ** 4) for each in (ours, theirs)]
    assert abs(kurtosis[0] - kurtosis[1]) < 40 * error  # 1.8 uniform, 2.1 truncated, 3 normal; its standard error is 5
    if "uniform" in name.lower() or "runcated" in name or options.get("distribution", "") in ("uniform", "normal"):
        middle = (theirs.max() + theirs.min()) / 2
        width = theirs.max() - middle
        np.testing.assert_allclose(np.abs(ours - middle).max(), width, rtol=0.02)
    quantiles = np.linspace(0.02, 0.98, 25)  # the shape in between, as Kolmogorov would ask
    distance = np.abs(np.searchsorted(np.sort(ours), np.quantile(theirs, quantiles)) / ours.size - quantiles)
    assert distance.max() < 2 * math.sqrt(2) / math.sqrt(ours.size)


@pytest.mark.parametrize(
    ("gain", "shape"), [(1.0, (5, 5)), (2.0, (3, 7)), (0.5, (7, 3)), (1.0, (2, 3, 4)), (1.0, (6, 1))]
)
def test_orthogonal(gain, shape):
    for library in (ostinato, keras):  # what is asked holds of Keras's own too
        values = library.initializers.Orthogonal(gain=gain, seed=3)(shape)
        matrix = values.reshape(-1, shape[-1]).double()
        product = matrix @ matrix.t() if matrix.shape[0] < matrix.shape[1] else matrix.t() @ matrix
        torch.testing.assert_close(product, gain**2 * torch.eye(len(product), dtype=torch.float64), atol=1e-5, rtol=0)


def test_orthogonal_matrices_are_uniform():
    matrices = torch.stack([initializers.Orthogonal(seed=seed)((3, 3)) for seed in range(800)])
    # Of a uniformly distributed rotation or reflection each entry has mean 0 and variance 1/3.
    assert matrices.mean(0).abs().max() < 5 / math.sqrt(3 * 800)
    torch.testing.assert_close(matrices.square().mean(0), torch.full((3, 3), 1 / 3), atol=0.06, rtol=0)


SEEDED = [*dict.fromkeys(name for name, _ in DRAWN), "Orthogonal"]


@pytest.mark.parametrize("name", SEEDED)
def test_seeds(name):
    make = getattr(initializers, name)
    seeded = make(seed=7)
    assert torch.equal(seeded((4, 5)), seeded((4, 5)))
    assert torch.equal(seeded((4, 5)), make(seed=np.int64(7))((4, 5)))
    assert not torch.equal(seeded((4, 5)), make(seed=8)((4, 5)))
    free = make()
    ostinato.utils.set_random_seed(3)
    first, second = free((4, 5)), free((4, 5))
    assert not torch.equal(first, second)
    ostinato.utils.set_random_seed(3)
    assert torch.equal(make()((4, 5)), first) and torch.equal(free((4, 5)), second)
    torch.manual_seed(0)
    assert torch.equal(seeded((4, 5)), make(seed=7)((4, 5)))


@pytest.mark.parametrize("name", SEEDED)
@pytest.mark.parametrize("dtype", ["float64", torch.bfloat16, "float16", None], ids=str)
def test_dtypes_and_empty_shapes(name, dtype):
    draw = getattr(initializers, name)(seed=1)
    values = draw((6, 4), dtype=dtype)
    assert values.dtype is (torch.get_default_dtype() if dtype is None else getattr(torch, str(dtype).split(".")[-1]))
    assert values.isfinite().all() and len(values.unique()) > 6
    assert draw((0, 4), dtype=dtype).shape == (0, 4)


@pytest.mark.parametrize("shape", [(), (5,), (4, 3), (3, 4, 5), (3, 3, 4, 5)], ids=str)
@pytest.mark.parametrize("axes", [(None, None), ([0], [-1]), ([0, 1], [2])], ids=str)
def test_fans(shape, axes):
    if axes[0] is not None and len(shape) <= max(*axes[0], *axes[1]):
        return
    if axes[0] is not None and not shape:
        return
    assert fans(shape, *axes) == compute_fans(shape, *axes)


def test_axes_of_inputs_and_outputs():
    options = {"input_axes": [1], "output_axes": [0, 2], "seed": 1}
    values = initializers.HeUniform(**options)((10, 200, 10))
    assert values.abs().max() <= math.sqrt(6 / 200) and values.abs().max() > 0.98 * math.sqrt(6 / 200)
    assert initializers.HeUniform.from_config(initializers.HeUniform(**options).get_config()).input_axes == [1]


# -- those that do not ------------------------------------------------------------------------------------------------

FIXED = [
    ("Zeros", {}, (2, 3)),
    ("Ones", {}, (2, 3)),
    ("Constant", {}, (4,)),
    ("Constant", {"value": -2.5}, ()),
    ("Constant", {"value": 3}, (2, 2)),
    ("Identity", {}, (3, 3)),
    ("Identity", {"gain": 2.5}, (2, 4)),
    ("Identity", {"gain": 0.5}, (4, 2)),
    *[
        ("STFT", {"side": side, "window": window, "scaling": scaling, "periodic": periodic}, (6, 1, 5))
        for side in ("real", "imag")
        for window in (None, np.hanning(6).astype("float32"), [1.0, 2.0, 3.0, 3.0, 2.0, 1.0])
        for scaling in (None, "density", "spectrum")
        for periodic in (False, True)
    ],
]


@pytest.mark.parametrize(("name", "options", "shape"), FIXED, ids=str)
@pytest.mark.parametrize("dtype", [None, "float64"])
def test_fixed_values(name, options, shape, dtype):
    ours = getattr(initializers, name)(**options)(shape, dtype=dtype)
    theirs = getattr(keras.initializers, name)(**options)(shape, dtype=dtype)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-6)
    assert ours.is_contiguous()


def cosines(*amplitudes):
    return lambda n, span: sum((-1) ** k * a * np.cos(2 * np.pi * k * n / span) for k, a in enumerate(amplitudes))


WINDOWS = {  # by formula: Keras takes them from scipy
    "bartlett": lambda n, span: 1 - np.abs(2 * n / span - 1),
    "blackman": cosines(0.42, 0.5, 0.08),
    "blackmanharris": cosines(0.35875, 0.48829, 0.14128, 0.01168),
    "boxcar": lambda n, span: np.ones_like(n),
    "cosine": lambda n, span: np.sin(np.pi * (n + 0.5) / (span + 1)),
    "flattop": cosines(0.21557895, 0.41663158, 0.277263158, 0.083578947, 0.006947368),
    "hamming": cosines(0.54, 0.46),
    "hann": cosines(0.5, 0.5),
    "nuttall": cosines(0.3635819, 0.4891775, 0.1365995, 0.0106411),
}


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("length", [6, 9])
def test_windows_by_name(name, periodic, length):
    window = WINDOWS[name](np.arange(length, dtype="float64"), length if periodic else length - 1)
    named = initializers.STFT(window=name, periodic=periodic)((length, 1, 5), dtype="float64")
    given = initializers.STFT(window=window)((length, 1, 5), dtype="float64")
    torch.testing.assert_close(named, given, rtol=1e-9, atol=1e-9)


def test_the_stft_is_one():
    frame, bands = 16, 9
    signal = np.random.default_rng(0).normal(size=frame)
    right = np.fft.rfft(signal)
    for side, part in (("real", right.real), ("imag", right.imag)):
        kernel = initializers.STFT(side, window=None)((frame, 1, bands), dtype="float64")
        np.testing.assert_allclose(signal @ kernel[:, 0].numpy(), part, atol=1e-9)


@pytest.mark.parametrize(
    "values", [np.arange(6.0).reshape(2, 3), torch.arange(6).reshape(2, 3)], ids=["array", "tensor"]
)
def test_given_values(values):
    layer = layers.Dense(3, kernel_initializer=values)
    layer.build((None, 2))
    assert layer.kernel.tolist() == [[0, 1, 2], [3, 4, 5]] and layer.kernel.dtype is torch.float32
    config = {"units": 3, "kernel_initializer": initializers.serialize(layer.kernel_initializer)}
    for each in [config] if isinstance(values, torch.Tensor) else [config, layer.get_config()]:
        again = layers.Dense.from_config(each)
        again.build((None, 2))
        assert torch.equal(again.kernel, layer.kernel)
    with torch.no_grad():
        layer.kernel.zero_()
    assert float(values[1, 2]) == 5  # not the weight's memory
    with pytest.raises(ValueError, match=r"they are of shape \(2, 3\), not"):
        layers.Dense(3, kernel_initializer=values).build((None, 4))


# -- names and configs ------------------------------------------------------------------------------------------------


# Keras looks into scipy for the default window, which it then does not find here.
STFTS = ["STFT", "STFTInitializer", "stft"]


@pytest.mark.parametrize("name", sorted(ALL_OBJECTS_DICT))
def test_names_and_configs(name):
    made = initializers.get(name)
    assert type(made).__name__ == ALL_OBJECTS_DICT[name].__name__
    right = ALL_OBJECTS_DICT[name](**({"window": None} if name in STFTS else {}))
    if name not in STFTS:
        assert made.get_config().items() >= right.get_config().items()  # Keras's Identity forgets its gain
    for config in (initializers.serialize(made), keras.initializers.serialize(right)):
        again = initializers.deserialize(config)
        assert type(again) is type(made) and again.get_config().items() >= config["config"].items()
    clone = made.clone()
    assert type(clone) is type(made) and clone is not made


@pytest.mark.parametrize(
    "name", sorted(set(ALL_OBJECTS_DICT) - {"Initializer", "initializer", "STFT", "stft", "STFTInitializer"})
)
def test_in_a_layer(name):
    layer = layers.Dense(3, kernel_initializer=name)
    layer.build((None, 4))
    assert layer.kernel.shape == (4, 3)
    config = {**layer.get_config(), "kernel_initializer": initializers.serialize(layer.kernel_initializer)}
    assert type(layers.Dense.from_config(config).kernel_initializer) is type(initializers.get(name))


def test_get_takes_classes_callables_and_none():
    assert initializers.get(None) is None
    assert isinstance(initializers.get(initializers.Ones), initializers.Ones)
    layer = layers.Dense(2, kernel_initializer=lambda shape, dtype=None: torch.full(shape, 3.0, dtype=dtype))
    layer.build((None, 2))
    assert layer.kernel.tolist() == [[3, 3], [3, 3]]
    with pytest.raises(NotImplementedError, match="must define __call__"):
        initializers.Initializer()((2,))


MISUSES = {
    "scale": (lambda: initializers.VarianceScaling(scale=0.0), "scale must be above 0, got 0.0"),
    "mode": (lambda: initializers.VarianceScaling(mode="fan"), "mode 'fan' is not one of"),
    "distribution": (lambda: initializers.VarianceScaling(distribution="beta"), "distribution 'beta' is not one of"),
    "seed": (lambda: initializers.GlorotUniform(seed="one"), "GlorotUniform: seed must be an int or None, got 'one'"),
    "vector": (lambda: initializers.Orthogonal()((3,)), "2 or more dimensions"),
    "identity": (lambda: initializers.Identity()((2, 2, 2)), "expected a shape of 2 dimensions"),
    "whole numbers": (lambda: initializers.RandomNormal()((2,), dtype="int32"), "draws floating-point values"),
    "side": (lambda: initializers.STFT(side="left"), "side must be 'real' or 'imag', got 'left'"),
    "window": (lambda: initializers.STFT(window="han"), "Did you mean 'hann'"),
    "scaling": (lambda: initializers.STFT(scaling="power"), "must be 'density', 'spectrum' or None"),
    "window length": (lambda: initializers.STFT(window=[1.0])((4, 1, 3)), r"must be of shape \(4,\), got \(1,\)"),
    "stft shape": (lambda: initializers.STFT()((4, 3)), r"expected a shape \(frame_length, 1, bands\)"),
    "misspelt": (lambda: initializers.get("glorot_unform"), "Did you mean 'glorot_uniform'"),
    "a number": (lambda: initializers.get(1.0), "expected a name, a config or a callable"),
}


@pytest.mark.parametrize("name", MISUSES)
def test_misuse(name):
    wrong, message = MISUSES[name]
    with pytest.raises(ValueError, match=message):
        wrong()
