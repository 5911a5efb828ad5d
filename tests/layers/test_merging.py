"""The layers that merge a list of tensors, against NumPy and real Keras: masks, ranks, and what is refused."""

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

ELEMENTWISE = {
    "Add": lambda arrays: sum(arrays),
    "Subtract": lambda arrays: arrays[0] - arrays[1],
    "Multiply": np.multiply.reduce,
    "Average": lambda arrays: sum(arrays) / len(arrays),
    "Maximum": np.maximum.reduce,
    "Minimum": np.minimum.reduce,
}
MERGING = [*ELEMENTWISE, "Concatenate"]
STEPS = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1]], dtype=torch.bool)
OTHERS = torch.tensor([[1, 0, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]], dtype=torch.bool)


def masked(x, mask):
    x = x.clone()
    if mask is not None:
        x._keras_mask = mask
    return x


def mask_after(y):
    return getattr(y, "_keras_mask", None)


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(sorted(ELEMENTWISE)),
    st.integers(0, 4),
    st.lists(st.integers(1, 5), min_size=0, max_size=3),
    st.integers(1, 4),
)
def test_values_over_sizes(name, batch, sizes, count):
    count = 2 if name == "Subtract" else count
    arrays = [np.random.default_rng(i).standard_normal((batch, *sizes)) for i in range(count)]
    layer = getattr(layers, name)(dtype="float64")
    expected = ELEMENTWISE[name](arrays)
    np.testing.assert_allclose(layer(arrays).numpy(), expected, rtol=1e-12, atol=1e-12)
    assert layer.compute_output_shape([x.shape for x in arrays]) == expected.shape


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize(
    "shapes",
    [[(4,), (5, 4)], [(5, 1), (5, 4)], [(1, 4), (5, 1)], [(2, 5, 4), (5, 4)], [(3, 2, 1, 4), (4,)], [(), (3,)]],
)
def test_lower_ranks_get_axes_after_the_batch(name, shapes):
    inputs = [tensor(3, *shape, seed=i) for i, shape in enumerate(shapes)]
    ours, theirs = getattr(layers, name)(), getattr(keras.layers, name)()
    torch.testing.assert_close(ours(inputs), theirs(inputs))
    computed = ours.compute_output_shape([(None, *shape) for shape in shapes])
    assert computed == (None, *ours(inputs).shape[1:])
    symbols = [ostinato.Input(shape) for shape in shapes]
    assert ours(symbols).shape == computed


@pytest.mark.parametrize("masks", [(STEPS, OTHERS), (STEPS, None), (None, OTHERS)], ids=["both", "first", "second"])
@pytest.mark.parametrize("name", MERGING)
def test_masks_of_keras(name, masks):
    inputs = [tensor(3, 4, 2, seed=i) for i in range(2)]

    def run(layer):
        starts = [x.clone().requires_grad_() for x in inputs]
        y = layer([masked(x, mask) for x, mask in zip(starts, masks, strict=True)])
        return y, torch.autograd.grad((y * tensor(*y.shape, seed=9)).sum(), starts), mask_after(y)

    mine, right = run(getattr(layers, name)()), run(getattr(keras.layers, name)())
    torch.testing.assert_close(mine[:2], right[:2])
    assert (mine[2] is None) == (right[2] is None)
    assert mine[2] is None or torch.equal(mine[2], right[2])


def test_masks_joined_by_hand():
    x, y = tensor(3, 4, 2), tensor(3, 4, 2, seed=1)
    pair = [masked(x, STEPS), masked(y, OTHERS)]
    assert torch.equal(mask_after(layers.Add()(pair)), STEPS | OTHERS)
    assert torch.equal(mask_after(layers.Concatenate()(pair)), STEPS | OTHERS)
    assert torch.equal(mask_after(layers.Concatenate(axis=1)(pair)), torch.cat([STEPS, OTHERS], 1))
    assert torch.equal(mask_after(layers.Concatenate(axis=0)(pair)), torch.cat([STEPS, OTHERS], 0))
    one = [x, masked(y, OTHERS)]
    assert mask_after(layers.Add()(one)) is None
    assert mask_after(layers.Concatenate()(one)).all()
    joined = mask_after(layers.Concatenate(axis=-2)(one))
    assert torch.equal(joined, torch.cat([torch.ones(3, 4, dtype=torch.bool), OTHERS], 1))


def test_masks_of_inputs_with_more_axes():
    """Keras lines a mask (batch, time) up with the last axes here, and fails or mixes up steps and features."""
    x, y = tensor(3, 4, 2, 5), tensor(3, 4, 2, 5, seed=1)
    for axis, expected in ((1, torch.cat([STEPS, OTHERS], 1)), (2, STEPS | OTHERS), (-1, STEPS | OTHERS)):
        joined = layers.Concatenate(axis)([masked(x, STEPS), masked(y, OTHERS)])
        assert torch.equal(mask_after(joined), expected)
    product = layers.Multiply()([masked(x, STEPS), masked(y, OTHERS)])
    a, b = (torch.where(m[:, :, None, None], v, 1) for m, v in ((STEPS, x), (OTHERS, y)))
    torch.testing.assert_close(product, a * b * (STEPS | OTHERS)[:, :, None, None])
    assert torch.equal(mask_after(product), STEPS | OTHERS)


