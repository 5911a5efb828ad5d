"""Cells of one's own, as users write them."""

from collections.abc import Sequence

import torch

import ostinato
from ostinato import layers
from ostinato.recurrence.nests import flatten, map_nest


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
