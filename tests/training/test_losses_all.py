"""All losses that go by element have the values and gradients of real Keras, with weights, masks and reductions."""

import dataclasses
import inspect
import json
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from batches import REDUCTIONS, dense, labels, some, weight
from loss_oracle import compare
from ostinato.training import losses


def positive(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    """From 0.05 to 0.95, so that no loss has a corner or a pole there."""
    values = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (0.05 + 0.9 * values).to(dtype).requires_grad_()


def real(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * values).to(dtype).requires_grad_()


def classes(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.nn.functional.one_hot(labels(shape[:-1], shape[-1]), shape[-1]).float()


@dataclasses.dataclass(frozen=True)
class Case:
    """A loss, and what it is given: targets and predictions for a shape."""

    loss: str
    options: dict[str, Any]
    y_true: Callable[[tuple[int, ...]], torch.Tensor]
    y_pred: Callable[..., torch.Tensor]

    def make(self, **options: Any) -> Any:
        return getattr(losses, self.loss)(**self.options, **options)


def signed(shape: tuple[int, ...]) -> torch.Tensor:
    return 2 * dense(shape).round() - 1


def zero_or_one(shape: tuple[int, ...]) -> torch.Tensor:
    return dense(shape).round()


def numbers(shape: tuple[int, ...]) -> torch.Tensor:
    return labels(shape[:-1], shape[-1])


CASES = [
    Case("MeanSquaredError", {}, dense, real),
    Case("MeanAbsoluteError", {}, dense, real),
    Case("MeanAbsolutePercentageError", {}, dense, real),
    Case("MeanSquaredLogarithmicError", {}, dense, positive),
    Case("Huber", {}, dense, real),
    Case("Huber", {"delta": 0.3}, dense, real),
    Case("LogCosh", {}, dense, real),
    Case("CosineSimilarity", {}, dense, real),
    Case("KLDivergence", {}, dense, positive),
    Case("Poisson", {}, dense, positive),
    Case("Hinge", {}, signed, real),
    Case("Hinge", {}, zero_or_one, real),
    Case("SquaredHinge", {}, zero_or_one, real),
    Case("CategoricalHinge", {}, classes, real),
    Case("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.2}, zero_or_one, real),
    Case("BinaryCrossentropy", {}, zero_or_one, positive),
    Case("BinaryFocalCrossentropy", {}, zero_or_one, positive),
    Case("BinaryFocalCrossentropy", {"apply_class_balancing": True, "alpha": 0.3, "gamma": 1.5}, zero_or_one, positive),
    Case("BinaryFocalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, zero_or_one, real),
    Case("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.2}, classes, real),
    Case("CategoricalCrossentropy", {}, classes, positive),
    Case("CategoricalFocalCrossentropy", {}, classes, positive),
    Case("CategoricalFocalCrossentropy", {"from_logits": True, "alpha": 0.6, "gamma": 0.7}, classes, real),
    Case("CategoricalFocalCrossentropy", {"label_smoothing": 0.3}, classes, positive),
    Case("SparseCategoricalCrossentropy", {"from_logits": True}, numbers, real),
    Case("SparseCategoricalCrossentropy", {}, numbers, positive),
    Case("SparseCategoricalCrossentropy", {"ignore_class": 1}, numbers, positive),
    Case("CategoricalGeneralizedCrossEntropy", {}, numbers, positive),
    Case("CategoricalGeneralizedCrossEntropy", {"q": 0.8}, numbers, positive),
]
each_case = pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.loss}-{case.options}-{case.y_true.__name__}"
)


@each_case
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 5), (1, 1, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_keras(case: Case, reduction: str | None, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    loss, y_true, y_pred = case.make(reduction=reduction), case.y_true(shape), case.y_pred(shape, dtype)
    for sample_weight in (None, weight(shape[:-1])):
        for mask in (None, some(shape[:-1]), torch.ones(shape[:-1], dtype=torch.bool)):
            compare(loss, y_true, y_pred, sample_weight, mask)


@each_case
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_weight_for_each_sample_is_one_for_all_its_steps(case: Case, reduction: str | None) -> None:
    y_true, y_pred, weights = case.y_true((4, 3, 5)), case.y_pred((4, 3, 5)), weight((4,))
    loss = case.make(reduction=reduction)
    for mask in (None, some((4, 3))):
        compare(loss, y_true, y_pred, weights[:, None].expand(4, 3), mask)
        steps = loss(y_true, y_pred, weights[:, None].expand(4, 3), mask)
        torch.testing.assert_close(loss(y_true, y_pred, weights, mask), steps)
        torch.testing.assert_close(loss(y_true, y_pred, weights.numpy(), mask), steps)


@each_case
@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -float("inf"), -1e30])
def test_what_is_masked_reaches_nothing(case: Case, garbage: float) -> None:
    loss, y_true, clean, mask = case.make(), case.y_true((4, 3, 5)), case.y_pred((4, 3, 5)), some((4, 3))
    expected = loss(y_true, clean, mask=mask)
    expected.backward()
    spoiled_true = y_true.clone()
    spoiled_true[~mask] = garbage if y_true.is_floating_point() else 99
    spoiled = torch.where(mask.unsqueeze(-1), clean.detach(), garbage).requires_grad_()
    value = loss(spoiled_true, spoiled, mask=mask)
    value.backward()
    torch.testing.assert_close(value, expected, rtol=0, atol=0)
    torch.testing.assert_close(spoiled.grad, clean.grad, rtol=0, atol=0)
    assert not spoiled.grad[~mask].any()
    nothing = loss(spoiled_true, spoiled, mask=torch.zeros(4, 3, dtype=torch.bool))
    assert nothing.item() == 0


@each_case
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(0, 4), (0, 3, 4), (2, 0, 4)])
def test_no_samples_or_no_steps(case: Case, shape: tuple[int, ...], reduction: str | None) -> None:
    y_pred = torch.zeros(shape, requires_grad=True)
    value = case.make(reduction=reduction)(case.y_true(shape), y_pred)
    value.sum().backward()
    assert value.shape == (shape[:-1] if reduction in ("none", None) else ())
    assert not value.any()


