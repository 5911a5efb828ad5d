"""Cells of one's own, as users write them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

import ostinato
from ostinato import layers
from ostinato.recurrence.nests import flatten, map_nest
from side_by_side import tensor

DOUBLE = torch.float64


class TensorShape(Sequence):
    """As TensorFlow's: a sequence that is neither list nor tuple."""

    def __init__(self, dims):
        self.dims = tuple(dims)

    def __len__(self):
        return len(self.dims)

    def __getitem__(self, index):
        return self.dims[index]


class Counting(layers.Layer):
    """Adds up the means of its inputs in every state; its output is the first state. Keeps the nests it was handed."""

    def __init__(self, state_size, **kwargs):
        super().__init__(**kwargs)
        self.state_size = state_size
        self.seen = []

    def call(self, inputs, states):
        self.seen.append((inputs, states))
        step = sum(leaf.flatten(1).mean(1) for leaf in flatten(inputs))
        new = map_nest(lambda state: state + step.reshape(-1, *[1] * (state.dim() - 1)), states)
        return flatten(new)[0], new


@ostinato.utils.register_keras_serializable(package="tests")
class Nested(layers.Layer):
    """The guide's NestedCell: two inputs, two states, two outputs, one of each a matrix."""

    def __init__(self, unit_1, unit_2, unit_3, **kwargs):
        self.unit_1, self.unit_2, self.unit_3 = unit_1, unit_2, unit_3
        self.state_size = [TensorShape([unit_1]), TensorShape([unit_2, unit_3])]
        self.output_size = [TensorShape([unit_1]), TensorShape([unit_2, unit_3])]
        super().__init__(**kwargs)

    def build(self, input_shapes):
        i1, i2, i3 = input_shapes[0][1], input_shapes[1][1], input_shapes[1][2]
        self.kernel_1 = self.add_weight(shape=(i1, self.unit_1), initializer="uniform", name="kernel_1")
        self.kernel_2_3 = self.add_weight(
            shape=(i2, i3, self.unit_2, self.unit_3), initializer="uniform", name="kernel_2_3"
        )

    def call(self, inputs, states):
        input_1, input_2 = inputs
        s1, s2 = states
        output_1 = torch.matmul(input_1, self.kernel_1)
        output_2_3 = torch.einsum("bij,ijkl->bkl", input_2, self.kernel_2_3)
        return (output_1, output_2_3), (s1 + output_1, s2 + output_2_3)

    def get_config(self):
        return {"unit_1": self.unit_1, "unit_2": self.unit_2, "unit_3": self.unit_3}


