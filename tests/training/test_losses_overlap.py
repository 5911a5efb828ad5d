"""Dice, Tversky and Circle, which look at more than one step at a time."""

import json
from typing import Any

import keras
import numpy as np
import pytest
import torch

from batches import REDUCTIONS, dense, labels, some, weight
from loss_oracle import compare
from ostinato.training import losses

OVERLAPS = [("Dice", {}), ("Tversky", {}), ("Tversky", {"alpha": 0.2, "beta": 0.9})]
overlaps = pytest.mark.parametrize(("name", "options"), OVERLAPS)


def marks(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    values = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values.to(dtype).requires_grad_()


@overlaps
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (2, 1, 3)])
def test_against_keras(
    name: str, options: dict[str, Any], shape: tuple[int, ...], reduction: str | None, dtype: torch.dtype
) -> None:
    y_true, y_pred = dense(shape).round(), marks(shape, dtype)
    loss = getattr(losses, name)(reduction=reduction, **options)
    for sample_weight in (None, weight(shape[:1]), weight(shape[:2]), 0.5):
        compare(loss, y_true, y_pred, sample_weight)
    rest = tuple(range(1, len(shape)))
    for axis, values in ((rest, shape[:1]), (-1, shape[:-1]), (0, shape[1:]), (list(rest), shape[:1])):
        loss = getattr(losses, name)(reduction=reduction, axis=axis, **options)
        for sample_weight in (None, weight(values)):
            compare(loss, y_true, y_pred, sample_weight)


@overlaps
@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -7.0])
def test_what_is_masked_is_not_there(name: str, options: dict[str, Any], garbage: float) -> None:
    y_true, y_pred, mask = dense((4, 3, 5)).round(), marks((4, 3, 5)).detach(), some((4, 3))
    spoiled = torch.where(mask.unsqueeze(-1), y_pred, garbage).requires_grad_()
    spoiled_true = torch.where(mask.unsqueeze(-1), y_true, garbage)
    loss = getattr(losses, name)(**options)
    value = loss(spoiled_true, spoiled, mask=mask)
    torch.testing.assert_close(value, loss(y_true[mask], y_pred[mask]))
    value.backward()
    assert torch.isfinite(spoiled.grad).all() and not spoiled.grad[~mask].any()
    by_name = losses.named.resolve_loss(name.lower(), (4, 3, 5), (4, 3, 5))
    torch.testing.assert_close(
        by_name(spoiled_true, spoiled, mask=mask), getattr(losses, name)()(spoiled_true, spoiled, mask=mask)
    )
    nothing = loss(spoiled_true, spoiled, mask=torch.zeros(4, 3, dtype=torch.bool))
    assert nothing.item() == 0


@overlaps
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_sample_counts_if_a_step_of_it_does(name: str, options: dict[str, Any], reduction: str | None) -> None:
    y_true, y_pred, mask, weights = dense((4, 3, 5)).round(), marks((4, 3, 5)), some((4, 3)), weight((4,))
    mask[:, 0], mask[2] = True, False
    loss = getattr(losses, name)(axis=(1, 2), reduction=reduction, **options)
    single = getattr(losses, name)(**options)
    kept = [single(y_true[i][mask[i]], y_pred[i][mask[i]]) if mask[i].any() else torch.tensor(0.0) for i in range(4)]
    values, counted = torch.stack(kept), mask.any(1)
    expected = {
        "sum": values.sum(),
        "none": values,
        None: values,
        "mean_with_sample_weight": values.sum() / counted.sum(),
    }.get(reduction, values.sum() / counted.sum())
    torch.testing.assert_close(loss(y_true, y_pred, mask=mask), expected)
    weighted = getattr(losses, name)(axis=(1, 2), reduction="sum", **options)(y_true, y_pred, weights, mask)
    torch.testing.assert_close(weighted, (values * weights).sum())


@overlaps
def test_the_gradient_is_the_slope(name: str, options: dict[str, Any]) -> None:
    y_true, y_pred, mask = dense((3, 2, 4)), marks((3, 2, 4), torch.float64), some((3, 2))
    loss = getattr(losses, name)(axis=(1, 2), **options)
    assert torch.autograd.gradcheck(lambda each: loss(y_true, each, mask=mask), (y_pred,))


