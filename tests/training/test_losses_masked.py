"""Masks and weights of losses, above all where Keras has no answer or a wrong one."""

from typing import Any

import pytest
import torch

from batches import dense, labels, predictions, some, weight
from ostinato.training import losses

BY_ELEMENT = [
    (losses.MeanSquaredError(), lambda: dense((4, 3, 5))),
    (losses.BinaryCrossentropy(from_logits=True), lambda: dense((4, 3, 5)).round()),
    (losses.BinaryCrossentropy(), lambda: dense((4, 3, 5)).round()),
    (losses.CategoricalCrossentropy(from_logits=True), lambda: dense((4, 3, 5))),
    (losses.CategoricalCrossentropy(), lambda: dense((4, 3, 5))),
    (losses.SparseCategoricalCrossentropy(from_logits=True), lambda: labels((4, 3), 5)),
    (losses.SparseCategoricalCrossentropy(), lambda: labels((4, 3), 5)),
    (losses.SparseCategoricalCrossentropy(ignore_class=3), lambda: labels((4, 3), 5)),
]


@pytest.mark.parametrize(("loss", "make"), BY_ELEMENT, ids=lambda each: getattr(each, "name", ""))
@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -1e30, 7.0])
def test_what_stands_in_a_masked_step_reaches_neither_the_loss_nor_a_gradient(
    loss: Any, make: Any, garbage: float
) -> None:
    y_true, mask = make(), some((4, 3))
    y_pred = torch.rand(4, 3, 5, generator=torch.Generator().manual_seed(5))
    clean = y_pred.clone().requires_grad_()
    expected = loss(y_true, clean, mask=mask)
    expected.backward()
    spoiled_true = y_true.clone()
    spoiled_true[~mask] = garbage if y_true.is_floating_point() else 99
    spoiled = torch.where(mask.unsqueeze(-1), y_pred, garbage).requires_grad_()
    value = loss(spoiled_true, spoiled, mask=mask)
    value.backward()
    torch.testing.assert_close(value, expected, rtol=0, atol=0)
    torch.testing.assert_close(spoiled.grad, clean.grad, rtol=0, atol=0)
    assert not spoiled.grad[~mask].any()


@pytest.mark.parametrize(("loss", "make"), BY_ELEMENT, ids=lambda each: getattr(each, "name", ""))
def test_a_mask_of_nothing_but_true_is_none_and_one_of_false_gives_zero(loss: Any, make: Any) -> None:
    y_true, y_pred = make(), torch.rand(4, 3, 5, generator=torch.Generator().manual_seed(5), requires_grad=True)
    everything = torch.ones(4, 3, dtype=torch.bool)
    torch.testing.assert_close(loss(y_true, y_pred, mask=everything), loss(y_true, y_pred))
    nothing = loss(y_true, y_pred, mask=~everything)
    nothing.backward()
    assert nothing.item() == 0
    assert not y_pred.grad.any()


@pytest.mark.parametrize(("loss", "make"), BY_ELEMENT, ids=lambda each: getattr(each, "name", ""))
def test_right_padding_is_as_a_shorter_sequence(loss: Any, make: Any) -> None:
    y_true, y_pred = make(), torch.rand(4, 3, 5, generator=torch.Generator().manual_seed(5))
    mask = torch.tensor([[True, True, False]]).expand(4, 3)
    torch.testing.assert_close(loss(y_true, y_pred, mask=mask), loss(y_true[:, :2], y_pred[:, :2]))


def test_a_weight_for_each_sample_goes_to_all_its_steps() -> None:
    y_true, y_pred, weights = dense((4, 3, 5)), torch.zeros(4, 3, 5), weight((4,))
    loss = losses.MeanSquaredError()
    expected = loss(y_true, y_pred, sample_weight=weights[:, None].expand(4, 3))
    torch.testing.assert_close(loss(y_true, y_pred, sample_weight=weights), expected)
    square = loss(y_true[:, :, :4].reshape(4, 4, 3), y_pred[:, :, :4].reshape(4, 4, 3), sample_weight=weights)
    by_hand = (y_true[:, :, :4].reshape(4, 4, 3).square().mean(-1) * weights[:, None]).mean()
    torch.testing.assert_close(square, by_hand)


