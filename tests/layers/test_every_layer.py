"""What every exported layer promises, over the table in tests/descriptors.py."""

import copy
import inspect
import json

import keras
import numpy as np
import pytest
import torch

import ostinato
from descriptors import DESCRIPTORS, ON_STRINGS, class_name
from ostinato import layers
from ostinato.core.shapes import is_shape
from ostinato.recurrence.nests import flatten, map_nest

LAYERS = {
    each.__name__
    for each in (getattr(layers, name) for name in layers.__all__)
    if inspect.isclass(each) and issubclass(each, layers.Layer) and each not in (layers.Layer, layers.Wrapper)
}
"""The names of the exported layers, but for those to be subclassed; of one with two names, its own."""
CALLED_ALONE = [label for label, each in DESCRIPTORS.items() if each.states is None]
MASKED = {label: [False, True] if each.mask else [False] for label, each in DESCRIPTORS.items()}
ON_FLOATS = [(label, masked) for label, each in DESCRIPTORS.items() if not each.below for masked in MASKED[label]]
RECURRENT = ("LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional")
IN_KERAS = [
    (label, masked)
    for label, each in DESCRIPTORS.items()
    if not each.apart and hasattr(keras.layers, class_name(label))
    for masked in MASKED[label]
]


def built(label, **options):
    """A layer of the table with random weights (positive ones: some are variances)."""
    each = DESCRIPTORS[label]
    layer = each.make(layers, **options)
    dtype = getattr(torch, options.get("dtype", "float32"))
    layer(each.example(dtype=dtype), *each.example_states(dtype=dtype), training=False)
    layer.set_weights(weights_for(layer))
    return layer


def weights_for(layer):
    rng = np.random.default_rng(3)
    return [rng.uniform(0.1, 0.6, weight.shape) for weight in layer.get_weights()]


def call(label, layer, inputs=None, **kwargs):
    """The flat outputs of a call in inference, on the row's example if on nothing else."""
    each = DESCRIPTORS[label]
    inputs = each.example() if inputs is None else inputs
    first = flatten(inputs)[0]
    dtype = first.dtype if first.is_floating_point() else getattr(torch, str(layer.dtype).removeprefix("torch."))
    return flatten(layer(inputs, *each.example_states(len(first), dtype), training=False, **kwargs))


def with_masks(label, inputs, masks=None):
    """The inputs with masks hanging on copies of them."""
    masks = iter(DESCRIPTORS[label].example_masks() if masks is None else masks)

    def hang(leaf):
        leaf, mask = leaf.clone(), next(masks)
        if mask is not None:
            leaf._keras_mask = mask
        return leaf

    return map_nest(hang, inputs)


def assert_equal(found, expected):
    assert len(found) == len(expected)
    for mine, right in zip(found, expected, strict=True):
        assert mine.dtype == right.dtype and torch.equal(mine, right)


def masks_of(outputs):
    return [getattr(leaf, "_keras_mask", None) for leaf in outputs]


def assert_same_masks(found, expected):
    for mine, right in zip(masks_of(found), masks_of(expected), strict=True):
        assert (mine is None) == (right is None)
        assert mine is None or torch.equal(mine, right)


def test_every_exported_layer_is_in_the_table():
    described = {class_name(label) for label in DESCRIPTORS}
    assert described | ON_STRINGS == LAYERS


@pytest.mark.parametrize("label", DESCRIPTORS)
def test_has_a_docstring_with_an_example(label):
    assert ">>>" in getattr(layers, class_name(label)).__doc__


@pytest.mark.parametrize("label", DESCRIPTORS)
def test_config_there_and_back(label):
    layer = built(label)
    config = json.loads(json.dumps(layer.get_config()))
    whole = json.loads(json.dumps(layers.serialize(layer)))
    for again in (type(layer).from_config(config), layers.deserialize(whole)):
        assert type(again) is type(layer)
        assert json.loads(json.dumps(again.get_config())) == config
        call(label, again)
        again.set_weights(layer.get_weights())
        assert_equal(call(label, again), call(label, layer))


@pytest.mark.parametrize("label", CALLED_ALONE)
@pytest.mark.parametrize("batch", [3, None])
def test_computed_shape_is_the_real_one(label, batch):
    each = DESCRIPTORS[label]
    layer = each.make(layers)
    shapes = map_nest(lambda shape: (batch, *shape), each.inputs, is_shape)
    computed = layer.compute_output_shape(shapes)
    found = layer(each.example(), training=False)
    real = map_nest(lambda leaf: (batch, *leaf.shape[1:]), found)
    assert flatten(computed, is_shape) == flatten(real, is_shape)


@pytest.mark.parametrize("label", CALLED_ALONE)
def test_symbolic_call_is_the_eager_one(label):
    each = DESCRIPTORS[label]
    layer = built(label)
    dtype = "int64" if each.below else "float32"
    symbols = map_nest(lambda shape: ostinato.Input(shape, dtype=dtype), each.inputs, is_shape)
    drawn = layer(symbols)
    model = ostinato.Model(symbols, drawn)
    inputs = each.example()
    found, right = flatten(model(inputs, training=False)), call(label, layer)
    assert_equal(found, right)
    for symbol, value in zip(flatten(drawn), right, strict=True):
        assert symbol.shape == (None, *value.shape[1:]) and symbol.dtype == value.dtype
    if each.mask:
        masked = with_masks(label, inputs)
        found, right = flatten(model(masked, training=False)), call(label, layer, with_masks(label, inputs))
        assert_equal(found, right)
        assert_same_masks(found, right)


