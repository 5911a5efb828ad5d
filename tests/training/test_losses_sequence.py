"""CTC against all alignments counted one by one, against real Keras, and with masks."""

import itertools
from typing import Any

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from batches import REDUCTIONS, some, weight
from loss_oracle import compare
from ostinato.training import losses


def by_counting(labels: np.ndarray[Any, Any], logits: np.ndarray[Any, Any]) -> float:
    """-log of the summed probability of all alignments that spell the labels, in float64."""
    logits = logits.astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    wanted = [each for each in labels if each]
    total = 0.0
    for path in itertools.product(range(logits.shape[1]), repeat=len(logits)):
        if [key for key, _ in itertools.groupby(path) if key] == wanted:
            total += float(np.prod([row[each] for row, each in zip(probabilities, path, strict=True)]))
    return float("inf") if total == 0 else -float(np.log(total))


def logits(batch: int, time: int, classes: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, time, classes, generator=generator, dtype=torch.float64).mul(2).to(dtype).requires_grad_()


def targets(batch: int, length: int, classes: int, seed: int = 1) -> torch.Tensor:
    """Labels of any length up to `length`, with zeros behind them."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.randint(1, classes, (batch, length), generator=generator)
    lengths = torch.randint(0, length + 1, (batch, 1), generator=generator)
    return found.masked_fill(torch.arange(length) >= lengths, 0)


@settings(max_examples=40, deadline=None)
@given(
    time=st.integers(1, 5), length=st.integers(0, 3), classes=st.integers(2, 3), seed=st.integers(0, 99), data=st.data()
)
def test_against_counting(time: int, length: int, classes: int, seed: int, data: st.DataObject) -> None:
    y_true, y_pred = targets(3, length, classes, seed), logits(3, time, classes, seed, torch.float64)
    steps = data.draw(st.lists(st.booleans(), min_size=3 * time, max_size=3 * time))
    mask = torch.tensor(steps).reshape(3, time)
    expected = [by_counting(t.numpy(), p.detach().numpy()) for t, p in zip(y_true, y_pred, strict=True)]
    np.testing.assert_allclose(losses.ctc(y_true, y_pred).detach(), expected, rtol=1e-9)
    used = [
        by_counting(t.numpy(), p[m].detach().numpy()) if m.any() else 0.0
        for t, p, m in zip(y_true, y_pred, mask, strict=True)
    ]
    np.testing.assert_allclose(losses.CTC("none")(y_true, y_pred, mask=mask).detach(), used, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("batch", "time", "length", "classes"), [(1, 1, 1, 2), (5, 12, 4, 6), (3, 20, 7, 11)])
def test_against_keras(
    batch: int, time: int, length: int, classes: int, reduction: str | None, dtype: torch.dtype
) -> None:
    y_true, y_pred = targets(batch, length, classes), logits(batch, time, classes, dtype=dtype)
    for sample_weight in (None, weight((batch,))):
        compare(losses.CTC(reduction), y_true, y_pred, sample_weight)


def test_a_mask_says_how_long_predictions_are() -> None:
    y_true, y_pred, lengths = targets(6, 4, 5), logits(6, 12, 5), torch.tensor([12, 9, 8, 11, 10, 8])
    theirs = keras.ops.ctc_loss(y_true, y_pred, (y_true != 0).sum(1), lengths)
    (expected,) = torch.autograd.grad(theirs.mean(), y_pred)
    value = losses.CTC()(y_true, y_pred, mask=torch.arange(12) < lengths[:, None])
    torch.testing.assert_close(value, theirs.mean())
    torch.testing.assert_close(torch.autograd.grad(value, y_pred)[0], expected)
    by_function = losses.LossFunctionWrapper(losses.ctc)(y_true, y_pred, mask=torch.arange(12) < lengths[:, None])
    torch.testing.assert_close(by_function, value)


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_a_masked_step_is_no_step(garbage: float) -> None:
    y_true, clean, mask = targets(5, 3, 4), logits(5, 14, 4), some((5, 14))
    spoiled = torch.where(mask.unsqueeze(-1), clean.detach(), garbage).requires_grad_()
    value = losses.CTC()(y_true, spoiled, mask=mask)
    each = [losses.ctc(y_true[i : i + 1], clean[i : i + 1, mask[i]]) for i in range(5)]
    expected = torch.cat(each).mean()
    torch.testing.assert_close(value, expected)
    value.backward()
    expected.backward()
    torch.testing.assert_close(spoiled.grad, clean.grad)
    assert not spoiled.grad[~mask].any()


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_sample_without_a_step_does_not_count(reduction: str | None) -> None:
    y_true, y_pred, mask = targets(4, 3, 4), logits(4, 9, 4), torch.ones(4, 9, dtype=torch.bool)
    y_true[1] = torch.tensor([1, 2, 3])
    mask[1] = False
    weights = weight((4,))
    value = losses.CTC(reduction)(y_true, y_pred, weights, mask)
    kept = torch.tensor([True, False, True, True])
    expected = losses.CTC(reduction)(y_true[kept], y_pred[kept], weights[kept])
    torch.testing.assert_close(value[kept] if value.dim() else value, expected)
    value.sum().backward()
    assert torch.isfinite(y_pred.grad).all()
    assert not y_pred.grad[1].any()
    nothing = losses.CTC()(y_true, y_pred, mask=torch.zeros(4, 9, dtype=torch.bool))
    assert nothing.item() == 0


def test_the_gradient_is_the_slope() -> None:
    y_true, y_pred, mask = targets(3, 2, 4), logits(3, 7, 4, dtype=torch.float64), some((3, 7), seed=2)
    assert torch.autograd.gradcheck(lambda each: losses.CTC("sum")(y_true, each), (y_pred,))
    assert torch.autograd.gradcheck(lambda each: losses.CTC("sum")(y_true, each, mask=mask), (y_pred,))


@pytest.mark.parametrize("kind", [np.int32, np.uint8, np.float32, list])
def test_labels_of_any_dtype_padded_anywhere(kind: Any) -> None:
    y_pred, expected = logits(2, 8, 5), losses.ctc([[3, 4, 0], [2, 0, 0]], logits(2, 8, 5))
    for given_as in ([[3, 4, 0], [2, 0, 0]], [[0, 3, 4], [0, 0, 2]], [[3, 0, 4], [0, 2, 0]]):
        labels = given_as if kind is list else np.array(given_as, dtype=kind)
        torch.testing.assert_close(losses.ctc(labels, y_pred), expected)
        torch.testing.assert_close(losses.CTC("none")(labels, y_pred), expected)


def test_dtypes() -> None:
    y_true, y_pred = targets(3, 2, 4), logits(3, 7, 4).detach()
    assert losses.ctc(y_true, y_pred.double()).dtype is torch.float64
    for narrow in (torch.bfloat16, torch.float16):
        value = losses.ctc(y_true, y_pred.to(narrow))
        assert value.dtype is torch.float32
        torch.testing.assert_close(value, losses.ctc(y_true, y_pred.to(narrow).float()))


@pytest.mark.parametrize("shape", [(0, 5, 3), (0, 0, 3), (2, 0, 3)])
def test_no_samples_or_no_steps(shape: tuple[int, ...]) -> None:
    y_pred = torch.zeros(shape, requires_grad=True)
    for mask in (None, torch.ones(shape[:2], dtype=torch.bool)):
        value = losses.CTC()(torch.zeros(shape[0], 4, dtype=torch.int64), y_pred, mask=mask)
        value.backward()
        assert value.shape == () and value.item() == 0


def test_labels_that_need_more_steps_than_there_are() -> None:
    y_pred = torch.zeros(2, 2, 3)
    value = losses.ctc([[1, 1], [1, 2]], y_pred)  # between equal labels there must be a blank
    assert value[0] == torch.inf and torch.isfinite(value[1])
    assert torch.equal(value, keras.losses.ctc(torch.tensor([[1, 1], [1, 2]]), y_pred))


# The warning is of torch, where a graph breaks.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_compiled() -> None:
    y_true, y_pred, mask = targets(3, 2, 4), logits(3, 7, 4), some((3, 7))
    step = torch.compile(lambda true, pred, kept: losses.CTC()(true, pred, mask=kept), backend="eager")
    torch.testing.assert_close(step(y_true, y_pred, mask), losses.CTC()(y_true, y_pred, mask=mask))
    plain = torch.compile(losses.ctc, backend="eager")  # not one graph: torch's own ctc_loss breaks it
    assert torch.isnan(plain(torch.tensor([[1, 4]]), y_pred[:1])).all()


@pytest.mark.parametrize("labels", [[[1, 4]], [[-1, 2]], [[2**40, 1]]])
def test_labels_out_of_range(labels: Any) -> None:
    with pytest.raises(ValueError, match="ctc: y_pred has 4 classes, so labels must be from 1 to 3"):
        losses.CTC()(torch.tensor(labels), torch.zeros(1, 5, 4))


@pytest.mark.parametrize(
    ("true", "pred"), [((2,), (2, 5, 3)), ((2, 3), (2, 5)), ((3, 4), (2, 5, 3)), ((2, 3, 1), (2, 5, 3)), ((), ())]
)
def test_shapes_that_do_not_fit(true: tuple[int, ...], pred: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"ctc: y_true has shape .*labels must be \(batch, length\)"):
        losses.CTC()(torch.zeros(true), torch.zeros(pred))


def test_what_else_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"ctc: labels must be whole numbers, got 0\.5"):
        losses.ctc([[0.5]], torch.zeros(1, 5, 3))
    with pytest.raises(ValueError, match=r"CTC 'ctc': mask has shape \(2, 4\).*\(2, 5\)"):
        losses.CTC()(torch.ones(2, 2), torch.zeros(2, 5, 3), mask=torch.ones(2, 4))
    with pytest.raises(ValueError, match=r"CTC 'ctc': sample_weight has shape \(2, 5\)"):
        losses.CTC()(torch.ones(2, 2), torch.zeros(2, 5, 3), sample_weight=torch.ones(2, 5))
