"""Attention: against the real Keras, and against its equation in NumPy float64."""

import json

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ostinato
from ostinato import layers
from side_by_side import tensor

OPTIONS = {
    "dot": {},
    "dot, scaled": {"use_scale": True},
    "concat": {"score_mode": "concat"},
    "concat, scaled": {"score_mode": "concat", "use_scale": True},
}
QUERY_MASK = torch.tensor([[True, False, True, True], [False, True, True, False], [True, True, True, True]])
VALUE_MASK = torch.tensor(
    [[True, True, False, False, True], [False, True, False, True, True], [True, False, False, False, False]]
)
MASKS = {
    "none": None,
    "both": [QUERY_MASK, VALUE_MASK],
    "query": [QUERY_MASK, None],
    "value": [None, VALUE_MASK],
    "with one for the key": [QUERY_MASK, VALUE_MASK, VALUE_MASK],
}


def inputs_of(count, dtype=torch.float32):
    """Query, value and perhaps a key, the value of another width."""
    if count == 2:
        return [tensor(3, 4, 6, dtype=dtype), tensor(3, 5, 6, dtype=dtype, seed=1)]
    return [tensor(3, 4, 6, dtype=dtype), tensor(3, 5, 2, dtype=dtype, seed=1), tensor(3, 5, 6, dtype=dtype, seed=2)]


def give(layer, scale=0.7, weight=-1.3):
    """Weights that are not 1."""
    layer.set_weights([scale] * layer.use_scale + [weight] * (layer.score_mode == "concat"))


def run(layer, inputs, weights, **kwargs):
    """Output, scores, and the gradients of a sum over both."""
    fresh = [leaf.detach().clone().requires_grad_() for leaf in inputs]
    outputs = layer(fresh, return_attention_scores=True, **kwargs)
    loss = sum((leaf * tensor(*leaf.shape, dtype=leaf.dtype, seed=9)).sum() for leaf in outputs)
    return outputs, torch.autograd.grad(loss, [*fresh, *weights])


@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("options", OPTIONS)
def test_is_that_of_keras(options, count, mask, causal):
    if causal and mask != "none":  # the other query rows see nothing: ours gives zeros there, Keras a mean of padding
        mask = "query"
    ours, theirs = (module.layers.Attention(**OPTIONS[options]) for module in (ostinato, keras))
    inputs = inputs_of(count)
    for layer in (ours, theirs):
        layer.build([tuple(leaf.shape) for leaf in inputs])
        give(layer) if layer is ours else layer.set_weights([np.asarray(w) for w in ours.get_weights()])
    kwargs = {"mask": MASKS[mask], "use_causal_mask": causal}
    mine = run(ours, inputs, ours.weights, **kwargs)
    right = run(theirs, inputs, [weight.value for weight in theirs.weights], **kwargs)
    torch.testing.assert_close(mine, right, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours(inputs, **kwargs), mine[0][0])


def by_equation(query, value, key, seen, used, concat, scale, weight):
    """Row by row in NumPy float64."""
    outputs = np.zeros((*query.shape[:2], value.shape[-1]))
    for b in range(query.shape[0]):
        for i in range(query.shape[1]):
            columns = [j for j in range(key.shape[1]) if seen[b, i, j]]
            if not used[b, i] or not columns:
                continue
            if concat:
                scores = [weight * np.tanh(scale * (query[b, i] + key[b, j])).sum() for j in columns]
            else:
                scores = [scale * query[b, i] @ key[b, j] for j in columns]
            shares = np.exp(np.array(scores) - max(scores))
            outputs[b, i] = (shares / shares.sum()) @ value[b, columns]
    return outputs


@given(
    st.integers(0, 3),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(1, 4),
    st.booleans(),
    st.booleans(),
    st.sampled_from(list(OPTIONS)),
    st.integers(0, 10_000),
)
@settings(max_examples=150, deadline=None)
def test_any_size_and_mask_by_the_equation(batch, queries, steps, features, causal, masked, options, seed):
    """Rows that see nothing, and garbage where nothing looks, included."""
    rng = np.random.default_rng(seed)
    query, key = rng.standard_normal((batch, queries, features)), rng.standard_normal((batch, steps, features))
    value = rng.standard_normal((batch, steps, 2))
    used = rng.random((batch, queries)) < 0.7 if masked else np.ones((batch, queries), bool)
    there = rng.random((batch, steps)) < 0.6 if masked else np.ones((batch, steps), bool)
    seen = np.broadcast_to(there[:, None], (batch, queries, steps))
    if causal:
        seen = seen & (np.arange(queries)[:, None] >= np.arange(steps))
    concat = OPTIONS[options].get("score_mode") == "concat"
    scale = 0.7 if OPTIONS[options].get("use_scale") else 1.0
    right = by_equation(query, value, key, seen, used, concat, scale, -1.3)
    query[~used], key[~there], value[~there] = np.nan, np.inf, np.nan
    layer = layers.Attention(**OPTIONS[options], dtype="float64")
    layer.build([query.shape, value.shape, key.shape])
    give(layer)
    leaves = [torch.from_numpy(each).requires_grad_() for each in (query, value, key)]
    found = layer(leaves, mask=[used, there] if masked else None, use_causal_mask=causal)
    np.testing.assert_allclose(found.detach().numpy(), right, rtol=1e-10, atol=1e-12)
    gradients = torch.autograd.grad(found.square().sum(), [*leaves, *layer.weights])
    assert all(each.isfinite().all() for each in gradients)
    assert gradients[0][torch.from_numpy(~used)].eq(0).all()
    assert all(each[torch.from_numpy(~there)].eq(0).all() for each in gradients[1:3])