@pytest.mark.parametrize("kind", [torch.float32, torch.int64])
@pytest.mark.parametrize("name", MERGING)
def test_masks_of_numbers_are_masks(name, kind):
    inputs = [tensor(3, 4, 2, seed=i) for i in range(2)]
    layer = getattr(layers, name)()
    found = layer(inputs, mask=[STEPS.to(kind), OTHERS.to(kind)])
    right = layer(inputs, mask=[STEPS, OTHERS])
    assert torch.equal(found, right) and torch.equal(mask_after(found), mask_after(right))


@pytest.mark.parametrize("garbage", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("name", [*MERGING, "Dot"])
def test_what_is_not_finite_in_masked_steps_reaches_no_used_step(name, both, garbage):
    """The masked input's garbage meets used steps of the other input, and all steps in a product over time."""
    layer = layers.Dot(axes=1) if name == "Dot" else getattr(layers, name)()
    masks = [STEPS, OTHERS if both else None]
    inputs = [tensor(3, 4, 2, seed=i) for i in range(2)]
    inputs[0][~STEPS] = garbage
    if both:
        inputs[1][~OTHERS] = garbage
    for x in inputs:
        x.requires_grad_()
    y = layer([masked(x, mask) for x, mask in zip(inputs, masks, strict=True)])
    used = mask_after(y) if mask_after(y) is not None else torch.ones(y.shape[:2], dtype=torch.bool)
    assert y[used].isfinite().all()
    gradients = torch.autograd.grad(y[used].square().sum(), inputs)
    assert all(each.isfinite().all() for each in gradients)
    assert gradients[0][STEPS].ne(0).any()


def test_masks_inside_a_model():
    words, others = ostinato.Input((4,), dtype="int64"), ostinato.Input((4,), dtype="int64")
    embedding = layers.Embedding(9, 3, mask_zero=True)
    for name in MERGING:
        joined = getattr(layers, name)()([embedding(words), embedding(others)])
        model = ostinato.Model([words, others], layers.GlobalAveragePooling1D()(joined))
        a, b = torch.tensor([[1, 2, 0, 0]]), torch.tensor([[3, 0, 4, 0]])
        used = torch.tensor([[True, True, True, False]])
        merged = getattr(layers, name)()([embedding(a), embedding(b)])
        torch.testing.assert_close(model([a, b]), merged[used][None].mean(1))


@pytest.mark.parametrize("axes", [1, 2, (1, 2), (2, 1), (-1, 1), -1])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("shapes", [((4, 4), (4, 4)), ((4, 4, 3), (2, 4, 4)), ((4, 4), (4, 4, 5, 2))])
def test_dot(axes, normalize, shapes):
    inputs = [tensor(3, *shape, seed=i) for i, shape in enumerate(shapes)]
    pair = [axes, axes] if isinstance(axes, int) else axes
    if inputs[0].shape[pair[0]] != inputs[1].shape[pair[1]]:
        with pytest.raises(ValueError, match=r"sizes along the axes summed over must be equal"):
            layers.Dot(axes)(inputs)
        return
    ours, theirs = layers.Dot(axes, normalize=normalize), keras.layers.Dot(axes, normalize=normalize)
    torch.testing.assert_close(ours(inputs), theirs(inputs), rtol=1e-5, atol=1e-5)
    assert ours.compute_output_shape([x.shape for x in inputs]) == tuple(ours(inputs).shape)


def test_cosine_of_a_zero_vector_has_a_gradient():
    """Keras's is NaN."""
    x = torch.zeros(1, 3, requires_grad=True)
    layers.Dot(1, normalize=True)([x, torch.ones(1, 3)]).sum().backward()
    assert x.grad.isfinite().all()


FUNCTIONS = ["add", "subtract", "multiply", "average", "maximum", "minimum", "concatenate", "dot"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_the_layers(name):
    inputs = [tensor(3, 4, seed=i) for i in range(2)]
    function = getattr(layers, name)
    torch.testing.assert_close(function(inputs), getattr(keras.layers, name)(inputs))
    symbols = [ostinato.Input((4,)), ostinato.Input((4,))]
    model = ostinato.Model(symbols, function(symbols, name="mine"))
    torch.testing.assert_close(model(inputs), function(inputs))
    assert model.layers[-1].name == "mine" and type(model.layers[-1]).__name__.lower() == name


def test_concatenate_takes_its_axis():
    inputs = [tensor(3, 4, 2), tensor(3, 1, 2)]
    assert torch.equal(layers.concatenate(inputs, axis=1), torch.cat(inputs, 1))
    assert torch.equal(layers.concatenate([inputs[0]], 1), inputs[0])


@pytest.mark.parametrize("name", MERGING)
def test_whole_numbers_and_other_dtypes(name):
    whole = [torch.tensor([[1, 4]]), torch.tensor([[3, 2]])]
    layer = getattr(layers, name)()
    y = layer(whole)
    assert y.is_floating_point() == (name == "Average")
    mixed = layer([whole[0], whole[1].to(torch.bfloat16)])
    assert mixed.dtype is torch.bfloat16
    symbols = [ostinato.Input((2,), dtype="int64"), ostinato.Input((2,), dtype="bfloat16")]
    assert layer(symbols).dtype is torch.bfloat16 and layer([symbols[0]] * 2).dtype is y.dtype


KERAS = {
    "Concatenate": lambda: keras.layers.Concatenate(axis=1),
    "Add": lambda: keras.layers.Add(name="sum"),
    "Dot": lambda: keras.layers.Dot(axes=(1, 2), normalize=True),
}


@pytest.mark.parametrize("name", KERAS)
def test_a_config_that_keras_wrote(name):
    theirs = KERAS[name]()
    inputs = [tensor(3, 4, 5), tensor(3, 4, 5, seed=1)] if name != "Dot" else [tensor(3, 4, 5), tensor(3, 5, 4)]
    right = theirs(inputs)
    mine = layers.deserialize(json.loads(json.dumps(keras.layers.serialize(theirs))))
    assert type(mine) is getattr(layers, name) and mine.name == theirs.name
    torch.testing.assert_close(mine(inputs), right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("name", ["Add", "Multiply", "Concatenate"])
def test_compiles_whole(name, dynamic):
    layer = getattr(layers, name)()
    compiled = torch.compile(
        lambda a, b, m, n: layer([a, b], mask=[m, n]), fullgraph=True, dynamic=dynamic, backend="eager"
    )
    for batch in (3, 2):
        x, y = tensor(batch, 4, 2), tensor(batch, 4, 2, seed=1)
        masks = STEPS[:batch], OTHERS[:batch]
        assert torch.equal(compiled(x, y, *masks), layer([x, y], mask=list(masks)))
    torch._dynamo.reset()


X, Y = torch.zeros(3, 4, 2), torch.zeros(3, 5, 2)
REFUSED = {
    "no list": (lambda: layers.Add()(X), r"Add 'add\w*': expected a list of tensors, got one of shape \(3, 4, 2\)"),
    "no list, symbolic": (lambda: layers.Add()(ostinato.Input((4,))), "expected a list of tensors"),
    "an empty list": (lambda: layers.Add()([]), "expected at least one tensor"),
    "a scalar": (lambda: layers.Add()([torch.tensor(1.0)]), "each with a batch"),
    "None": (lambda: layers.Add()([X, None]), "expected a tensor or an array, got None"),
    "shapes": (lambda: layers.Add()([X, Y]), r"do not go together"),
    "shapes, symbolic": (lambda: layers.Multiply()([ostinato.Input((4,)), ostinato.Input((5,))]), "do not go together"),
    "batches": (lambda: layers.Add()([X, X[:1]]), "must have the same batch"),
    "three": (lambda: layers.Subtract()([X, X, X]), "exactly 2 inputs, got 3"),
    "one": (lambda: layers.Dot(1)([X]), "exactly 2 inputs, got 1"),
    "concatenate sizes": (lambda: layers.Concatenate()([X, Y]), r"equal sizes except along axis -1"),
    "concatenate ranks": (lambda: layers.Concatenate()([X, X[0]]), "same number of axes"),
    "concatenate axis": (lambda: layers.Concatenate(axis=3)([X, X]), "among them axis 3"),
    "axis": (lambda: layers.Concatenate(axis=1.5), "axis must be a whole number"),
    "masks": (lambda: layers.Add()([X, X], mask=[STEPS]), "a mask or None for each of the inputs, got 1 for 2"),
    "one mask": (lambda: layers.Concatenate().compute_mask([X, X], STEPS), "got Tensor for 2"),
    "mask's shape": (
        lambda: layers.Add()([X, X], mask=[STEPS[:, :3], None]),
        r"leading axes \(3, 4\), got \(3, 3\)",
    ),
    "dot over the batch": (lambda: layers.Dot(0)([X, X]), "not the batch, axis 0"),
    "dot, no such axis": (lambda: layers.Dot(3)([X, X]), "cannot sum over axis 3"),
    "dot sizes": (lambda: layers.Dot(1)([X, Y]), "must be equal, got 4"),
    "dot axes": (lambda: layers.Dot((1, 2, 3)), "two of them"),
    "dot nested axes": (lambda: layers.Dot(((1,), 2)), "two of them"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name):
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        make()


def test_refuses_axes_that_are_no_numbers():
    with pytest.raises(TypeError, match="Dot: axes must be a whole number or two of them, got 'a'"):
        layers.Dot("a")
