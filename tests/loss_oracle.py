"""The real Keras's losses as an oracle of values and gradients."""

from typing import Any

import keras
import torch

from batches import copied


def in_keras(
    loss: Any, y_true: Any, y_pred: torch.Tensor, sample_weight: Any = None, mask: Any = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """What Keras makes of it, value and gradient. It multiplies the mask into the very weights it is given, and gives
    float32 for float64 once it has divided."""
    config = {**loss.get_config(), "dtype": str(y_pred.dtype).removeprefix("torch.")}
    theirs = getattr(keras.losses, type(loss).__name__)(**config)
    copy = y_pred.detach().clone().requires_grad_()
    tensor = copy * 1  # Keras takes a mask off a tensor that it may write to
    if mask is not None:
        keras.src.backend.set_keras_mask(tensor, mask)
    value = theirs(y_true, tensor, sample_weight=copied(sample_weight))
    (gradient,) = torch.autograd.grad(value.sum(), copy)
    return value.detach().to(y_pred.dtype), gradient


def compare(loss: Any, y_true: Any, y_pred: torch.Tensor, sample_weight: Any = None, mask: Any = None) -> None:
    value = loss(y_true, y_pred, sample_weight=sample_weight, mask=mask)
    (gradient,) = torch.autograd.grad(value.sum(), y_pred)
    theirs, their_gradient = in_keras(loss, y_true, y_pred, sample_weight, mask)
    assert value.dtype == y_pred.dtype
    assert value.shape == theirs.shape
    torch.testing.assert_close(value, theirs, rtol=1e-6, atol=1e-6)
    # The gradients of a probability near 0 are huge, so that only relative errors tell.
    torch.testing.assert_close(gradient, their_gradient, rtol=1e-5, atol=1e-6)
