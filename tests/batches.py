"""Targets, predictions, weights and masks for the tests of losses and metrics."""

import itertools
from typing import Any

import torch

REDUCTIONS = ["sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", None]


def predictions(shape: tuple[int, ...], logits: bool, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    """Logits, or probabilities of which some are 0 and 1 and the rows do not add up to 1."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator, dtype=torch.float64) * 3
    if not logits:
        values = torch.sigmoid(values)
        values.view(-1)[0], values.view(-1)[-1] = 0.0, 1.0
    return values.to(dtype).requires_grad_()


def dense(shape: tuple[int, ...], seed: int = 1) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def labels(shape: tuple[int, ...], classes: int, seed: int = 2) -> torch.Tensor:
    return torch.randint(0, classes, shape, generator=torch.Generator().manual_seed(seed))


def weight(shape: tuple[int, ...], seed: int = 3) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) + 0.1


def some(shape: tuple[int, ...], seed: int = 4) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.6


def copied(weights: Any) -> Any:
    return weights.clone() if isinstance(weights, torch.Tensor) else weights


def weights_and_masks(shape: tuple[int, ...], reduction: str | None) -> list[tuple[Any, Any]]:
    """Nothing, weights, masks and both, for values of this shape, as far as Keras has the right answer."""
    weights: list[Any] = [None, weight(shape)]
    if reduction != "mean_with_sample_weight":  # Keras divides by the sum of the weights before they are broadcast
        weights += [weight((*shape[:-1], 1)) if len(shape) > 1 else weight((*shape, 1))]
        weights += [0.5] if shape != (1,) else []  # Keras makes a scalar of one value
    masks = [some(shape), torch.ones(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)]
    return [*itertools.product(weights, [None]), *itertools.product([None, weight(shape)], masks)]


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def whole(below: int, *shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, below, shape, generator=torch.Generator().manual_seed(seed))


def one_hot(classes: int, *shape: int, seed: int = 1) -> torch.Tensor:
    return torch.nn.functional.one_hot(whole(classes, *shape, seed=seed), classes)
