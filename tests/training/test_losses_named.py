"""Losses of one's own, by name and from a config, and what they say of what they cannot take."""

import os

os.environ["KERAS_BACKEND"] = "torch"

from typing import Any

import keras
import numpy as np
import pytest
import torch

from batches import REDUCTIONS, copied, dense, labels, predictions, some, weights_and_masks
from ostinato.core.registry import custom_object_scope
from ostinato.training import losses


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
    ours = losses.named.resolve_loss(name, true, pred)
    assert ours is not None
    assert (ours.fn.__name__, ours.name) == (theirs.fn.__name__, theirs.name)


def test_resolve_loss_of_objects() -> None:
    loss = losses.MeanSquaredError()
    assert losses.named.resolve_loss(loss, (8,), (8,)) is loss
    assert losses.named.resolve_loss(None, (8,), (8,)) is None

    def own(y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return y_true - y_pred

    assert losses.named.resolve_loss(own, (8,), (8,)).name == "own"


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match=r"loss 'mean_sqared_error' is not known. Did you mean 'mean_squared_error'\?"):
        losses.get("mean_sqared_error")
    with pytest.raises(ValueError, match=r"reduction 'sun'.*Did you mean 'sum'\?"):
        losses.MeanSquaredError("sun")
    with pytest.raises(ValueError, match="losses: expected a name"):
        losses.get(3)
    with pytest.raises(ValueError, match=r"floating dtype.*'int32'"):
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
        losses.named.resolve_loss(torch.nn.BCEWithLogitsLoss(), (4, 1), (4, 1))


def test_a_function_must_give_a_tensor() -> None:
    with pytest.raises(TypeError, match="must return a tensor, and returned float"):
        losses.LossFunctionWrapper(lambda y_true, y_pred: 0.0)(torch.zeros(1), torch.zeros(1))


def test_words_are_no_targets() -> None:
    with pytest.raises(TypeError, match="expected numbers"):
        losses.MeanSquaredError()(np.array(["a", "b"]), torch.zeros(2))
