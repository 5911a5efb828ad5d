"""Calls of every operation: what keras.ops and ostinato.ops are both given."""

import numpy as np


def floats(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def positive(*shape, seed=0):
    return np.abs(floats(*shape, seed=seed)) + np.float32(0.5)


def whole(*shape, seed=0, low=-4, high=5, dtype="int32"):
    return np.random.default_rng(seed).integers(low, high, size=shape).astype(dtype)


def truths(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 2, size=shape).astype(bool)


def call(*args, **kwargs):
    return args, kwargs


X, Y, Z = floats(3, 4), floats(3, 4, seed=1), floats(2, 3, 4, seed=2)
N, B = whole(3, 4), truths(3, 4)
ODD = np.array([[np.nan, np.inf, -np.inf, 0.0], [1.5, -1.5, 2.5, -0.5]], "float32")

REDUCED = [
    call(X),
    call(Z, axis=0),
    call(Z, axis=-1, keepdims=True),
    call(Z, axis=(0, 2)),
    call(Z, axis=[-1, 1], keepdims=True),
    call(Z, axis=()),
    call(N, axis=1),
    call(whole(3, 4, dtype="int8"), axis=0),
    call(whole(3, 4, dtype="int64")),
    call(B, axis=1),
    call(np.float32(2.0)),
]
EXTREME = [*REDUCED[:9], call(X, axis=1, initial=0.5), call(N, initial=2)]
UNARY = [call(X), call(N), call(whole(3, dtype="int64")), call(B), call(2.0), call([1.0, -2.0])]
ROOTED = [call(positive(3, 4)), call(whole(3, 4, low=1)), call(4.0), call([1.0, 2.0])]
LOGICAL = [call(X, Y), call(B, truths(4, seed=1)), call(N, B), call(B, True)]
COMPARED = [call(X, Y), call(N, whole(4, seed=1)), call(X, 0.0), call(0, X), call(N, 1.5), call(B, truths(4, seed=1))]
BINARY = [
    call(X, Y),
    call(X, floats(4)),
    call(Z, floats(3, 1)),
    call(X, 2),
    call(2.5, X),
    call(N, whole(3, 4, seed=1, low=1)),
    call(N, X),
    call(N, 2),
    call(3, whole(3, low=1)),
    call(N, 0.5),
    call(X.astype("float64"), Y),
    call([1.0, 2.0], [3.0, 4.0]),
    call(whole(3, dtype="int64", low=1), whole(3, low=1)),
]
ACTIVATED = [call(floats(3, 7) * 4), call(np.linspace(-7, 7, 29, dtype="float32")), call([0.5, -0.5])]
TIES = np.array([[1.0, 3.0, 3.0, 0.0], [2.0, 2.0, 2.0, 2.0]], "float32")

CASES = {
    # elementwise
    "abs": UNARY,
    "absolute": UNARY,
    "ceil": UNARY,
    "cos": UNARY,
    "erf": UNARY[:1],
    "exp": UNARY,
    "expm1": UNARY,
    "floor": UNARY,
    "isfinite": [call(ODD), call(N)],
    "isinf": [call(ODD), call(N)],
    "isnan": [call(ODD), call(N)],
    "log": ROOTED,
    "log1p": ROOTED,
    "logical_not": UNARY[:4],
    "negative": [call(X), call(N), call(2.0)],
    "reciprocal": ROOTED,
    "round": [*UNARY[:3], call(ODD[1]), call(X, decimals=2), call(N, decimals=1)],
    "rsqrt": ROOTED,
    "sign": UNARY[:3],
    "sin": UNARY,
    "sqrt": ROOTED,
    "square": UNARY,
    # arithmetic
    "add": [*BINARY, call(B, N), call(X, B)],
    "subtract": [*BINARY, call(B, N), call(N, B)],
    "multiply": [*BINARY, call(B, N)],
    "divide": BINARY,
    "floor_divide": BINARY,
    "mod": [*BINARY, call(B, truths(3, 4, seed=1) | True)],
    "power": [call(positive(3, 4), Y), call(X, 2), call(2, X), call(2.0, N), call(N, 2), call(positive(3, 4), 0.5)],
    "maximum": BINARY,
    "minimum": BINARY,
    "clip": [call(X, -0.5, 0.5), call(N, -1, 2), call(X, floats(4) - 1, floats(4) + 1), call(X, 0, 1), call(B, 0, 1)],
    "equal": [*COMPARED, call(TIES, 2.0)],
    "not_equal": [*COMPARED, call(TIES, 2.0)],
    "greater": COMPARED,
    "greater_equal": [*COMPARED, call(TIES, 2.0)],
    "less": COMPARED,
    "less_equal": [*COMPARED, call(TIES, 2.0)],
    "logical_and": LOGICAL,
    "logical_or": LOGICAL,
    "logical_xor": LOGICAL,
    # reductions
    "sum": REDUCED,
    "mean": REDUCED,
    "var": REDUCED,
    "std": [*REDUCED[:5], call(N, axis=1), call(B, axis=1)],
    "max": EXTREME,
    "min": EXTREME,
    "prod": [*REDUCED[:5], *REDUCED[6:], call(N, axis=1, dtype="float32")],
    "any": [*REDUCED, call(B)],
    "all": [*REDUCED, call(B)],
    "logsumexp": [*REDUCED[:5], call(X * 1000, axis=1)],
    "argmax": [call(X), call(Z, axis=1), call(Z, axis=-1, keepdims=True), call(N, axis=0), call(B, axis=1), call(TIES)],
    "argmin": [call(X), call(Z, axis=1), call(Z, axis=-1, keepdims=True), call(N, axis=0), call(B, axis=1), call(TIES)],
    "cumsum": [call(X), call(Z, axis=1), call(N, axis=-1), call(B, axis=0), call(N, axis=0, dtype="float32")],
    # linear algebra
    "matmul": [
        call(X, floats(4, 2)),
        call(Z, floats(4, 2)),
        call(Z, floats(2, 4, 5)),
        call(floats(4), floats(4, 2)),
        call(X, floats(4)),
        call(N, whole(4, 2)),
        call(N, floats(4, 2)),
        call(whole(3, 4, dtype="int8"), whole(4, 2, dtype="int8")),
        call(X.astype("float64"), floats(4, 2)),
        call(floats(0, 4), floats(4, 2)),
    ],
    "dot": [
        call(X, floats(4, 2)),
        call(floats(4), floats(4, seed=1)),
        call(Z, floats(4)),
        call(2.0, X),
        call(N, whole(4, 2)),
    ],
    "tensordot": [
        call(Z, floats(3, 4, 5)),
        call(X, Y, axes=0),
        call(Z, floats(4, 5), axes=1),
        call(Z, floats(5, 3), axes=(1, 1)),
        call(Z, floats(4, 3), axes=([1, 2], [1, 0])),
        call(N, whole(4, 2), axes=1),
    ],
    "outer": [call(floats(3), floats(4)), call(X, floats(2)), call(whole(3), floats(2))],
    "einsum": [
        call("ij,jk->ik", X, floats(4, 2)),
        call("bij,ijkl->bkl", Z, floats(3, 4, 2, 5)),
        call("...i->...", Z),
        call("ij,ij", N, whole(3, 4, seed=1)),
        call("i,i->i", whole(3, dtype="int8"), whole(3, dtype="int8")),
    ],
    "norm": [
        call(X),
        call(Z, axis=-1),
        call(X, ord=1, axis=0, keepdims=True),
        call(X, ord=np.inf, axis=1),
        call(X, ord="fro", axis=(0, 1)),
        call(Z, ord="nuc", axis=(1, 2)),
        call(Z, axis=(0, 2), keepdims=True),
        call(N),
    ],
    # shapes
    "reshape": [call(X, (2, 6)), call(X, (-1,)), call(X, 12), call(Z, (2, -1)), call(X, [4, 3])],
    "transpose": [call(X), call(Z, (1, 0, 2)), call(Z, axes=[-1, 0, 1])],
    "swapaxes": [call(Z, 0, 1), call(Z, -1, 0)],
    "moveaxis": [call(Z, 0, -1), call(Z, (0, 1), (1, 2)), call(Z, [-1], [0])],
    "expand_dims": [call(X, 0), call(X, -1), call(X, (0, -1)), call(X, [1, 2])],
    "squeeze": [call(floats(1, 3, 1)), call(floats(1, 3, 1), axis=0), call(floats(1, 3, 1), axis=(0, -1))],
    "broadcast_to": [call(floats(4), (3, 4)), call(floats(3, 1), (2, 3, 4))],
    "concatenate": [call([X, Y]), call([Z, Z], axis=-1), call([X, N], axis=1), call((X, floats(0, 4)), axis=0)],
    "stack": [call([X, Y]), call([X, Y], axis=-1), call((N, N), axis=1), call([1.0, 2.0])],
    "unstack": [call(X), call(Z, axis=-1), call(Z, num=3, axis=1)],
    "split": [call(X, 2, axis=1), call(X, 3), call(Z, [1, 3], axis=-1), call(X, (2,), axis=0), call(Z, [0, 2], 1)],
    "flip": [call(X), call(Z, axis=1), call(Z, axis=(0, -1))],
    "roll": [call(X, 1), call(Z, -2, axis=1), call(Z, (1, 2), axis=(0, 2))],
    "tile": [call(X, 2), call(X, (2, 1)), call(X, (2, 1, 3)), call(Z, [1, 2])],
    "repeat": [
        call(X, 2),
        call(X, 3, axis=0),
        call(Z, 2, axis=-1),
        call(X, whole(4, low=0), 1),
    ],
    "pad": [
        call(X, ((1, 2), (0, 3))),
        call(X, ((1, 1), (2, 0)), constant_values=1.5),
        call(X, ((1, 2), (0, 3)), mode="reflect"),
        call(X, ((1, 1), (1, 0)), mode="symmetric"),
        call(X, ((1, 2), (0, 3)), mode="circular"),
        call(N, ((1, 0), (0, 0))),
    ],
    # selection
    "where": [call(B, X, Y), call(B, X, 0.0), call(B, 1.0, 0.0), call(X > 0, 1, X), call(B, N, X), call(B)],
    "take": [
        call(X, [0, 2]),
        call(X, [0, -1, 1], axis=1),
        call(Z, whole(2, 2, low=0, high=3), axis=1),
        call(Z, 1, axis=0),
        call(X, whole(3, 2, low=0, high=3), axis=0),
    ],
    "take_along_axis": [
        call(X, whole(3, 2, low=-4, high=4), axis=1),
        call(Z, whole(2, 1, 4, low=0, high=3), axis=-2),
        call(floats(6), whole(3, low=0, high=6)),
    ],
    "slice": [call(Z, (0, 1, 2), (2, 1, 2)), call(X, [1, 0], [2, 4])],
    "slice_update": [call(X, (1, 1), np.ones((2, 2), "float32")), call(N, [0, 0], whole(1, 4))],
    "sort": [call(X), call(Z, axis=1), call(X, axis=None), call(N, axis=0)],
    "argsort": [call(X), call(Z, axis=1), call(X, axis=None), call(TIES), call(B)],
    "top_k": [call(X, 2), call(Z, 3), call(X, 4, sorted=True)],
    "one_hot": [
        call(whole(3, low=0, high=4), 4),
        call(whole(2, 3, low=-1, high=4), 4, axis=1),
        call(whole(2, 3, low=0, high=4), 4, axis=0, dtype="int32"),
        call(2, 3),
    ],
    "tril": [call(X), call(Z, k=1), call(N, -1)],
    "triu": [call(X), call(Z, k=1), call(N, -1)],
    # creation
    "zeros": [call((2, 3)), call(2), call((2,), dtype="int32"), call([0, 2])],
    "ones": [call((2, 3)), call(2), call((2,), dtype="bool")],
    "full": [call((2, 3), 1.5), call((2,), 3, dtype="int64"), call((2, 2), [1.0, 2.0])],
    "zeros_like": [call(X), call(N), call(X, dtype="int32")],
    "ones_like": [call(X), call(N), call(B, dtype="float32")],
    "full_like": [call(X, 2), call(N, 2.7), call(X, 1, dtype="int32")],
    "eye": [call(3), call(2, 4), call(4, 2, k=-1), call(3, 3, 1, dtype="int32"), call(2, 5, k=3)],
    "arange": [call(5), call(2, 5), call(0, 10, 3), call(1.0, 2.0, 0.25), call(5, dtype="float32"), call(5, 0, -2)],
    "linspace": [
        call(0.0, 1.0),
        call(0, 10, 5),
        call(0.0, 1.0, 4, endpoint=False),
        call(0.0, 1.0, num=1),
        call(-1.0, 1.0, 3, dtype="float64"),
        call(floats(3), positive(3), 4),
    ],
    # tensors
    "cast": [call(X, "int32"), call(N, "float64"), call(X, "bool"), call(2, "float32"), call(N, "bfloat16")],
    "array": [call(X), call([1, 2]), call([[1.0], [2.0]]), call(3.5), call(X, dtype="int32"), call([1, 2], "float16")],
    "convert_to_tensor": [
        call(X),
        call([1, 2]),
        call([[1.0], [2.0]]),
        call(True),
        call(2**40),
        call(X, dtype="float64"),
        call(np.float64(2.0)),
    ],
    "convert_to_numpy": [call(X), call([1.0, 2.0]), call(2)],
    "is_tensor": [call(X), call(2)],
    "ndim": [call(X), call(Z), call(2.0)],
    "shape": [call(X), call(Z)],
    "size": [call(X), call(floats(0, 3))],
    "stop_gradient": [],
    # activations
    "celu": [*ACTIVATED, call(X, alpha=0.5)],
    "elu": [*ACTIVATED, call(X, alpha=0.5)],
    "gelu": [*ACTIVATED, call(X, approximate=False)],
    "glu": [call(X), call(floats(4, 3), axis=0)],
    "hard_shrink": [*ACTIVATED, call(X, threshold=1.0)],
    "hard_sigmoid": ACTIVATED,
    "hard_silu": ACTIVATED,
    "hard_swish": ACTIVATED,
    "hard_tanh": ACTIVATED,
    "leaky_relu": [*ACTIVATED, call(X, negative_slope=0.5)],
    "log_sigmoid": ACTIVATED,
    "log_softmax": [*ACTIVATED[:2], call(Z, axis=1), call(Z, axis=(0, 2)), call(X, axis=None)],
    "relu": [*ACTIVATED, call(N)],
    "relu6": [*ACTIVATED, call(N)],
    "selu": ACTIVATED,
    "sigmoid": [*ACTIVATED, call(N)],
    "silu": ACTIVATED,
    "soft_shrink": [*ACTIVATED, call(X, threshold=1.0)],
    "softmax": [*ACTIVATED[:2], call(Z, axis=1), call(Z, axis=(0, 2)), call(X, axis=None)],
    "softplus": ACTIVATED,
    "softsign": ACTIVATED,
    "sparse_plus": ACTIVATED,
    "sparse_sigmoid": ACTIVATED,
    "sparsemax": [*ACTIVATED[:1], call(X * 100), call(Z * 100, axis=1)],
    "squareplus": [*ACTIVATED, call(X, b=1.0)],
    "swish": ACTIVATED,
    "tanh": [*ACTIVATED, call(N)],
    "tanh_shrink": ACTIVATED,
    "threshold": [call(X, 0.5, -1.0), call(X, 0.0, 0.0)],
}
"""Name to calls; loops and branches, which take functions, have tests of their own."""