@pytest.mark.parametrize("options", OPTIONS)
def test_gradcheck(options):
    layer = layers.Attention(**OPTIONS[options], dtype="float64")
    inputs = [leaf.requires_grad_() for leaf in inputs_of(3, torch.float64)]
    layer.build([tuple(leaf.shape) for leaf in inputs])
    assert torch.autograd.gradcheck(lambda *leaves: layer(list(leaves), mask=MASKS["both"]), inputs)


def test_nothing_to_attend_to_gives_zeros():
    """Where Keras takes the mean of what the mask rules out."""
    query, value = inputs_of(2)
    mask = VALUE_MASK.clone()
    mask[1] = False
    layer = layers.Attention()
    output, scores = layer([query, value], mask=[None, mask], return_attention_scores=True)
    assert output[1].eq(0).all() and scores[1].eq(0).all()
    torch.testing.assert_close(scores[[0, 2]].sum(-1), torch.ones(2, 4))
    other = layer([query[[0, 2]], value[[0, 2]]], mask=[None, mask[[0, 2]]])
    torch.testing.assert_close(output[[0, 2]], other)


def test_causal_outputs_see_no_later_value():
    x = tensor(2, 6, 3)
    later = x.clone()
    later[:, 4:] += 10
    layer = layers.Attention()
    first, second = (layer([x, each], use_causal_mask=True) for each in (x, later))
    assert torch.equal(first[:, :4], second[:, :4]) and not torch.allclose(first[:, 4:], second[:, 4:])


def test_dropout_is_of_the_softmax_and_repeatable():
    inputs = [tensor(2, 30, 4), tensor(2, 40, 4)]
    plain = layers.Attention()(inputs, return_attention_scores=True)[1]
    first, second = (
        layers.Attention(dropout=0.25, seed=3)(inputs, return_attention_scores=True, training=True) for _ in range(2)
    )
    assert torch.equal(first[0], second[0])
    output, scores = first
    dropped = scores == 0
    assert 0.2 < dropped.float().mean() < 0.3
    torch.testing.assert_close(scores[~dropped], plain[~dropped] / 0.75)
    torch.testing.assert_close(output, scores @ inputs[1])
    layer = layers.Attention(dropout=0.25)
    assert torch.equal(layer(inputs, training=False), layers.Attention()(inputs))
    assert not torch.equal(layer(inputs, training=True), layer(inputs, training=True))
    assert layers.Attention(dropout=1.0)(inputs, training=True).eq(0).all()


def test_masks_that_hang_on_the_inputs_and_the_one_that_goes_on():
    query, value = inputs_of(2)
    query._keras_mask, value._keras_mask = QUERY_MASK, VALUE_MASK
    layer = layers.Attention()
    found = layer([query, value])
    assert torch.equal(found, layer([query.clone(), value.clone()], mask=[QUERY_MASK, VALUE_MASK]))
    assert torch.equal(found._keras_mask, QUERY_MASK)
    output, scores = layer([query, value], return_attention_scores=True)
    assert torch.equal(output._keras_mask, QUERY_MASK) and getattr(scores, "_keras_mask", None) is None
    alone = layer([query.clone(), value])
    assert getattr(alone, "_keras_mask", None) is None
    assert layer.compute_mask([query, value], None) is None
    assert torch.equal(layer.compute_mask([query, value], [QUERY_MASK.numpy(), None]), QUERY_MASK)


def test_more_axes():
    query, value = tensor(2, 3, 4, 5), tensor(2, 3, 6, 5, seed=1)
    mask = torch.rand(2, 3, 6) < 0.7
    layer = layers.Attention()
    found = layer([query, value], mask=[None, mask])
    right = torch.stack([layer([query[:, i], value[:, i]], mask=[None, mask[:, i]]) for i in range(3)], 1)
    torch.testing.assert_close(found, right)
    theirs = keras.layers.Attention()([query, value])
    torch.testing.assert_close(layer([query, value]), theirs)


