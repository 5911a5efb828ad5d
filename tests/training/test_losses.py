"""Losses have the values and the gradients of real Keras, and say what is wrong with what they cannot take."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import itertools
from typing import Any

import keras
import numpy as np
import pytest
import torch

from ostinato.core.registry import custom_object_scope
from ostinato.training import losses

SHAPES = [(1, 2), (7, 5), (64, 10), (3, 5, 4), (2, 1, 3), (2, 3, 4, 5)]
REDUCTIONS = ["sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", None]
DTYPES = [torch.float32, torch.float64]


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


def in_keras(loss: Any, y_true: Any, y_pred: torch.Tensor, sample_weight: Any = None, mask: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
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


def copied(weights: Any) -> Any:
    return weights.clone() if isinstance(weights, torch.Tensor) else weights


def compare(loss: Any, y_true: Any, y_pred: torch.Tensor, sample_weight: Any = None, mask: Any = None) -> None:
    value = loss(y_true, y_pred, sample_weight=sample_weight, mask=mask)
    (gradient,) = torch.autograd.grad(value.sum(), y_pred)
    theirs, their_gradient = in_keras(loss, y_true, y_pred, sample_weight, mask)
    assert value.dtype == y_pred.dtype
    assert value.shape == theirs.shape
    torch.testing.assert_close(value, theirs, rtol=1e-6, atol=1e-6)
    # The gradients of a probability near 0 are huge, so that only relative errors tell.
    torch.testing.assert_close(gradient, their_gradient, rtol=1e-5, atol=1e-6)


def weights_and_masks(shape: tuple[int, ...], reduction: str | None) -> list[tuple[Any, Any]]:
    """Nothing, weights, masks and both, for values of this shape, as far as Keras has the right answer."""
    weights: list[Any] = [None, weight(shape)]
    if reduction != "mean_with_sample_weight":  # Keras divides by the sum of the weights before they are broadcast
        weights += [weight((*shape[:-1], 1)) if len(shape) > 1 else weight((*shape, 1))]
        weights += [0.5] if shape != (1,) else []  # Keras makes a scalar of one value
    masks = [some(shape), torch.ones(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)]
    return [*itertools.product(weights, [None]), *itertools.product([None, weight(shape)], masks)]


KINDS = {
    "sparse": (losses.SparseCategoricalCrossentropy, {}),
    "categorical": (losses.CategoricalCrossentropy, {"label_smoothing": 0.1}),
    "binary": (losses.BinaryCrossentropy, {"label_smoothing": 0.2}),
    "squared": (losses.MeanSquaredError, {}),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("logits", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_against_keras(kind: str, shape: tuple[int, ...], logits: bool, dtype: torch.dtype) -> None:
    cls, options = KINDS[kind]
    options = options if kind == "squared" else {**options, "from_logits": logits}
    y_pred = predictions(shape, logits, dtype)
    y_true = labels(shape[:-1], shape[-1]) if kind == "sparse" else dense(shape)
    y_true = y_true.round() if kind == "binary" else y_true
    for reduction in REDUCTIONS:
        loss = cls(reduction=reduction, **options)
        for sample_weight, mask in weights_and_masks(shape[:-1], reduction):
            compare(loss, y_true, y_pred, sample_weight, mask)
        if kind == "sparse":
            compare(loss, y_true.unsqueeze(-1), y_pred)


def test_a_weighted_mean_divides_by_the_weights_that_were_used() -> None:
    y_true, y_pred, weights = dense((4, 3, 5)), torch.zeros(4, 3, 5), weight((4, 1))
    loss, each = losses.MeanSquaredError("mean_with_sample_weight"), dense((4, 3, 5)).square().mean(-1)
    expected = (each * weights).sum() / weights.expand(4, 3).sum()
    torch.testing.assert_close(loss(y_true, y_pred, weights), expected)
    torch.testing.assert_close(loss(y_true, y_pred, weights[:, 0]), expected)
    torch.testing.assert_close(loss(y_true, y_pred, 0.5), each.mean())
    mask = some((4, 3))
    torch.testing.assert_close(loss(y_true, y_pred, weights, mask), (each * weights)[mask].sum() / (weights * mask).sum())
    assert loss(y_true, y_pred, torch.zeros(4)).item() == 0


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("logits", [True, False])
@pytest.mark.parametrize("ignored", [0, -1, 255])
def test_ignore_class(ignored: int, logits: bool, reduction: str | None) -> None:
    y_pred, y_true = predictions((6, 5, 4), logits, torch.float32), labels((6, 5), 4)
    y_true[some((6, 5), seed=9)] = ignored
    loss = losses.SparseCategoricalCrossentropy(logits, ignore_class=ignored, reduction=reduction)
    for sample_weight, mask in [(None, None), (weight((6, 5)), None), (None, some((6, 5))), (weight((6, 5)), some((6, 5)))]:
        compare(loss, y_true, y_pred, sample_weight, mask)


@pytest.mark.parametrize("axis", [1, -2, 0])
@pytest.mark.parametrize("logits", [True, False])
def test_classes_along_another_axis(axis: int, logits: bool) -> None:
    y_pred = predictions((3, 5, 4), logits, torch.float32)
    rest = tuple(np.delete((3, 5, 4), axis))
    compare(losses.CategoricalCrossentropy(logits, axis=axis), dense((3, 5, 4)), y_pred)
    compare(losses.BinaryCrossentropy(logits, axis=axis), dense((3, 5, 4)), y_pred)
    function = losses.sparse_categorical_crossentropy(y_true := labels(rest, y_pred.shape[axis]), y_pred, logits, axis=axis)
    theirs = keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=logits, axis=axis)
    torch.testing.assert_close(function, theirs, rtol=1e-6, atol=1e-6)
    loss = losses.SparseCategoricalCrossentropy(logits, axis=axis, reduction="none")
    torch.testing.assert_close(loss(y_true, y_pred), theirs, rtol=1e-6, atol=1e-6)
    mask = some(rest)
    values = loss(torch.where(mask, y_true, -7), y_pred, mask=mask)
    torch.testing.assert_close(values, theirs * mask, rtol=1e-6, atol=1e-6)


RANKS = [((4,), (4, 1)), ((4, 1), (4,)), ((4, 3), (4, 3, 1)), ((4, 3, 1), (4, 3)), ((4,), (4,)), ((4, 1), (4, 1))]


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "none"])
@pytest.mark.parametrize(("true", "pred"), RANKS)
def test_a_last_axis_of_size_1_may_be_missing(true: tuple[int, ...], pred: tuple[int, ...], reduction: str) -> None:
    y_pred = predictions(pred, False, torch.float32)
    compare(losses.MeanSquaredError(reduction), dense(true), y_pred)
    compare(losses.BinaryCrossentropy(reduction=reduction), dense(true).round(), y_pred)
    if len(pred) > 1:
        compare(losses.BinaryCrossentropy(reduction=reduction), dense(true).round(), y_pred, weight((4,)))


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.float32, float])
def test_labels_of_any_dtype(kind: Any) -> None:
    y_pred, y_true = predictions((8, 5), True, torch.float32), labels((8,), 5).numpy()
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    expected = loss(torch.as_tensor(y_true), y_pred)
    torch.testing.assert_close(loss(y_true.astype(kind), y_pred), expected, rtol=0, atol=0)
    torch.testing.assert_close(loss(torch.as_tensor(y_true.astype(kind)), y_pred), expected, rtol=0, atol=0)
    torch.testing.assert_close(loss(y_true[:, None].astype(kind), y_pred), expected, rtol=0, atol=0)
    torch.testing.assert_close(loss(list(map(kind, y_true)), y_pred), expected, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [bool, np.int32, np.uint8, np.float64, np.float32])
def test_dense_targets_of_any_dtype(kind: Any) -> None:
    y_pred, y_true = predictions((8, 5), False, torch.float32), dense((8, 5)).round().numpy()
    for loss in (losses.MeanSquaredError(), losses.BinaryCrossentropy(), losses.CategoricalCrossentropy()):
        value = loss(y_true.astype(kind), y_pred)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, in_keras(loss, y_true, y_pred)[0], rtol=1e-6, atol=1e-6)


def test_arrays_that_cannot_be_written_and_views_that_run_backwards() -> None:
    y_pred, y_true = predictions((8, 5), False, torch.float32), dense((8, 5)).numpy()
    frozen = y_true.copy()
    frozen.flags.writeable = False
    expected = losses.MeanSquaredError()(y_true, y_pred)
    assert losses.MeanSquaredError()(frozen, y_pred) == expected
    assert losses.MeanSquaredError()(y_true[::-1].copy()[::-1], y_pred) == expected
    assert losses.MeanSquaredError()(y_true, y_pred.detach().numpy()) == expected


def test_the_result_is_float32_but_for_float64_or_where_a_dtype_was_asked_for() -> None:
    y_true = dense((4, 3))
    for given, expected in [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ]:
        assert losses.MeanSquaredError()(y_true, torch.ones(4, 3, dtype=given)).dtype == expected
        assert losses.MeanSquaredError(dtype="float64")(y_true, torch.ones(4, 3, dtype=given)).dtype == torch.float64
    assert losses.MeanSquaredError(dtype=torch.bfloat16)(y_true, torch.ones(4, 3)).dtype == torch.bfloat16
    assert losses.MeanSquaredError()(np.zeros((4, 3)), np.ones((4, 3))).dtype == torch.float32
    exact = losses.MeanSquaredError()(np.zeros((1, 1)), torch.full((1, 1), 1 / 3, dtype=torch.float64))
    assert exact.item() == (1 / 3) ** 2


@pytest.mark.parametrize("name", ["mse", "MSE", "mean_squared_error", "bce", "BCE", "binary_crossentropy"])
def test_functions_by_name_are_those_of_keras(name: str) -> None:
    y_true, y_pred = dense((6, 3)).round(), predictions((6, 3), False, torch.float32)
    ours, theirs = losses.get(name), keras.losses.get(name)
    assert ours.__name__ == theirs.__name__
    torch.testing.assert_close(ours(y_true, y_pred), theirs(y_true, y_pred), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("logits", [True, False])
def test_functions(logits: bool) -> None:
    y_pred = predictions((6, 3, 4), logits, torch.float32)
    for name, y_true, options in [
        ("categorical_crossentropy", dense((6, 3, 4)), {"label_smoothing": 0.3}),
        ("binary_crossentropy", dense((6, 3, 4)).round(), {"label_smoothing": 0.3}),
        ("sparse_categorical_crossentropy", labels((6, 3), 4), {}),
        ("sparse_categorical_crossentropy", labels((6, 3, 1), 4), {}),
        ("sparse_categorical_crossentropy", labels((6, 3), 4), {"ignore_class": 2}),
    ]:
        ours = getattr(losses, name)(y_true, y_pred, from_logits=logits, **options)
        theirs = getattr(keras.losses, name)(y_true, y_pred, from_logits=logits, **options)
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_signatures_are_those_of_keras() -> None:
    for name in ("MeanSquaredError", "BinaryCrossentropy", "CategoricalCrossentropy", "SparseCategoricalCrossentropy"):
        ours, theirs = getattr(losses, name)(), getattr(keras.losses, name)()
        for key, value in theirs.get_config().items():
            assert ours.get_config()[key] == value
    positional = losses.SparseCategoricalCrossentropy(True, 3, "sum")
    assert (positional.from_logits, positional.ignore_class, positional.reduction) == (True, 3, "sum")


# -- masks and weights, where Keras has no answer ---------------------------------------------------------------------


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
def test_what_stands_in_a_masked_step_reaches_neither_the_loss_nor_a_gradient(loss: Any, make: Any, garbage: float) -> None:
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


# -- losses of one's own ----------------------------------------------------------------------------------------------


class Halved(losses.Loss):
    def __init__(self, by: float = 2.0, **options: Any) -> None:
        super().__init__(**options)
        self.by = by

    def call(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return (y_true - y_pred).abs().mean(-1) / self.by

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "by": self.by}


class KerasHalved(keras.losses.Loss):
    def call(self, y_true: Any, y_pred: Any) -> Any:
        return keras.ops.mean(keras.ops.abs(y_true - y_pred), axis=-1) / 2


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_subclass(reduction: str | None) -> None:
    y_true, y_pred = dense((6, 3, 4)), dense((6, 3, 4), seed=8)
    ours, theirs = Halved(reduction=reduction), KerasHalved(reduction=reduction)
    assert ours.name == "halved"
    for sample_weight, mask in weights_and_masks((6, 3), reduction):
        tensor = y_pred * 1
        if mask is not None:
            keras.src.backend.set_keras_mask(tensor, mask)
        expected = theirs(y_true, tensor, sample_weight=copied(sample_weight))
        torch.testing.assert_close(ours(y_true, y_pred, sample_weight, mask), expected, rtol=1e-6, atol=1e-6)


def test_a_function_sees_its_targets_as_they_are_and_may_give_one_value() -> None:
    seen = []

    def own(y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        seen.append(y_true)
        kept = y_true >= 0
        return ((y_true - y_pred) * kept).square().sum() / kept.sum()

    y_true = torch.tensor([[1.0, -1.0], [2.0, 3.0]])
    mask = torch.tensor([[True, False], [True, True]])
    loss = losses.LossFunctionWrapper(own)
    assert loss(y_true, torch.zeros(2, 2), mask=mask).item() == pytest.approx(14 / 3)
    assert torch.equal(seen[0], y_true)
    assert loss(y_true, torch.zeros(2, 2), sample_weight=2.0).item() == pytest.approx(28 / 3)
    with pytest.raises(ValueError, match=r"own.*sample_weight has shape \(2,\).*one value for the whole batch"):
        loss(y_true, torch.zeros(2, 2), sample_weight=torch.ones(2))


def test_a_function_of_ones_own_with_options_and_a_mask() -> None:
    def power(y_true: torch.Tensor, y_pred: torch.Tensor, exponent: float) -> torch.Tensor:
        return (y_true - y_pred).abs().pow(exponent).mean(-1)

    y_true, y_pred, mask = dense((4, 3, 5)), torch.zeros(4, 3, 5), some((4, 3))
    loss = losses.LossFunctionWrapper(power, exponent=3)
    torch.testing.assert_close(loss(y_true, y_pred, mask=mask), y_true[mask].pow(3).mean())
    assert loss.name == "power"


# -- names, configs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss",
    [
        losses.MeanSquaredError("sum", "squares"),
        losses.BinaryCrossentropy(True, 0.1, -2, None),
        losses.CategoricalCrossentropy(True, 0.1, 1, "none", "cross"),
        losses.SparseCategoricalCrossentropy(True, 3, "mean", name="sparse", dtype="float64"),
        losses.LossFunctionWrapper(losses.binary_crossentropy, "sum", from_logits=True),
    ],
    ids=lambda loss: loss.name,
)
def test_a_config_makes_the_same_loss(loss: Any) -> None:
    again = losses.deserialize(losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()
    y_true, y_pred = labels((4, 3), 5), predictions((4, 3, 5), True, torch.float64)
    targets = y_true if "Sparse" in type(loss).__name__ else torch.nn.functional.one_hot(y_true, 5)
    assert torch.equal(again(targets, y_pred), loss(targets, y_pred))
    assert losses.get(losses.serialize(loss)).get_config() == loss.get_config()


def test_configs_that_keras_writes_are_read() -> None:
    for name in ("MeanSquaredError", "BinaryCrossentropy", "CategoricalCrossentropy", "SparseCategoricalCrossentropy"):
        written = keras.losses.serialize(getattr(keras.losses, name)(reduction="sum", name="mine"))
        read = losses.deserialize(written)
        assert type(read) is getattr(losses, name)
        assert (read.name, read.reduction) == ("mine", "sum")


def test_a_loss_of_ones_own_comes_back_from_its_config() -> None:
    config = losses.serialize(Halved(4.0))
    with pytest.raises(ValueError, match="Halved"):
        losses.deserialize(config)
    assert losses.deserialize(config, {"Halved": Halved}).by == 4.0
    with custom_object_scope({"Halved": Halved}):
        assert losses.get("Halved").by == 2.0


def test_get() -> None:
    assert losses.get(None) is None
    loss = losses.MeanSquaredError()
    assert losses.get(loss) is loss
    assert isinstance(losses.get(losses.BinaryCrossentropy), losses.BinaryCrossentropy)
    assert isinstance(losses.get("CategoricalCrossentropy"), losses.CategoricalCrossentropy)
    assert losses.get("sparse_categorical_crossentropy") is losses.sparse_categorical_crossentropy
    assert losses.serialize(losses.mean_squared_error) == "mean_squared_error"


@pytest.mark.parametrize(
    ("true", "pred"),
    [((8,), (8, 1)), ((8, 1), (8, 1)), ((8,), (8, 5)), ((8, 1), (8, 5)), ((8, 5), (8, 5)), ((8, 3), (8, 3, 5))],
)
@pytest.mark.parametrize("name", ["crossentropy", "CE", "mse", "binary_crossentropy"])
def test_resolve_loss_goes_by_the_shapes_as_keras_does(name: str, true: tuple[int, ...], pred: tuple[int, ...]) -> None:
    theirs = keras.src.trainers.compile_utils.get_loss(name, np.zeros(true), np.zeros(pred))
    ours = losses.resolve_loss(name, true, pred)
    assert ours is not None
    assert (ours.fn.__name__, ours.name) == (theirs.fn.__name__, theirs.name)


def test_resolve_loss_of_objects() -> None:
    loss = losses.MeanSquaredError()
    assert losses.resolve_loss(loss, (8,), (8,)) is loss
    assert losses.resolve_loss(None, (8,), (8,)) is None

    def own(y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return y_true - y_pred

    assert losses.resolve_loss(own, (8,), (8,)).name == "own"


# -- what is wrong ----------------------------------------------------------------------------------------------------


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match=r"loss 'mean_sqared_error' is not known. Did you mean 'mean_squared_error'\?"):
        losses.get("mean_sqared_error")
    with pytest.raises(ValueError, match=r"reduction 'sun'.*Did you mean 'sum'\?"):
        losses.MeanSquaredError("sun")
    with pytest.raises(ValueError, match="losses: expected a name"):
        losses.get(3)
    with pytest.raises(ValueError, match="floating dtype.*'int32'"):
        losses.MeanSquaredError(dtype="int32")
    with pytest.raises(TypeError, match="fn must be a function"):
        losses.LossFunctionWrapper(3)
    with pytest.raises(NotImplementedError, match="Loss must define call"):
        losses.Loss()(torch.zeros(1), torch.zeros(1))


@pytest.mark.parametrize("wrong", [10, -1, -100, 2**40, -(2**62)])
@pytest.mark.parametrize("shape", [(64,), (8, 8)])
@pytest.mark.parametrize("logits", [True, False])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "none"])
def test_labels_out_of_range(wrong: int, shape: tuple[int, ...], logits: bool, reduction: str) -> None:
    y_true, y_pred = labels(shape, 10), predictions((*shape, 10), logits, torch.float32)
    y_true.view(-1)[5] = wrong
    loss = losses.SparseCategoricalCrossentropy(logits, reduction=reduction)
    with pytest.raises(ValueError, match=f"10 classes, so labels must be from 0 to 9; got labels from .*{wrong}"):
        loss(y_true, y_pred)
    with pytest.raises(ValueError, match="labels must be from 0 to 9"):
        losses.sparse_categorical_crossentropy(y_true.numpy(), y_pred, from_logits=logits)


@pytest.mark.parametrize("wrong", [0.5, float("nan"), -0.25])
def test_labels_that_are_no_whole_numbers(wrong: float) -> None:
    with pytest.raises(ValueError, match=f"labels must be whole numbers, got {wrong}"):
        losses.SparseCategoricalCrossentropy()(torch.tensor([1.0, wrong]), torch.rand(2, 3))


@pytest.mark.parametrize(
    ("loss", "true", "pred", "message"),
    [
        (losses.MeanSquaredError(), (4,), (4, 3), r"y_true has shape \(4,\) and y_pred \(4, 3\)"),
        (losses.MeanSquaredError(), (4, 1), (4, 3), r"y_true has shape \(4, 1\) and y_pred \(4, 3\)"),
        (losses.MeanSquaredError(), (), (), r"must be \(batch, ...\)"),
        (losses.BinaryCrossentropy(), (5, 3), (4, 3), r"y_true has shape \(5, 3\) and y_pred \(4, 3\)"),
        (losses.CategoricalCrossentropy(), (4,), (4, 3), "For whole numbers .* sparse_categorical_crossentropy"),
        (losses.CategoricalCrossentropy(True), (4, 2), (4, 3), r"y_true has shape \(4, 2\) and y_pred \(4, 3\)"),
        (losses.SparseCategoricalCrossentropy(), (4, 3), (4, 3), "For one-hot labels .* categorical_crossentropy"),
        (losses.SparseCategoricalCrossentropy(), (5,), (4, 3), r"y_true must have shape \(4,\)"),
        (losses.SparseCategoricalCrossentropy(), (), (), "y_pred is a scalar"),
        (losses.SparseCategoricalCrossentropy(ignore_class=1), (4, 2), (4, 3), r"y_true must have shape \(4,\)"),
        (losses.SparseCategoricalCrossentropy(ignore_class=1), (5,), (4, 3), r"y_true must have shape \(4,\)"),
    ],
)
def test_shapes_that_do_not_fit(loss: Any, true: tuple[int, ...], pred: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss(torch.zeros(true), torch.ones(pred))


@pytest.mark.parametrize("option", ["sample_weight", "mask"])
@pytest.mark.parametrize("shape", [(3,), (5,), (4, 5), (4, 3, 2), (3, 4)])
def test_weights_and_masks_that_do_not_fit(option: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"MeanSquaredError 'mse'.*{option} has shape \({shape[0]},.*\(4, 3\)"):
        losses.MeanSquaredError(name="mse")(torch.zeros(4, 3, 2), torch.ones(4, 3, 2), **{option: torch.ones(shape)})


def test_smoothing_out_of_range() -> None:
    for cls in (losses.BinaryCrossentropy, losses.CategoricalCrossentropy):
        with pytest.raises(ValueError, match=r"label_smoothing must be in \[0, 1\], got 1.5"):
            cls(label_smoothing=1.5)
    with pytest.raises(ValueError, match="label_smoothing"):
        losses.categorical_crossentropy(torch.ones(1, 2), torch.ones(1, 2), label_smoothing=-0.1)


def test_one_class_is_worth_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"one class is always 0 .*\(4, 1\).* binary_crossentropy"):
        losses.CategoricalCrossentropy()(torch.ones(4, 1), torch.ones(4, 1))


def test_torch_losses_take_their_arguments_the_other_way_round() -> None:
    with pytest.raises(TypeError, match=r"torch.nn.BCEWithLogitsLoss takes \(input, target\)"):
        losses.resolve_loss(torch.nn.BCEWithLogitsLoss(), (4, 1), (4, 1))


def test_a_function_must_give_a_tensor() -> None:
    with pytest.raises(TypeError, match="must return a tensor, and returned float"):
        losses.LossFunctionWrapper(lambda y_true, y_pred: 0.0)(torch.zeros(1), torch.zeros(1))


def test_words_are_no_targets() -> None:
    with pytest.raises(TypeError, match="expected numbers"):
        losses.MeanSquaredError()(np.array(["a", "b"]), torch.zeros(2))