@each_case
@settings(max_examples=15, deadline=None)
@given(batch=st.integers(1, 6), time=st.integers(1, 5), features=st.integers(2, 7), seed=st.integers(0, 99))
def test_a_mask_is_as_the_steps_that_it_leaves(case: Case, batch: int, time: int, features: int, seed: int) -> None:
    y_true, y_pred = case.y_true((batch, time, features)), case.y_pred((batch, time, features), seed=seed)
    mask = some((batch, time), seed=seed)
    mask[0, 0] = True
    loss = case.make()
    torch.testing.assert_close(loss(y_true, y_pred, mask=mask), loss(y_true[mask], y_pred[mask]))


@each_case
def test_the_gradient_is_the_slope(case: Case) -> None:
    y_true, y_pred = case.y_true((3, 4)), case.y_pred((3, 4), torch.float64)
    assert torch.autograd.gradcheck(lambda each: case.make()(y_true, each), (y_pred,))


@each_case
def test_whole_numbers_lists_and_arrays(case: Case) -> None:
    y_true, y_pred = case.y_true((4, 5)), case.y_pred((4, 5)).detach()
    function = case.make().fn
    options = case.make()._fn_kwargs
    expected = function(y_true, y_pred, **options)
    assert expected.shape == (4,)
    for kind in (torch.Tensor.tolist, torch.Tensor.numpy):
        torch.testing.assert_close(function(kind(y_true), kind(y_pred), **options), expected)
    half = function(y_true, y_pred.bfloat16(), **options)
    assert half.dtype is torch.bfloat16
    torch.testing.assert_close(half.float(), expected, rtol=0.1, atol=0.1)
    assert case.make(dtype="float64")(y_true, y_pred).dtype is torch.float64
    if y_true.is_floating_point() and torch.equal(y_true, y_true.round()):
        torch.testing.assert_close(function(y_true.to(torch.int32), y_pred, **options), expected)