def test_drawn():
    query, value = ostinato.Input((None, 6)), ostinato.Input((5, 6))
    layer = layers.Attention(use_scale=True)
    output, scores = layer([query, value], return_attention_scores=True)
    assert output.shape == (None, None, 6) and scores.shape == (None, None, 5)
    assert layer([query, value]).shape == (None, None, 6)
    inputs = inputs_of(2)
    found = ostinato.Model([query, value], [output, scores])(inputs)
    torch.testing.assert_close(tuple(found), layer(inputs, return_attention_scores=True))


def test_masks_in_a_drawn_model_reach_it():
    words = torch.tensor([[1, 2, 0, 0], [3, 4, 5, 0]])
    symbol = ostinato.Input((None,), dtype="int64")
    embedding, attention, after = layers.Embedding(9, 3, mask_zero=True), layers.Attention(), layers.LSTM(2)
    embedded = embedding(symbol)
    model = ostinato.Model(symbol, after(attention([embedded, embedded])))
    x = embedding(words)
    right = after(attention([x, x], mask=[words != 0, words != 0]), mask=words != 0)
    torch.testing.assert_close(model(words), right)


@pytest.mark.parametrize("mask", MASKS)
def test_compiled(mask):
    layer, inputs = layers.Attention(use_scale=True, score_mode="concat"), inputs_of(3)
    right = layer(inputs, mask=MASKS[mask])
    found = torch.compile(layer, backend="eager", fullgraph=True)(inputs, mask=MASKS[mask])
    torch.testing.assert_close(found, right)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    layer = layers.Attention(dtype=dtype)
    found = layer(inputs_of(2, dtype), mask=MASKS["both"])
    right = layers.Attention()(inputs_of(2), mask=MASKS["both"])
    assert found.dtype is dtype
    torch.testing.assert_close(found.float(), right, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("queries, steps", [(0, 5), (3, 0), (0, 0)])
def test_no_queries_and_no_steps(queries, steps):
    found = layers.Attention()([tensor(2, queries, 4), tensor(2, steps, 4)])
    assert found.shape == (2, queries, 4) and found.eq(0).all()


def test_configs_there_and_back_and_from_keras():
    options = {"use_scale": True, "score_mode": "concat", "dropout": 0.25, "seed": 3, "name": "mine"}
    layer = layers.Attention(**options)
    config = json.loads(json.dumps(layers.serialize(layer)))
    assert json.loads(json.dumps(layers.serialize(layers.deserialize(config)))) == config
    theirs = json.loads(json.dumps(keras.saving.serialize_keras_object(keras.layers.Attention(**options))))
    loaded = layers.deserialize(theirs)
    assert all(getattr(loaded, key) == value for key, value in options.items())


QUERY, VALUE = torch.zeros(2, 3, 4), torch.zeros(2, 5, 4)
MISUSED = {
    "a score_mode misspelt": (lambda: layers.Attention(score_mode="concatt"), "Did you mean 'concat'"),
    "dropout above 1": (lambda: layers.Attention(dropout=1.5), r"dropout must be in \[0, 1\], got 1.5"),
    "one tensor": (lambda: layers.Attention()(QUERY), "must be called on a list"),
    "a list of one": (lambda: layers.Attention()([QUERY]), "length 2 or 3"),
    "a list of four": (lambda: layers.Attention()([QUERY] * 4), "length 2 or 3"),
    "a mask that is no list": (
        lambda: layers.Attention()([QUERY, VALUE], mask=torch.ones(2, 3)),
        "layer mask must be a list",
    ),
    "a mask list of one": (lambda: layers.Attention()([QUERY, VALUE], mask=[torch.ones(2, 3)]), "length 2 or 3"),
    "a value mask of the queries": (
        lambda: layers.Attention()([QUERY, VALUE], mask=[None, torch.ones(2, 3)]),
        r"value_mask must be \(2, 5\), got \(2, 3\)",
    ),
    "features that differ": (
        lambda: layers.Attention()([QUERY, torch.zeros(2, 5, 3)]),
        r"got query \(2, 3, 4\), value \(2, 5, 3\), key \(2, 5, 3\)",
    ),
    "a key of another length": (lambda: layers.Attention()([QUERY, VALUE, torch.zeros(2, 6, 4)]), "key .2, 6, 4."),
    "batches that differ": (lambda: layers.Attention()([QUERY, torch.zeros(3, 5, 4)]), "expected query"),
    "two axes": (lambda: layers.Attention()([QUERY[0], VALUE[0]]), "expected query"),
}


@pytest.mark.parametrize("case", MISUSED)
def test_misuse(case):
    misuse, message = MISUSED[case]
    with pytest.raises(ValueError, match=message):
        misuse()


def test_misuse_after_it_is_built():
    layer = layers.Attention()
    layer([QUERY, VALUE])
    with pytest.raises(ValueError, match="must be called on a list"):
        layer(QUERY)
    with pytest.raises(ValueError, match="expected query"):
        layer([QUERY, torch.zeros(2, 5, 3)])
