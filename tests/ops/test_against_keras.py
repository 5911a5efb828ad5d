"""Every operation against keras.ops on the torch backend: values, dtypes, shapes, gradients; and in every setting."""

import keras
import numpy as np
import pytest
import torch

from ops_cases import CASES, floats, positive
from ostinato import Input, Model, ops
from ostinato.recurrence.nests import flatten, map_nest

LOOPS = {"cond", "fori_loop", "scan", "while_loop"}
SAYS = {"convert_to_numpy", "is_tensor", "ndim", "shape"}  # what a tensor says of itself; no tensor comes out
FROM_NOTHING = {"arange", "eye", "ones", "zeros"}
ALL = [(name, number) for name, calls in CASES.items() for number in range(len(calls))]


def table(names=None, without=()):
    chosen = [(name, n) for name, n in ALL if (names is None or name in names) and name not in without]
    return pytest.mark.parametrize(("name", "number"), chosen, ids=[f"{name}-{n}" for name, n in chosen])


def is_array(value):
    return isinstance(value, (np.ndarray, np.generic))


def as_tensors(nest):
    return map_nest(lambda leaf: torch.as_tensor(leaf) if isinstance(leaf, np.ndarray) else leaf, nest)


def close(ours, right, exact_dtype=True):
    mine, theirs = flatten(ours), flatten(right)
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs, strict=True):
        if isinstance(b, torch.Tensor):
            assert a.dtype == b.dtype or not exact_dtype, (a.dtype, b.dtype)
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, equal_nan=True, check_dtype=exact_dtype)
        else:
            np.testing.assert_array_equal(a, b)
            assert type(a) is type(b)


def test_the_table_and_the_list_are_the_same():
    assert sorted([*CASES, *LOOPS]) == sorted(ops.__all__)
    assert all(hasattr(keras.ops, name) for name in ops.__all__)
    assert all(callable(getattr(ops, name)) and getattr(ops, name).__doc__ for name in ops.__all__)


def is_wide(value):
    """Whether Keras would take a 64-bit array for one of 32 bits, which we do not."""
    return is_array(value) and value.dtype in (np.int64, np.float64)


@table()
def test_values_dtypes_and_shapes(name, number):
    args, kwargs = CASES[name][number]
    exact_dtype = not any(map(is_wide, flatten((args, kwargs))))
    given = args if name in SAYS else as_tensors(args)
    close(getattr(ops, name)(*args, **kwargs), getattr(keras.ops, name)(*given, **kwargs), exact_dtype)


@table(without=SAYS)
def test_tensors_are_taken_as_arrays_are(name, number):
    args, kwargs = CASES[name][number]
    close(getattr(ops, name)(*as_tensors(args), **as_tensors(kwargs)), getattr(ops, name)(*args, **kwargs))


@table(without=SAYS | FROM_NOTHING)
def test_float64_stays_float64(name, number):
    args, kwargs = CASES[name][number]
    wide = map_nest(lambda leaf: leaf.astype("float64") if is_array(leaf) and leaf.dtype == "float32" else leaf, args)
    ours = getattr(ops, name)(*wide, **kwargs)
    close(ours, getattr(keras.ops, name)(*as_tensors(args), **kwargs), exact_dtype=False)
    if (
        any(isinstance(leaf, np.ndarray) and leaf.dtype == "float32" for leaf in flatten(args))
        and "dtype" not in kwargs
    ):
        assert torch.float32 not in {leaf.dtype for leaf in flatten(ours)} or name == "cast"


@table(without=SAYS | FROM_NOTHING)
def test_symbolic_inputs_give_what_eager_ones_do(name, number):
    args, kwargs = as_tensors(CASES[name][number])
    given = [leaf for leaf in flatten((args, kwargs)) if isinstance(leaf, torch.Tensor) and leaf.dim()]
    if not given or (name == "where" and len(args) == 1) or (name == "repeat" and len(given) > 1):
        return  # no tensor to draw with, or a shape that depends on the data
    inputs = [Input(batch_shape=tuple(leaf.shape), dtype=leaf.dtype) for leaf in given]
    left = iter(inputs)
    drawn_args, drawn_kwargs = map_nest(
        lambda leaf: next(left) if isinstance(leaf, torch.Tensor) and leaf.dim() else leaf, (args, kwargs)
    )
    right = flatten(getattr(ops, name)(*args, **kwargs))
    drawn = flatten(getattr(ops, name)(*drawn_args, **drawn_kwargs))
    assert [tuple(each.shape) for each in drawn] == [tuple(each.shape) for each in right]
    assert [each.dtype for each in drawn] == [each.dtype for each in right]
    close(flatten(Model(inputs, drawn)(given)), right)