@ostinato.utils.register_keras_serializable(package="tests")
class Minimal(layers.Layer):
    """`h' = x W + h U`, the cell of Keras's documentation."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.state_size = units

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="kernel")
        self.recurrent_kernel = self.add_weight(shape=(self.units, self.units), name="recurrent_kernel")

    def call(self, inputs, states):
        output = inputs @ self.kernel + states[0] @ self.recurrent_kernel
        return output, [output]


class Pair(NamedTuple):
    """Two of something under names."""

    first: Any
    second: Any


FORMS = {
    "list": lambda one, other: [one, other],
    "tuple": lambda one, other: (one, other),
    "dict": lambda one, other: {"z": one, "a": other},
    "named": Pair,
    "deep": lambda one, other: [one, {"x": (other,)}],
}
"""Nests of two, by what they are made of."""


def parts_of(form, nest):
    """The two of a nest that `FORMS[form]` made."""
    if form == "dict":
        return nest["z"], nest["a"]
    if form == "named":
        return nest.first, nest.second
    return (nest[0], nest[1]["x"][0]) if form == "deep" else (nest[0], nest[1])


@ostinato.utils.register_keras_serializable(package="tests")
class Weave(layers.Layer):
    """Two inputs, a vector and a matrix; two states, the same; two outputs of other sizes; all hang on all.

    inputs, states, outputs, returned: the form of each; returned: of the new states, by default that of the states.
    """

    def __init__(self, inputs="list", states="list", outputs="list", returned=None, **kwargs):
        super().__init__(**kwargs)
        self.forms = inputs, states, outputs, returned or states
        self.state_size = FORMS[states](3, torch.Size([2, 4]))
        self.output_size = FORMS[outputs](5, TensorShape([4, 2]))

    def build(self, shapes):
        vector, matrix = parts_of(self.forms[0], shapes)
        self.w = self.add_weight(shape=(vector[-1], 3), name="w")
        self.u = self.add_weight(shape=(3, 3), name="u")
        self.v = self.add_weight(shape=(2, 3), name="v")
        self.p = self.add_weight(shape=(*matrix[1:], 2, 4), name="p", initializer="random_normal")
        self.o = self.add_weight(shape=(3, 5), name="o")

    def call(self, inputs, states):
        vector, matrix = parts_of(self.forms[0], inputs)
        h, m = parts_of(self.forms[1], states)
        new_h = torch.tanh(vector @ self.w + h @ self.u + m.mean(-1) @ self.v)
        new_m = 0.5 * m + torch.tanh(torch.einsum("bij,ijkl->bkl", matrix, self.p)) * new_h[:, :1, None]
        output = FORMS[self.forms[2]](new_h @ self.o, new_m.transpose(1, 2) + h[:, :1, None])
        return output, FORMS[self.forms[3]](new_h, new_m)


@ostinato.utils.register_keras_serializable(package="tests")
class Learned(Minimal):
    """`Minimal`, starting from a state that is a weight."""

    def build(self, input_shape):
        super().build(input_shape)
        self.start = self.add_weight(shape=(self.units,), name="start", initializer="random_normal")

    def get_initial_state(self, batch_size=None):
        return [self.start.expand(batch_size, self.units)]


@ostinato.utils.register_keras_serializable(package="tests")
class Attending(Minimal):
    """`Minimal`, with constants added: `h' = x W + h U + c V`, half of it in training."""

    def build(self, input_shape):
        super().build(input_shape)
        self.v = self.add_weight(shape=(2, self.units), name="v")

    def call(self, inputs, states, constants, training=False):
        h = torch.tanh(inputs @ self.kernel + states[0] @ self.recurrent_kernel + constants[0] @ self.v)
        return (h / 2 if training else h), [h]


class Torch(torch.nn.Module):
    """torch's own LSTM cell as a cell: a plain module, whose states are a tuple."""

    def __init__(self, features, units, dtype=None):
        super().__init__()
        self.state_size = [units, units]
        self.output_size = units
        self.inner = torch.nn.LSTMCell(features, units, dtype=dtype)

    def forward(self, inputs, states):
        h, c = self.inner(inputs, tuple(states))
        return h, (h, c)


def weave(*forms, **options):
    """A `Weave` of these forms in float64, with weights."""
    cell = Weave(*forms, dtype="float64", **options)
    cell.build(FORMS[forms[0] if forms else "list"]((None, 6), (None, 3, 2)))
    return cell


def woven(form, mask=None, seed=0, batch=3, time=5):
    """Two sequences for a `Weave`, with NaN and infinities where masked."""
    pair = tensor(batch, time, 6, dtype=DOUBLE, seed=seed), tensor(batch, time, 3, 2, dtype=DOUBLE, seed=seed + 1)
    if mask is not None:
        pair[0][~mask], pair[1][~mask] = float("nan"), float("inf")
    return FORMS[form](*[each.requires_grad_() for each in pair])


def states_of(form, batch=3, seed=5):
    """Two states for a `Weave`."""
    pair = tensor(batch, 3, dtype=DOUBLE, seed=seed), tensor(batch, 2, 4, dtype=DOUBLE, seed=seed + 1)
    return FORMS[form](*[each.requires_grad_() for each in pair])