@each_case
def test_compiled(case: Case) -> None:
    loss, y_true, y_pred, mask = case.make(), case.y_true((4, 3, 5)), case.y_pred((4, 3, 5)), some((4, 3))
    step = torch.compile(lambda true, pred, kept: loss(true, pred, mask=kept), backend="eager")
    torch.testing.assert_close(step(y_true, y_pred, mask), loss(y_true, y_pred, mask=mask))


@each_case
def test_a_config_makes_the_same_loss(case: Case) -> None:
    loss = case.make(reduction="sum", name="mine", dtype="float64")
    again = losses.deserialize(json.loads(json.dumps(losses.serialize(loss))))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()
    assert {key: getattr(again, key) for key in case.options} == case.options


CORNERS = torch.tensor([[-1.0, 1.0, 0.5, 0.0], [1.0, 2.0, 0.0, -3.0]])


@pytest.mark.parametrize("name", ["Hinge", "SquaredHinge", "MeanAbsoluteError", "Huber", "LogCosh", "MeanSquaredError"])
@pytest.mark.parametrize("targets", [[[0, 1, 0, 1], [1, 1, 0, 0]], [[-1, 1, 1, 1], [1, -1, -1, 1]], [[1, 1, 1, 1]] * 2])
def test_corners_have_the_gradient_that_keras_gives_them(name: str, targets: Any) -> None:
    compare(getattr(losses, name)(), torch.tensor(targets, dtype=torch.float32), CORNERS.clone().requires_grad_())


def test_the_best_wrong_class_may_be_two() -> None:
    y_pred = torch.tensor([[1.0, 1.0, 0.5], [0.0, -1.0, -1.0], [2.0, 1.0, 3.0]], requires_grad=True)
    compare(losses.CategoricalHinge(), torch.eye(3).flip(0), y_pred)


@pytest.mark.parametrize(
    "name", ["MeanAbsolutePercentageError", "MeanSquaredLogarithmicError", "Poisson", "KLDivergence"]
)
def test_targets_and_predictions_of_zero(name: str) -> None:
    y_true = torch.tensor([[0.0, 0.0, 1.0], [1e-9, 0.5, 0.0]])
    compare(getattr(losses, name)(), y_true, torch.tensor([[0.5, 1e-3, 0.25], [1.0, 0.5, 2.0]], requires_grad=True))
    value = getattr(losses, name)("none")(y_true, torch.zeros(2, 3))
    expected = getattr(keras.losses, name)("none")(y_true, torch.zeros(2, 3))
    torch.testing.assert_close(value, expected)


def test_a_vector_of_zeros_has_no_direction_and_a_finite_gradient() -> None:
    y_pred = torch.zeros(2, 3, requires_grad=True)
    value = losses.CosineSimilarity()(torch.ones(2, 3), y_pred)
    value.backward()
    assert value.item() == 0
    assert torch.isfinite(y_pred.grad).all()
    torch.testing.assert_close(losses.cosine_similarity(torch.zeros(1, 3), torch.ones(1, 3)), torch.zeros(1))


def test_log_cosh_far_from_zero_is_the_distance() -> None:
    value = losses.log_cosh([[0.0, 0.0]], [[1e4, -1e4]])
    torch.testing.assert_close(value, torch.tensor([1e4 - np.log(2)], dtype=torch.float32))


@pytest.mark.parametrize("axis", [1, -2, 0])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("CosineSimilarity", {}),
        ("BinaryFocalCrossentropy", {}),
        ("CategoricalFocalCrossentropy", {}),
        ("CategoricalFocalCrossentropy", {"from_logits": True}),
    ],
)
def test_another_axis(name: str, options: dict[str, Any], axis: int) -> None:
    compare(getattr(losses, name)(axis=axis, **options), zero_or_one((3, 5, 4)), positive((3, 5, 4)))
    mask = some(tuple(np.delete((3, 5, 4), axis)))
    loss = getattr(losses, name)(axis=axis, reduction="none", **options)
    spoiled = positive((3, 5, 4)).detach().masked_fill(~mask.unsqueeze(axis), torch.nan)
    expected = loss(zero_or_one((3, 5, 4)), positive((3, 5, 4))) * mask
    torch.testing.assert_close(loss(zero_or_one((3, 5, 4)), spoiled, mask=mask), expected)


