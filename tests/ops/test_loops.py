"""Loops and branches of ops, against Keras; symbolic inputs of unknown size; what is refused."""

import keras
import numpy as np
import pytest
import torch

import ostinato
from ops_cases import floats
from ostinato import Input, Model, layers, ops
from ostinato.recurrence.nests import flatten

X = torch.as_tensor(floats(5, 2))


def same(ours, right):
    for a, b in zip(flatten(ours), flatten(right), strict=True):
        torch.testing.assert_close(a, b)


def total_and_double(carry, x):
    return carry + x, carry * 2


def nested(carry, x):
    h, c = carry
    return [h + x["a"], c * x["b"]], {"out": (h, c)}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [None, 3, 5])
def test_scan(reverse, length):
    start = torch.zeros(2)
    options = {"reverse": reverse, "length": length}
    same(ops.scan(total_and_double, start, X, **options), keras.ops.scan(total_and_double, start, X, **options))
    start, xs = [torch.zeros(2), torch.ones(2)], {"a": X, "b": X + 1}
    same(ops.scan(nested, start, xs, **options), keras.ops.scan(nested, start, xs, **options))


def test_scan_over_a_length_and_without_outputs():
    carry, ys = ops.scan(lambda c, x: (c + 1, None), torch.zeros(()), length=4)
    assert carry == 4 and ys is None
    start = torch.zeros(2, requires_grad=True)
    carry, ys = ops.scan(total_and_double, start, X)
    (carry.sum() + ys.sum()).backward()
    assert torch.equal(start.grad, torch.full((2,), 11.0))


@pytest.mark.parametrize("most", [None, 0, 3])
def test_while_loop(most):
    def run(library):
        return library.ops.while_loop(
            lambda n, total: n < 5, lambda n, total: (n + 1, total + n), (torch.tensor(0), X), maximum_iterations=most
        )

    same(run(ostinato), run(keras))
    single = ops.while_loop(lambda n: n < 5, lambda n: n + 2, 0)
    assert single == keras.ops.while_loop(lambda n: n < 5, lambda n: n + 2, 0) == 6


def test_fori_loop_and_cond():
    same(ops.fori_loop(1, 4, lambda i, x: x * i, X), keras.ops.fori_loop(1, 4, lambda i, x: x * i, X))
    for pred in (True, torch.tensor(False), X.sum() > -100):
        assert ops.cond(pred, lambda: 1, lambda: 2) == keras.ops.cond(pred, lambda: 1, lambda: 2)


# -- symbolic: what no array in a table can say -----------------------------------------------------------------------


def test_sizes_that_are_unknown():
    x = Input((None, 3))
    assert ops.shape(x) == (None, None, 3) and ops.ndim(x) == 3 and ops.is_tensor(x)
    flat = ops.reshape(x, (ops.shape(x)[0], -1))
    picked = ops.take_along_axis(x, np.array([[[-1, 0]]]), axis=-1)
    last = ops.take(x, -1, axis=1)
    padded = ops.pad(x, ((0, 0), (1, 1), (0, 0)), mode="reflect")
    assert [each.shape for each in (picked, last, padded)] == [(None, None, 2), (None, 3), (None, None, 3)]
    model = Model(x, [flat, picked, last, padded, ops.softmax(x, axis=1), ops.size(x)])
    for batch, time in ((1, 2), (4, 5)):
        value = torch.as_tensor(floats(batch, time, 3))
        out = model(value)
        same(out[0], value.reshape(batch, -1))
        same(out[1], value[..., [2, 0]])
        same(out[2], value[:, -1])
        same(out[3], value[:, [1, *range(time), time - 2]])
        same(out[4], torch.softmax(value, 1))
        assert out[5] == value.numel()


def test_an_operation_is_one_node_and_keeps_its_parameters():
    x, weight = Input((3,)), torch.nn.Parameter(torch.ones(3, 2))
    y = ops.matmul(x, weight)
    assert y.node.call.function is ops.matmul and y.node.inputs == [x]
    model = Model(x, ops.sum(y, axis=-1))
    model(torch.ones(4, 3)).sum().backward()
    assert torch.equal(weight.grad, torch.full((3, 2), 4.0))
    assert [id(each) for each in model.parameters()] == [id(weight)]


def test_loops_over_symbolic_steps():
    x = Input((4, 2))
    carry, ys = ops.scan(lambda c, step: (c + step, c), ops.zeros_like(x[:, 0]), ops.swapaxes(x, 0, 1))
    value = torch.as_tensor(floats(3, 4, 2))
    out = Model(x, [carry, ys])(value)
    same(out[0], value.sum(1))
    same(out[1][1:], torch.cumsum(value, 1)[:, :-1].swapaxes(0, 1))


class Creating(layers.Layer):
    """Makes tensors of nothing in its call, as cells written for Keras do."""

    def build(self, input_shape):
        self.inner = layers.Dense(3)

    def call(self, inputs):
        steps = ops.cond(ops.sum(inputs) < np.inf, lambda: 2, lambda: 3)
        value = inputs + ops.zeros((1, 3)) + ops.convert_to_tensor([1.0, 2.0, 3.0]) + ops.arange(3.0)
        value = ops.while_loop(lambda v: ops.max(v) < 10, lambda v: v * 2, ops.abs(value) + 1)
        return self.inner(ops.fori_loop(0, steps, lambda i, v: v + i, value))