def test_a_mask_for_each_sample_and_one_for_each_step_of_wide_values() -> None:
    y_true, y_pred = dense((4, 3, 2, 5)), torch.zeros(4, 3, 2, 5)
    loss, kept = losses.MeanSquaredError(), torch.tensor([True, False, True, False])
    torch.testing.assert_close(loss(y_true, y_pred, mask=kept), loss(y_true[kept], y_pred[kept]))
    steps = some((4, 3))
    torch.testing.assert_close(loss(y_true, y_pred, mask=steps), loss(y_true[steps], y_pred[steps]))
    torch.testing.assert_close(loss(y_true, y_pred, mask=steps.numpy()), loss(y_true[steps], y_pred[steps]))


@pytest.mark.parametrize("true", [(4, 3), (4, 3, 1)])
def test_a_mask_for_each_step_of_predictions_of_one_number(true: tuple[int, ...]) -> None:
    y_true, y_pred, mask = dense((4, 3)).round(), predictions((4, 3, 1), False, torch.float32), some((4, 3))
    loss = losses.BinaryCrossentropy()
    expected = loss(y_true[mask][:, None], y_pred[mask])
    torch.testing.assert_close(loss(y_true.reshape(true), y_pred, mask=mask), expected)
    weighted = loss(y_true.reshape(true), y_pred, sample_weight=mask.float())
    torch.testing.assert_close(weighted, expected * mask.float().mean())


def test_ignored_labels_and_masked_steps_add_up() -> None:
    y_true, y_pred, mask = labels((6, 5), 4), predictions((6, 5, 4), True, torch.float32), some((6, 5))
    kept = mask & (y_true != 2)
    ignoring = losses.SparseCategoricalCrossentropy(True, ignore_class=2)
    expected = losses.SparseCategoricalCrossentropy(True)(y_true[kept], y_pred[kept])
    torch.testing.assert_close(ignoring(y_true, y_pred, mask=mask), expected)
    torch.testing.assert_close(ignoring(y_true[..., None], y_pred, mask=mask), expected)


@pytest.mark.parametrize("shape", [(0, 4), (0, 3, 4), (2, 0, 4)])
def test_of_no_samples_or_no_steps_the_loss_is_zero(shape: tuple[int, ...]) -> None:
    y_pred = torch.zeros(shape, requires_grad=True)
    for loss, y_true in [
        (losses.MeanSquaredError(), torch.zeros(shape)),
        (losses.BinaryCrossentropy(), torch.zeros(shape)),
        (losses.CategoricalCrossentropy(from_logits=True), torch.zeros(shape)),
        (losses.SparseCategoricalCrossentropy(), torch.zeros(shape[:-1], dtype=torch.int64)),
        (losses.SparseCategoricalCrossentropy(from_logits=True), torch.zeros(shape[:-1], dtype=torch.int64)),
    ]:
        value = loss(y_true, y_pred)
        value.backward()
        assert value.shape == () and value.item() == 0


@pytest.mark.parametrize("logits", [True, False])
def test_the_function_lets_nothing_through_where_a_class_is_ignored(logits: bool) -> None:
    y_true, y_pred = labels((6, 4), 5), torch.rand(6, 4, 5, generator=torch.Generator().manual_seed(5))
    spoiled = y_pred.masked_fill((y_true == 2).unsqueeze(-1), float("nan")).requires_grad_()
    values = losses.sparse_categorical_crossentropy(y_true, spoiled, from_logits=logits, ignore_class=2)
    expected = losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=logits)
    torch.testing.assert_close(values, expected * (y_true != 2))
    values.sum().backward()
    assert torch.isfinite(spoiled.grad).all()