@overlaps
@pytest.mark.parametrize("axis", [None, -1, (1, 2)])
def test_a_config_makes_the_same_loss(name: str, options: dict[str, Any], axis: Any) -> None:
    loss = getattr(losses, name)(axis=axis, reduction="sum", **options)
    again = losses.deserialize(json.loads(json.dumps(losses.serialize(loss))))
    assert again.get_config() == loss.get_config() and again.axis == axis
    theirs = getattr(keras.losses, name)(axis=axis, reduction="sum", **options)
    assert losses.deserialize(keras.losses.serialize(theirs)).get_config() == {**loss.get_config()}
    wrapper = losses.LossFunctionWrapper(loss.fn, axis=axis)
    assert losses.deserialize(json.loads(json.dumps(losses.serialize(wrapper)))).get_config() == wrapper.get_config()


@overlaps
def test_no_samples(name: str, options: dict[str, Any]) -> None:
    for axis in (None, (1, 2)):
        y_pred = torch.zeros(0, 3, 4, requires_grad=True)
        value = getattr(losses, name)(axis=axis, **options)(torch.zeros(0, 3, 4), y_pred)
        value.backward()
        assert value.shape == () and value.item() == 0


@overlaps
def test_shapes_that_do_not_fit(name: str, options: dict[str, Any]) -> None:
    loss = getattr(losses, name)(**options)
    with pytest.raises(ValueError, match=rf"{name.lower()}: y_true has shape \(4, 2\)"):
        loss(torch.zeros(4, 2), torch.zeros(4, 3))
    with pytest.raises(ValueError, match=rf"{name} '{name.lower()}': mask has shape \(3,\)"):
        loss(torch.zeros(4, 3), torch.zeros(4, 3), mask=torch.ones(3))
    with pytest.raises(IndexError):
        getattr(losses, name)(axis=5)(torch.zeros(4, 3), torch.zeros(4, 3))


def embeddings(batch: int, features: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    values = torch.randn(batch, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(values, dim=1).to(dtype).requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("options", [{}, {"gamma": 10.0, "margin": 0.2}, {"remove_diagonal": False}])
def test_circle_against_keras(options: dict[str, Any], reduction: str | None, dtype: torch.dtype) -> None:
    y_true, y_pred = torch.tensor([0, 1, 1, 0, 2, 2, 2]), embeddings(7, 4, dtype)
    loss = losses.Circle(reduction=reduction, **options)
    for sample_weight in (None, weight((7,))):
        for mask in (None, some((7,))):
            compare(loss, y_true, y_pred, sample_weight, mask)
    torch.testing.assert_close(loss(y_true[:, None], y_pred), loss(y_true, y_pred))
    torch.testing.assert_close(
        losses.LossFunctionWrapper(losses.circle, reduction, **options)(y_true, y_pred), loss(y_true, y_pred)
    )


def test_a_sample_without_a_pair_does_not_count() -> None:
    y_true, y_pred = torch.tensor([0, 1, 1, 0, 2]), embeddings(5, 4)
    value = losses.Circle()(y_true, y_pred)
    torch.testing.assert_close(value, keras.losses.Circle()(y_true, y_pred.detach() * 1))
    assert losses.circle(y_true, y_pred)[4] == 0
    value.backward()
    assert torch.isfinite(y_pred.grad).all()
    for alone in (torch.zeros(5), torch.arange(5)):
        assert losses.Circle()(alone, embeddings(5, 4)).item() == 0
    assert losses.Circle()(torch.zeros(0), embeddings(0, 4)).item() == 0


def test_circle_with_references_of_its_own() -> None:
    y_true, references = labels((5,), 3), labels((8,), 3, seed=7)
    given = {"ref_labels": references, "ref_embeddings": embeddings(8, 4, seed=3).detach(), "remove_diagonal": False}
    ours = losses.circle(y_true, embeddings(5, 4), **given)
    theirs = keras.losses.circle(y_true, embeddings(5, 4), **given)
    torch.testing.assert_close(ours, theirs)
    for true, pred in [((5,), (4, 3)), ((4, 2), (4, 3)), ((4,), (4,)), ((4,), (4, 2, 3))]:
        with pytest.raises(ValueError, match=r"circle: labels have shape .* they must be \(batch,\)"):
            losses.circle(torch.zeros(true), torch.zeros(pred))
    with pytest.raises(ValueError, match="circle: labels have shape"):
        losses.circle(y_true, embeddings(5, 4), ref_embeddings=np.ones((8, 4)))


def test_the_gradient_of_circle_is_the_slope() -> None:
    y_true, y_pred = torch.tensor([0, 1, 1, 0, 2]), embeddings(5, 4, torch.float64)
    assert torch.autograd.gradcheck(lambda each: losses.Circle(gamma=3.0)(y_true, each), (y_pred,))
