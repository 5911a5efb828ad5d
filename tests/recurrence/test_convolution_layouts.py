"""Convolution of views in memory orders of all kinds, against a float64 loop: torch alone gets some of them wrong."""

import itertools

import numpy as np
import pytest
import torch

from ostinato.recurrence.convolution import Convolution
from parity import per_sample

# (batch, sizes, channels, filters, window, strides): torch 2.13's float32 reads beyond the inputs in the first four and
# raises in the backward of the last four, in float64 or in both.
CASES = [
    (3, (4, 4), 1, 4, (3, 3), (1, 2)),
    (8, (3, 3), 1, 8, (2, 3), (1, 2)),
    (5, (4, 3), 1, 8, (3, 2), (1, 2)),
    (5, (4, 2, 4), 1, 8, (2, 1, 3), (1, 1, 2)),
    (2, (2, 4), 2, 1, (2, 3), (1, 2)),
    (3, (5, 1), 2, 1, (3, 1), (2, 1)),
    (1, (5, 1), 2, 1, (3, 1), (1, 2)),
    (2, (3, 5), 1, 1, (2, 2), (1, 2)),
]


def check(case, padding, channels_last, dtype, wanted):
    batch, sizes, channels, filters, window, strides = case
    ones = (1,) * len(window)
    rng = np.random.default_rng(2)
    x, kernel = rng.standard_normal((batch, *sizes, channels)), rng.standard_normal((*window, channels, filters))
    right = np.stack([per_sample.convolve(np, image, kernel, strides, ones, padding) for image in x])
    cotangent = rng.standard_normal(right.shape)

    given = torch.tensor(x, dtype=dtype, requires_grad=wanted)
    weights = torch.tensor(kernel, dtype=dtype, requires_grad=wanted)
    convolution = Convolution(window, strides, ones, padding, channels_last)
    found = convolution(given if channels_last else given.movedim(-1, 1), weights)
    found = found if channels_last else found.movedim(1, -1)
    tolerance = {"rtol": 0, "atol": 1e-4 if dtype is torch.float32 else 1e-12}
    np.testing.assert_allclose(found.detach().numpy(), right, **tolerance)
    if not wanted:
        return
    leaves = [torch.tensor(each, requires_grad=True) for each in (x, kernel)]
    loop = torch.stack([per_sample.convolve(torch, image, leaves[1], strides, ones, padding) for image in leaves[0]])
    expected = torch.autograd.grad(loop, leaves, torch.tensor(cotangent))
    gradients = torch.autograd.grad(found, [given, weights], torch.tensor(cotangent, dtype=dtype))
    for mine, other in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(mine.numpy(), other.numpy(), **tolerance)


@pytest.mark.parametrize("wanted", [False, True], ids=["inference", "gradients"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("channels_last", [True, False], ids=["channels last", "channels first, a view"])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients(case, padding, channels_last, dtype, wanted):
    check(case, padding, channels_last, dtype, wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_every_small_size(rank, padding, dtype):
    """One or two channels and filters, each size of window and stride from 1 to 2, on images of 3 by 4 by 2."""
    sizes = (3, 4, 2)[:rank]
    for channels, filters in itertools.product((1, 2), repeat=2):
        for window, strides in itertools.product(itertools.product((1, 2), repeat=rank), repeat=2):
            check((2, sizes, channels, filters, window, strides), padding, True, dtype, True)