@pytest.mark.parametrize("alpha", [[0.1, 0.2, 0.3], np.array([0.1, 0.2, 0.3]), torch.tensor([0.125, 0.25, 0.5])])
def test_a_weight_for_each_class(alpha: Any) -> None:
    loss = losses.CategoricalFocalCrossentropy(alpha)
    theirs = keras.losses.CategoricalFocalCrossentropy(list(map(float, alpha)))
    y_pred = positive((6, 3)).detach()
    torch.testing.assert_close(loss(classes((6, 3)), y_pred), theirs(classes((6, 3)), y_pred))
    again = losses.deserialize(json.loads(json.dumps(losses.serialize(loss))))
    torch.testing.assert_close(again(classes((6, 3)), y_pred), loss(classes((6, 3)), y_pred))


@pytest.mark.parametrize("name", ["mse", "mae", "huber", "binary_crossentropy", "hinge", "poisson"])
def test_a_mask_of_predictions_without_an_axis_of_features(name: str) -> None:
    y_true, y_pred, mask = zero_or_one((7,)), positive((7,)).detach(), some((7,))
    loss = losses.named.resolve_loss(name, (7,), (7,))
    spoiled = y_pred.masked_fill(~mask, torch.nan)
    torch.testing.assert_close(loss(y_true, spoiled, mask=mask), loss(y_true[mask], y_pred[mask]))


LIKE_MEAN_SQUARED_ERROR = [
    "mean_squared_error",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_logarithmic_error",
    "huber",
    "log_cosh",
    "cosine_similarity",
]


@pytest.mark.parametrize(
    "name", [*LIKE_MEAN_SQUARED_ERROR, "hinge", "squared_hinge", "poisson", "binary_focal_crossentropy"]
)
@pytest.mark.parametrize(("true", "pred"), [((4,), (4, 1)), ((4, 1), (4,)), ((4, 3), (4, 3, 1)), ((4, 3, 1), (4, 3))])
def test_a_last_axis_of_size_1_may_be_missing(name: str, true: tuple[int, ...], pred: tuple[int, ...]) -> None:
    y_true, y_pred = zero_or_one(true), positive(pred)
    wrapped = losses.LossFunctionWrapper(getattr(losses, name))
    theirs = keras.src.losses.losses.LossFunctionWrapper(getattr(keras.losses, name))
    torch.testing.assert_close(wrapped(y_true, y_pred), theirs(y_true, y_pred), rtol=1e-6, atol=1e-6)
    if name in LIKE_MEAN_SQUARED_ERROR:  # the others broadcast in Keras, if they are called as functions
        ours, expected = getattr(losses, name)(y_true, y_pred), getattr(keras.losses, name)(y_true, y_pred)
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", sorted({case.make().fn.__name__ for case in CASES}))
def test_shapes_that_do_not_fit(name: str) -> None:
    options = {"q": 0.5} if name == "categorical_generalized_cross_entropy" else {}
    for true, pred in [((4, 2), (4, 3)), ((5, 3), (4, 3)), ((3,), (4, 3)), ((), ())]:
        with pytest.raises(ValueError, match=rf"{name}: y_"):
            getattr(losses, name)(torch.zeros(true), torch.ones(pred), **options)


def test_options_out_of_range() -> None:
    for delta in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=r"Huber 'huber_loss': delta must be above 0"):
            losses.Huber(delta)
        with pytest.raises(ValueError, match="huber: delta must be above 0"):
            losses.huber([[0.0]], [[1.0]], delta)
    for q in (0, 1, 1.5):
        with pytest.raises(ValueError, match=f"q must be between 0 and 1, got {q}"):
            losses.CategoricalGeneralizedCrossEntropy(q)
        with pytest.raises(ValueError, match="q must be between 0 and 1"):
            losses.categorical_generalized_cross_entropy([0], [[0.5, 0.5]], q)
    for cls in (losses.BinaryFocalCrossentropy, losses.CategoricalFocalCrossentropy):
        with pytest.raises(ValueError, match=r"label_smoothing must be in \[0, 1\], got -0.1"):
            cls(label_smoothing=-0.1)
        with pytest.raises(ValueError, match=r"label_smoothing must be in \[0, 1\]"):
            losses.LossFunctionWrapper(cls().fn, label_smoothing=2)(torch.ones(1, 2), torch.ones(1, 2))