@pytest.mark.parametrize("label", DESCRIPTORS)
def test_float64(label):
    each = DESCRIPTORS[label]
    double, single = built(label, dtype="float64"), built(label)
    found = call(label, double, each.example(dtype=torch.float64))
    for mine, right in zip(found, call(label, single), strict=True):
        assert mine.dtype == (torch.float64 if right.is_floating_point() else right.dtype)
        torch.testing.assert_close(mine, right.to(mine.dtype), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("label", DESCRIPTORS)
def test_batch_of_none(label):
    each = DESCRIPTORS[label]
    layer = built(label)
    full = call(label, layer)
    inputs = each.example(batch=0)
    empty = flatten(layer(inputs, *each.example_states(0), training=False))
    assert [leaf.shape for leaf in empty] == [(0, *leaf.shape[1:]) for leaf in full]
    if each.mask:
        masks = [None if mask is None else mask[:0] for mask in each.example_masks()]
        empty = flatten(layer(with_masks(label, inputs, masks), *each.example_states(0), training=False))
        assert [leaf.shape for leaf in empty] == [(0, *leaf.shape[1:]) for leaf in full]


@pytest.mark.parametrize("label", DESCRIPTORS)
def test_copy_and_state_dict(label):
    layer = built(label)
    right = call(label, layer)
    assert_equal(call(label, copy.deepcopy(layer)), right)
    fresh = DESCRIPTORS[label].make(layers)
    call(label, fresh)
    fresh.load_state_dict(layer.state_dict())
    assert_equal(call(label, fresh), right)


@pytest.mark.parametrize("label", DESCRIPTORS)
def test_inputs_that_are_not_contiguous(label):
    """The same bits; to rounding where there are weights: torch's matrix products add up in an order by strides."""
    layer = built(label)
    strided = map_nest(lambda leaf: torch.stack([leaf, leaf + 1], -1)[..., 0], DESCRIPTORS[label].example())
    assert not any(leaf.is_contiguous() for leaf in flatten(strided))
    found, right = call(label, layer, strided), call(label, layer)
    if layer.weights:
        torch.testing.assert_close(found, right, rtol=1e-6, atol=1e-6)
    else:
        assert_equal(found, right)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("label", DESCRIPTORS)
def test_inputs_are_never_written_to(label, training):
    each = DESCRIPTORS[label]
    layer = built(label)
    for inputs in [each.example()] + [with_masks(label, each.example())] * bool(each.mask):
        masks = [None if mask is None else mask.clone() for mask in masks_of(flatten(inputs))]
        states = each.example_states()
        layer(inputs, *states, training=training)
        assert_equal(flatten(inputs), flatten(each.example()))
        assert_equal(flatten(states), flatten(each.example_states()))
        for mask, before in zip(masks_of(flatten(inputs)), masks, strict=True):
            assert mask is None or before is None or torch.equal(mask, before)


@pytest.mark.parametrize(("label", "masked"), ON_FLOATS)
def test_gradients_are_finite(label, masked):
    each = DESCRIPTORS[label]
    layer = built(label)
    inputs = map_nest(lambda leaf: leaf.requires_grad_(), each.example())
    outputs = call(label, layer, with_masks(label, inputs) if masked else inputs)
    sum(leaf.square().sum() for leaf in outputs).backward()
    for leaf in (*flatten(inputs), *layer.trainable_weights):
        assert leaf.grad is not None and leaf.grad.isfinite().all()
    assert any(leaf.grad.ne(0).any() for leaf in flatten(inputs))


@pytest.mark.parametrize(("label", "masked"), IN_KERAS)
def test_values_gradients_and_masks_are_those_of_keras(label, masked):
    each = DESCRIPTORS[label]
    ours, theirs = built(label), each.make(keras.layers)
    call(label, theirs)
    theirs.set_weights(ours.get_weights())

    def run(layer):
        inputs = map_nest(lambda leaf: leaf.requires_grad_(leaf.is_floating_point()), each.example())
        outputs = call(label, layer, with_masks(label, inputs) if masked else inputs)
        loss = sum((leaf * torch.linspace(-1, 2, leaf.numel()).reshape(leaf.shape)).sum() for leaf in outputs)
        wanted = [leaf for leaf in flatten(inputs) if leaf.requires_grad]
        return outputs, torch.autograd.grad(loss, wanted) if wanted else ()

    (found, gradients), (right, expected) = run(ours), run(theirs)
    torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients, expected, rtol=1e-5, atol=1e-5)
    assert_same_masks(found, right)


@pytest.mark.parametrize("label", [label for label in CALLED_ALONE if class_name(label) not in RECURRENT])
def test_compiles_whole(label):
    """One graph without a break, for sizes that are open; the numbers are the eager ones.

    How recurrent layers are compiled is in tests/engines/test_operators.py.
    """
    layer, inputs = built(label), DESCRIPTORS[label].example()
    if DESCRIPTORS[label].mask:
        inputs = with_masks(label, inputs)
    compiled = torch.compile(
        lambda inputs: layer(inputs, training=False), fullgraph=True, dynamic=True, backend="eager"
    )
    torch.testing.assert_close(flatten(compiled(inputs)), call(label, layer, inputs), rtol=1e-6, atol=1e-6)
    torch._dynamo.reset()
