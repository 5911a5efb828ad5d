"""Dense and Embedding: what Keras's own tests ask of them beyond their values."""

import json

import keras
import numpy as np
import pytest
import torch

import ostinato
from ostinato import layers
from side_by_side import give_weights, tensor


def test_an_activation_taken_away():
    """Keras lets a model be fine-tuned on its logits so."""
    for layer, shape in ((layers.Dense(2, activation="relu"), (3, 4)), (layers.Conv1D(2, 2), (3, 5, 4))):
        layer.build(shape)
        linear = type(layer).from_config({**layer.get_config(), "activation": None})
        linear.build(shape)
        linear.set_weights(layer.get_weights())
        layer.activation = None
        assert torch.equal(layer(tensor(*shape)), linear(tensor(*shape)))


@pytest.mark.parametrize("listed", [False, True])
def test_initial_weights_of_an_embedding(listed):
    table = np.random.default_rng(0).standard_normal((5, 3)).astype("float32")
    given = [table] if listed else table
    layer, theirs = layers.Embedding(5, 3, weights=given), keras.layers.Embedding(5, 3, weights=given)
    np.testing.assert_array_equal(layer.embeddings.detach().numpy(), table)
    words = np.array([[0, 4], [2, 2]])
    torch.testing.assert_close(layer(words), theirs(words))
    config = json.loads(json.dumps(layer.get_config()))
    assert "weights" not in config and layers.Embedding.from_config(config).output_dim == 3
    frozen = layers.Embedding(5, 3, weights=given, trainable=False)
    assert not frozen.trainable_weights and len(frozen.non_trainable_weights) == 1


def test_initial_weights_of_another_shape():
    with pytest.raises(ValueError, match=r"got shape \(4, 3\) for 'embeddings', number 0; expected \(5, 3\)"):
        layers.Embedding(5, 3, weights=np.zeros((4, 3)))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64", "float16", "float32", "float64", "bool"])
@pytest.mark.parametrize("as_array", [False, True])
def test_indices_of_any_dtype(dtype, as_array):
    """As in Keras, floats are cut to whole numbers; the mask is made before the cut."""
    given = np.array([[0.0, 1.0, 2.9, 0.5], [8.0, 3.0, 0.0, 8.99]]).astype(dtype)
    layer, theirs = layers.Embedding(9, 3, mask_zero=True), keras.layers.Embedding(9, 3, mask_zero=True)
    for each in (layer, theirs):
        each.build()
    give_weights(layer, theirs)
    x = given if as_array else torch.tensor(given)
    ours, right = layer(x), theirs(torch.tensor(given))
    torch.testing.assert_close(ours, right, rtol=0, atol=0)
    assert ours._keras_mask.tolist() == right._keras_mask.tolist() == (given != 0).tolist()
    ours.sum().backward()
    read = np.bincount(given.astype(int).ravel(), minlength=9)
    np.testing.assert_array_equal(layer.embeddings.grad, np.repeat(read[:, None], 3, axis=1))


@pytest.mark.parametrize(("dtype", "rows"), [("bfloat16", 257), ("float16", 2049)])
def test_float_indices_are_not_rounded(dtype, rows):
    layer = layers.Embedding(rows, 2, dtype=dtype)
    given = np.arange(float(rows))[None]
    assert torch.equal(layer(given)[0], layer.embeddings)
    assert torch.equal(layer(torch.tensor(given, dtype=layer.embeddings.dtype))[0], layer.embeddings)
    with pytest.raises(TypeError, match=f"{dtype} cannot hold every index below {rows + 1}"):
        layers.Embedding(rows + 1, 2)(torch.tensor(given, dtype=layer.embeddings.dtype))


@pytest.mark.parametrize("config", [{"input_dim": 3.7, "output_dim": 8}, {"input_dim": 10, "output_dim": 0}])
def test_a_bad_config_of_an_embedding_is_the_error_that_keras_raises(config):
    for cls in (layers.Embedding, keras.layers.Embedding):
        with pytest.raises(ValueError, match="must be a positive integer"):
            cls(**config)
        with pytest.raises(TypeError, match="must be a positive integer"):
            cls.from_config(config)


def test_messages_say_what_those_of_keras_do():
    """Words that people look for, and that Keras's own tests match."""
    with pytest.raises(ValueError, match=r"`units` must be a positive integer, got 2\.5"):
        layers.Dense(2.5)
    with pytest.raises(ValueError, match=r"`input_dim` must be a positive integer, got 3\.7"):
        layers.Embedding(3.7, 2)
    layer = layers.Dense(2)
    layer.build((1, 2))
    with pytest.raises(ValueError, match="incompatible with the layer"):
        layer(tensor(1, 3))
    symbol = ostinato.Input((5, 3), batch_size=4)
    model = ostinato.Model(symbol, layers.LSTM(2, stateful=True)(symbol))
    with pytest.raises(ValueError, match=r"takes \(4, 5, 3\), got \(1, 5, 3\). Its batch size is fixed, at 4"):
        model(tensor(1, 5, 3))