@table(without=SAYS | FROM_NOTHING | {"floor_divide"})
def test_gradients(name, number):
    args, kwargs = CASES[name][number]

    def run(library):
        leaves = []

        def leaf_of(value):
            if not is_array(value):
                return value
            tensor = torch.as_tensor(value).clone()
            if tensor.is_floating_point():
                leaves.append(tensor.requires_grad_())
            return tensor

        given_args, given_kwargs = map_nest(leaf_of, (args, kwargs))
        outputs = flatten(getattr(library, name)(*given_args, **given_kwargs))
        total = sum((out * torch.arange(out.numel()).reshape(out.shape)).sum() for out in outputs if out.requires_grad)
        found = torch.autograd.grad(total, leaves, allow_unused=True) if isinstance(total, torch.Tensor) else leaves
        if found is leaves:
            return [torch.zeros_like(leaf) for leaf in leaves]
        return [torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip(leaves, found, strict=True)]

    for ours, right in zip(run(ops), run(keras.ops), strict=True):
        torch.testing.assert_close(ours, right, rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("name", sorted(set(CASES) - SAYS - FROM_NOTHING - {"stop_gradient"}))
def test_compiled_without_a_break(name):
    args, kwargs = as_tensors(CASES[name][0])
    compiled = torch.compile(getattr(ops, name), fullgraph=True, backend="eager")
    close(compiled(*args, **kwargs), getattr(ops, name)(*args, **kwargs))
    torch._dynamo.reset()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    "name", ["add", "exp", "gelu", "logsumexp", "matmul", "mean", "softmax", "sum", "tanh", "var", "where", "clip"]
)
def test_half_precision_stays(name, dtype):
    args, kwargs = map_nest(
        lambda leaf: leaf.to(dtype) if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() else leaf,
        as_tensors(CASES[name][0]),
    )
    out = getattr(ops, name)(*args, **kwargs)
    assert out.dtype is dtype
    exact = getattr(ops, name)(
        *[a.double() if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in args]
    )
    torch.testing.assert_close(out.double(), exact, rtol=2e-2, atol=2e-2)


# -- where numbers and nothing become tensors -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "maximum", "minimum", "power", "mod"])
@pytest.mark.parametrize("number", [2, 2.5, np.float64(2.5)], ids=["int", "float", "np.float64"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(), (3,)], ids=str)
def test_numbers_take_the_dtype_of_tensors(name, number, dtype, shape):
    x = torch.ones(shape, dtype=dtype)
    assert getattr(ops, name)(x, number).dtype is dtype
    assert getattr(ops, name)(number, x).dtype is dtype


@pytest.mark.parametrize("default", [torch.float32, torch.float64], ids=str)
def test_new_tensors_are_of_the_default_dtype(default):
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        made = [
            ops.zeros(2),
            ops.ones((2, 2)),
            ops.eye(2),
            ops.full((2,), 0.5),
            ops.linspace(0, 1, 3),
            ops.arange(0.0, 1.0, 0.5),
            ops.convert_to_tensor([1.0, 2.0]),
            ops.one_hot([0, 1], 2),
            ops.mean([1, 2]),
            ops.exp(1),
            ops.divide(1, 2),
        ]
        assert {each.dtype for each in made} == {default}
        kept = torch.ones(2, dtype=torch.float32)
        assert (
            ops.add(kept, 2.0).dtype is ops.maximum(0.5, kept).dtype is ops.where(True, kept, 0.0).dtype is kept.dtype
        )
    finally:
        torch.set_default_dtype(before)


def test_new_tensors_go_where_they_are_sent():
    with torch.device("meta"):
        assert all(each.is_meta for each in [ops.zeros(2), ops.arange(3), ops.eye(2), ops.convert_to_tensor([1.0])])
    on_meta = torch.ones(2, device="meta")
    assert ops.add(on_meta, np.ones(2)).is_meta
    assert ops.concatenate([[1.0], on_meta]).is_meta


def test_arrays_that_torch_does_not_take_as_they_are():
    swapped = np.arange(3, dtype=">f4")
    assert ops.convert_to_tensor(swapped).tolist() == [0, 1, 2]
    assert ops.convert_to_tensor(np.arange(3)[::-1]).tolist() == [2, 1, 0]
    assert ops.convert_to_tensor(np.ones(2, "uint16")).dtype is torch.int64
    assert ops.convert_to_tensor([1, 2**40]).tolist() == [1, 2**40]
    assert ops.convert_to_tensor([np.float64(1), 2]).dtype is torch.float32
    assert ops.convert_to_tensor([np.arange(2.0), np.ones(2)]).dtype is torch.float64
    assert ops.convert_to_tensor([]).shape == (0,)
    assert ops.convert_to_tensor(np.broadcast_to(np.float32(1), (2,))).tolist() == [1, 1]
    nested = ops.convert_to_tensor([torch.ones(2), [2.0, 3.0]])
    assert nested.tolist() == [[1, 1], [2, 3]] and nested.dtype is torch.float32