def test_tensors_made_of_nothing_in_a_symbolic_call():
    x = Input((3,))
    layer = Creating()
    model = Model(x, layer(x))
    assert {each.device.type for each in model.parameters()} == {"cpu"}
    value = torch.as_tensor(floats(2, 3))
    same(model(value), layer(value))


def test_no_pass_for_plain_code_on_symbolic_values():
    x = Input((3,))
    with pytest.raises(TypeError, match="no value"):
        ops.cond(ops.sum(x) > 0, lambda: x, lambda: x)
    with pytest.raises(TypeError, match="no value"):
        ops.convert_to_numpy(x)


# -- what is refused --------------------------------------------------------------------------------------------------

Z = np.ones((2, 3), "float32")
MISUSES = {
    "axis out of range": (lambda: ops.sum(Z, axis=2), ValueError, "sum: axis 2 is out of range for a tensor of 2"),
    "axis twice": (lambda: ops.mean(Z, axis=(0, -2)), ValueError, r"mean: axis \(0, -2\) names one axis twice"),
    "argmax out of range": (lambda: ops.argmax(Z, axis=-3), ValueError, "argmax: axis -3"),
    "take out of range": (lambda: ops.take(Z, [3], axis=1), (IndexError, RuntimeError), "out of"),
    "max of nothing": (lambda: ops.max(np.ones((0, 2))), ValueError, "max: no values .* Give initial"),
    "unequal split": (lambda: ops.split(Z, 2, axis=1), ValueError, r"split: axis 1 of shape \(2, 3\) has no 2 equal"),
    "no sections": (lambda: ops.split(Z, 0), ValueError, "no 0 equal parts"),
    "unstack of another number": (lambda: ops.unstack(Z, num=3), ValueError, "unstack: num is 3"),
    "nothing to concatenate": (lambda: ops.concatenate([]), ValueError, "concatenate: expected one tensor or more"),
    "two open sizes": (lambda: ops.reshape(Z, (-1, -1)), ValueError, "more than one size open"),
    "not all axes": (lambda: ops.transpose(Z, (0,)), ValueError, "must name all 2 axes"),
    "squeeze of an axis": (lambda: ops.squeeze(Z, axis=0), ValueError, "squeeze: axis 0 .* not of size 1"),
    "moveaxis uneven": (lambda: ops.moveaxis(Z, (0, 1), 0), ValueError, "must be as many"),
    "roll uneven": (lambda: ops.roll(Z, (1, 2), axis=0), ValueError, "must be as many"),
    "pad mode": (lambda: ops.pad(Z, 1, mode="edge"), ValueError, "pad: mode 'edge' is not one of"),
    "pad below 0": (lambda: ops.pad(Z, -1), ValueError, "must not be negative"),
    "pad of three": (lambda: ops.pad(Z, ((1, 1), (1, 1), (1, 1))), ValueError, "for each of 2 axes"),
    "pad values": (lambda: ops.pad(Z, 1, "reflect", 2), ValueError, "constant_values go with mode='constant'"),
    "pad too far": (lambda: ops.pad(Z, 2, "reflect"), ValueError, "too few values to be padded"),
    "where with one": (lambda: ops.where(Z > 0, Z), ValueError, "both x1 and x2"),
    "top_k of too many": (lambda: ops.top_k(Z, 4), ValueError, "has no 4 values"),
    "slice of fewer axes": (lambda: ops.slice(Z, (0,), (1,)), ValueError, "need 2 start indices"),
    "sparse one_hot": (lambda: ops.one_hot([1], 2, sparse=True), ValueError, "sparse=True is not supported"),
    "sparse tensor": (lambda: ops.convert_to_tensor(Z, sparse=True), ValueError, "sparse=True is not supported"),
    "ragged tensor": (lambda: ops.convert_to_tensor(Z, ragged=True), ValueError, "ragged=True is not supported"),
    "text": (lambda: ops.convert_to_tensor("text"), TypeError, "expected numbers"),
    "None": (lambda: ops.add(None, 1), TypeError, "expected numbers"),
    "dtype misspelt": (lambda: ops.cast(Z, "flaot32"), ValueError, "Did you mean 'float32'"),
    "unknown size": (lambda: ops.zeros((None, 3)), ValueError, "has a size that is unknown"),
    "linspace below 0": (lambda: ops.linspace(0, 1, -1), ValueError, "num must be 0 or more"),
    "tensordot of three": (lambda: ops.tensordot(Z, Z, (0, 1, 1)), ValueError, "a number or a pair"),
    "einsum of nothing": (lambda: ops.einsum("ij->ji"), ValueError, "needs operands"),
    "glu of odd halves": (lambda: ops.glu(Z), ValueError, "has no two halves"),
    "scan of no function": (lambda: ops.scan(1, X, X), TypeError, "scan: f must be callable"),
    "scan over nothing": (lambda: ops.scan(total_and_double, X), ValueError, "xs to scan over, or a length"),
    "scan too far": (lambda: ops.scan(total_and_double, X[0], X, length=9), ValueError, "xs have 5 steps"),
    "scan of two lengths": (lambda: ops.scan(nested, [X, X], {"a": X, "b": X[1:]}), ValueError, "one first axis"),
    "scan unrolled by 0": (lambda: ops.scan(total_and_double, X[0], X, unroll=0), ValueError, "unroll must be"),
}


@pytest.mark.parametrize("name", MISUSES)
def test_misuse(name):
    wrong, error, message = MISUSES[name]
    with pytest.raises(error, match=message):
        wrong()