def test_labels_out_of_range_are_told_by_who_took_them() -> None:
    with pytest.raises(ValueError, match=r"categorical_generalized_cross_entropy: y_pred has 2 classes.*from 0 to 1"):
        losses.categorical_generalized_cross_entropy([2], [[0.5, 0.5]], 0.5)
    with pytest.raises(
        ValueError, match=r"categorical_generalized_cross_entropy: labels must be whole numbers, got 0\.5"
    ):
        losses.categorical_generalized_cross_entropy([0.5], [[0.5, 0.5]], 0.5)


def test_one_class_is_worth_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"categorical_focal_crossentropy of one class is always 0 .*\(4, 1\)"):
        losses.CategoricalFocalCrossentropy()(torch.ones(4, 1), torch.ones(4, 1))


THEIRS = {name: each for name, each in keras.src.losses.ALL_OBJECTS_DICT.items() if not name.startswith("Loss")}


@pytest.mark.parametrize("name", sorted(THEIRS))
def test_every_name_that_keras_knows(name: str) -> None:
    found, theirs = losses.get(name), THEIRS[name]
    ours = type(found) if inspect.isclass(theirs) else found
    assert ours.__name__ == theirs.__name__
    assert getattr(losses, ours.__name__) is ours
    parameters = [(each.name, each.default) for each in inspect.signature(theirs).parameters.values()]
    assert parameters == [(each.name, each.default) for each in inspect.signature(ours).parameters.values()]
    written = keras.losses.serialize(theirs(reduction="none", name="mine") if inspect.isclass(theirs) else theirs)
    read = losses.deserialize(written)
    if inspect.isclass(theirs):
        assert type(read) is ours
        for key, value in theirs(reduction="none", name="mine").get_config().items():
            assert read.get_config()[key] == value
    else:
        assert read is ours
        assert losses.get(losses.serialize(ours)) is ours


@pytest.mark.parametrize(("alias", "name"), [("logcosh", "log_cosh"), ("kullback_leibler_divergence", "kl_divergence")])
def test_names_of_former_versions_of_keras(alias: str, name: str) -> None:
    assert losses.get(alias) is getattr(losses, name)


@pytest.mark.parametrize("name", sorted(name for name in THEIRS if not inspect.isclass(THEIRS[name])))
def test_a_loss_by_name_is_the_class_with_its_defaults(name: str) -> None:
    resolved = losses.named.resolve_loss(name, (4, 5), (4, 5))
    assert resolved.name == name
    by_function = {case.make().fn: case for case in reversed(CASES) if not case.options}
    if resolved.fn not in by_function:
        return
    case = by_function[resolved.fn]
    y_true, y_pred, mask = case.y_true((4, 3, 5)), case.y_pred((4, 3, 5)), some((4, 3))
    assert torch.equal(resolved(y_true, y_pred), case.make()(y_true, y_pred))
    assert torch.equal(resolved(y_true, y_pred, mask=mask), case.make()(y_true, y_pred, mask=mask))


def test_a_wrapper_that_keras_wrote() -> None:
    theirs = keras.src.losses.losses.LossFunctionWrapper(keras.losses.huber, delta=2.0)
    ours = losses.deserialize(keras.losses.serialize(theirs))
    y_true, y_pred = dense((4, 5)), real((4, 5)).detach() * 3
    torch.testing.assert_close(ours(y_true, y_pred), theirs(y_true, y_pred))
    assert losses.deserialize(losses.serialize(ours)).get_config() == ours.get_config()


def test_a_function_that_is_told_its_options_leaves_out_what_is_ignored() -> None:
    y_true, y_pred = labels((4, 3), 5), real((4, 3, 5))
    wrapped = losses.LossFunctionWrapper(losses.sparse_categorical_crossentropy, from_logits=True, ignore_class=2)
    expected = losses.SparseCategoricalCrossentropy(True, ignore_class=2)(y_true, y_pred)
    assert torch.equal(wrapped(y_true, y_pred), expected)