def test_parameters_keep_their_gradient():
    weight = torch.nn.Parameter(torch.ones(2, 2))
    assert ops.convert_to_tensor(weight) is weight
    ops.sum(ops.matmul(np.ones((1, 2), "float32"), weight)).backward()
    assert weight.grad.tolist() == [[1, 1], [1, 1]]
    assert not ops.stop_gradient(weight).requires_grad
    assert ops.convert_to_numpy(weight).dtype == np.float32


def test_bfloat16_becomes_a_numpy_array():
    assert ops.convert_to_numpy(torch.ones(2, dtype=torch.bfloat16)).tolist() == [1.0, 1.0]


# -- better than Keras on torch, by Keras's own documentation ---------------------------------------------------------


@pytest.mark.parametrize("name", ["sum", "max", "min", "prod", "mean", "any", "all"])
def test_keepdims_without_axis_is_numpys(name):
    x = positive(2, 3)
    kept = getattr(ops, name)(x, keepdims=True)
    assert kept.shape == (1, 1)
    np.testing.assert_allclose(kept, getattr(np, name)(x, keepdims=True), rtol=1e-6)


@pytest.mark.parametrize("mode", ["reflect", "symmetric", "wrap"])
@pytest.mark.parametrize("width", [(0, 0), (1, 2), (3, 0), (2, 3)], ids=str)
@pytest.mark.parametrize("shape", [(4,), (4, 5), (4, 5, 6, 7)], ids=str)
def test_padding_mirrors_as_numpy_does(mode, width, shape):
    x = floats(*shape)
    padded = ops.pad(x, [width] * len(shape), mode="circular" if mode == "wrap" else mode)
    np.testing.assert_array_equal(padded, np.pad(x, [width] * len(shape), mode=mode))


@pytest.mark.parametrize("width", [1, (2, 1), ((2, 1),), ((1, 0), (0, 2)), np.array([[1, 0], [0, 2]])], ids=str)
def test_pad_widths_are_numpys(width):
    x = floats(3, 4)
    np.testing.assert_array_equal(ops.pad(x, width), np.pad(x, width))


@pytest.mark.parametrize("repeats", [[1, 0, 2], (3,), np.array([2, 1, 1]), torch.tensor([0, 0, 4])], ids=str)
def test_repeats_are_numpys(repeats):
    x = floats(2, 3)
    np.testing.assert_array_equal(ops.repeat(x, repeats, axis=-1), np.repeat(x, np.asarray(repeats), axis=-1))


def test_transpose_reverses_any_number_of_axes():
    x = floats(2, 3, 4, 5)
    np.testing.assert_array_equal(ops.transpose(x), np.transpose(x))


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_sparsemax_is_the_nearest_point_of_the_simplex(axis, scale):
    # Keras 3.15 sums the running sums (keras-team/keras#23425, since mended), so it is no oracle.
    x = torch.as_tensor(scale * floats(4, 5, 3), dtype=torch.float64).requires_grad_()
    p = ops.sparsemax(x, axis=axis)
    assert torch.all(p >= 0)
    torch.testing.assert_close(p.sum(axis), torch.ones_like(p.sum(axis)))
    # Of the projection on a convex set: (x - p) . (q - p) <= 0 for each of its points q, so for each corner.
    rest = x - p
    assert torch.all(rest - (rest * p).sum(axis, keepdim=True) <= 1e-12)
    assert torch.autograd.gradcheck(lambda values: ops.sparsemax(values, axis=axis), x)


def test_arrays_in_compiled_code():
    shift = np.arange(3, dtype="float32")
    compiled = torch.compile(lambda x: ops.add(x, shift), fullgraph=True, backend="eager")
    assert compiled(torch.ones(3)).tolist() == [1, 2, 3]


def test_a_class_out_of_range_is_no_class():
    assert ops.one_hot([0, 5, -1], 2).tolist() == [[1, 0], [0, 0], [0, 0]]


def test_an_empty_batch():
    x = torch.ones(0, 3)
    assert ops.max(x, axis=1).shape == ops.sum(x, axis=-1).shape == ops.argmax(x, axis=1).shape == (0,)
    assert ops.matmul(x, torch.ones(3, 2)).shape == (0, 2)
    assert ops.softmax(x).shape == (0, 3)
    assert ops.max(x, axis=0, initial=2.0, keepdims=True).tolist() == [[2.0, 2.0, 2.0]]
