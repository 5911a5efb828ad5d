"""How to make each exported layer and what to call it on: a table for tests that every layer has to pass.

A new layer gets its rows here in the commit that exports it; `tests/layers/test_every_layer.py` fails otherwise.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

import ostinato
from cells import Minimal, Nested
from ostinato.core.shapes import is_shape
from ostinato.layers.sequences import Recurrent
from ostinato.recurrence.nests import map_nest


@dataclasses.dataclass(frozen=True)
class Descriptor:
    """A way to make a layer, and examples of its inputs.

    make: `make(layers, **options)`, where layers is `ostinato.layers` or `keras.layers`, and the options (`dtype`) go
    to every layer that is made.
    inputs: a nest (lists) of shapes (tuples), without the batch. states: the same, of a cell's states.
    below: the inputs are whole numbers from 0 to below - 1; normal floats if 0.
    mask: whether the layer does something with a mask `(batch, time)` of its input; a list for a list of inputs.
    apart: why values are not compared with those of Keras's layer of the same name; empty where they are.
    """

    make: Callable[..., Any]
    inputs: Any
    states: Any = None
    below: int = 0
    mask: Any = False
    apart: str = ""

    def example(self, batch: int = 3, dtype: torch.dtype = torch.float32, seed: int = 0) -> Any:
        """Inputs, the same for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        return map_nest(lambda shape: self._draw((batch, *shape), dtype, generator), self.inputs, is_shape)

    def sequences(self, batch: int, time: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Any:
        """Inputs of a recurrent layer, of other numbers of rows and steps than the example's."""
        inputs = map_nest(lambda shape: (time, *shape[1:]), self.inputs, is_shape)
        return dataclasses.replace(self, inputs=inputs).example(batch, dtype, seed)

    def example_states(self, batch: int = 3, dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
        """What follows the inputs in a call: a cell's states, or nothing."""
        if self.states is None:
            return ()
        generator = torch.Generator().manual_seed(77)
        return (
            map_nest(lambda shape: torch.randn(batch, *shape, generator=generator).to(dtype), self.states, is_shape),
        )

    def example_masks(self, batch: int = 3) -> list[torch.Tensor | None]:
        """A mask with gaps for each input that takes one; no row is without steps."""
        shapes = [self.inputs] if is_shape(self.inputs) else self.inputs
        wanted = self.mask if isinstance(self.mask, list) else [self.mask] * len(shapes)
        generator = torch.Generator().manual_seed(5)
        masks: list[torch.Tensor | None] = []
        for shape, want in zip(shapes, wanted, strict=True):
            used = torch.rand(batch, *shape[:1], generator=generator) < 0.6
            masks.append(used.index_fill(1, torch.tensor([len(masks)]), True) if want else None)
        return masks

    def _draw(self, shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> torch.Tensor:
        if self.below:
            return torch.randint(self.below, shape, generator=generator)
        return torch.randn(shape, generator=generator).to(dtype)


@ostinato.saving.register_keras_serializable(package="tests")
class Described(torch.nn.Linear):
    """A torch module that can say its config."""

    def get_config(self) -> dict[str, Any]:
        return {"in_features": self.in_features, "out_features": self.out_features}


@ostinato.saving.register_keras_serializable(package="tests")
class Started(ostinato.layers.Layer):
    """A cell of one's own that starts from a weight; its states are in a dict, its outputs too.

    ::

        h' = tanh(x W + h U);  level' = level / 2 + mean(h');  outputs h' * level' and level'
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.state_size = {"h": units, "level": 1}
        self.output_size = {"both": units, "level": 1}

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="kernel")
        self.recurrent_kernel = self.add_weight(shape=(self.units, self.units), name="recurrent_kernel")
        self.start = self.add_weight(shape=(self.units,), name="start")

    def get_initial_state(self, batch_size: int) -> dict[str, torch.Tensor]:
        return {"h": self.start.expand(batch_size, -1), "level": self.start.new_ones(batch_size, 1)}

    def call(self, inputs: torch.Tensor, states: dict[str, torch.Tensor]) -> Any:
        h = torch.tanh(inputs @ self.kernel + states["h"] @ self.recurrent_kernel)
        level = states["level"] / 2 + h.mean(-1, keepdim=True)
        return {"both": h * level, "level": level}, {"h": h, "level": level}


SEQUENCE = (5, 4)
OURS = "Keras's layers do not take cells of ostinato's"

DESCRIPTORS: dict[str, Descriptor] = {
    # -- recurrent layers --
    "LSTM": Descriptor(lambda layers, **o: layers.LSTM(3, **o), SEQUENCE, mask=True),
    "LSTM, sequences and states": Descriptor(
        lambda layers, **o: layers.LSTM(3, return_sequences=True, return_state=True, **o), SEQUENCE, mask=True
    ),
    "LSTM, dropout": Descriptor(lambda layers, **o: layers.LSTM(3, dropout=0.4, **o), SEQUENCE, mask=True),
    "LSTM, both dropouts": Descriptor(
        lambda layers, **o: layers.LSTM(3, dropout=0.3, recurrent_dropout=0.3, **o), SEQUENCE, mask=True
    ),
    "LSTM, other activations": Descriptor(
        lambda layers, **o: layers.LSTM(3, activation="softsign", recurrent_activation="hard_sigmoid", **o),
        SEQUENCE,
        mask=True,
    ),
    "LSTM, backwards without bias": Descriptor(
        lambda layers, **o: layers.LSTM(3, go_backwards=True, use_bias=False, zero_output_for_mask=True, **o),
        SEQUENCE,
        mask=True,
        apart="Keras zeroes the last output too",
    ),
    "GRU": Descriptor(lambda layers, **o: layers.GRU(3, return_sequences=True, **o), SEQUENCE, mask=True),
    "GRU, reset before": Descriptor(
        lambda layers, **o: layers.GRU(3, reset_after=False, recurrent_dropout=0.3, **o), SEQUENCE, mask=True
    ),
    "GRU, backwards without bias": Descriptor(
        lambda layers, **o: layers.GRU(3, go_backwards=True, use_bias=False, return_state=True, **o),
        SEQUENCE,
        mask=True,
    ),
    "SimpleRNN": Descriptor(lambda layers, **o: layers.SimpleRNN(3, use_bias=False, **o), SEQUENCE, mask=True),
    "SimpleRNN, relu": Descriptor(
        lambda layers, **o: layers.SimpleRNN(3, activation="relu", go_backwards=True, **o), SEQUENCE, mask=True
    ),
    "RNN": Descriptor(
        lambda layers, **o: layers.RNN(layers.GRUCell(3, **o), return_sequences=True), SEQUENCE, mask=True
    ),
    "RNN, two cells": Descriptor(
        lambda layers, **o: layers.RNN([layers.GRUCell(3, **o), layers.LSTMCell(2, **o)]), SEQUENCE, mask=True
    ),
    "RNN, of a cell of one's own": Descriptor(
        lambda layers, **o: layers.RNN(Minimal(3, **o), return_sequences=True), SEQUENCE, mask=True, apart=OURS
    ),
    "RNN, of nests": Descriptor(
        lambda layers, **o: layers.RNN(Nested(3, 2, 4, **o), return_state=True), [(5, 4), (5, 2, 3)], apart=OURS
    ),
    "RNN, of dicts": Descriptor(lambda layers, **o: layers.RNN(Started(3, **o)), SEQUENCE, mask=True, apart=OURS),
    "RNN, stacked backwards": Descriptor(
        lambda layers, **o: layers.RNN(
            layers.StackedRNNCells([layers.SimpleRNNCell(2, **o), Minimal(4, **o), layers.LSTMCell(3, **o)]),
            return_sequences=True,
            go_backwards=True,
        ),
        SEQUENCE,
        mask=True,
        apart=OURS,
    ),
    "Bidirectional": Descriptor(
        lambda layers, **o: layers.Bidirectional(layers.LSTM(3, return_sequences=True, **o)), SEQUENCE, mask=True
    ),
    "Bidirectional, sum of the last": Descriptor(
        lambda layers, **o: layers.Bidirectional(layers.GRU(3, **o), merge_mode="sum"), SEQUENCE, mask=True
    ),
    "Bidirectional, mean": Descriptor(
        lambda layers, **o: layers.Bidirectional(layers.SimpleRNN(3, return_state=True, **o), "ave"),
        SEQUENCE,
        mask=True,
    ),
    "Bidirectional, product": Descriptor(
        lambda layers, **o: layers.Bidirectional(layers.GRU(3, dropout=0.3, return_sequences=True, **o), "mul"),
        SEQUENCE,
        mask=True,
    ),
    "Bidirectional, both": Descriptor(
        lambda layers, **o: layers.Bidirectional(
            layers.LSTM(3, use_bias=False, return_sequences=True, return_state=True, **o), None
        ),
        SEQUENCE,
        mask=True,
    ),
    "Bidirectional, backwards": Descriptor(
        lambda layers, **o: layers.Bidirectional(layers.LSTM(3, go_backwards=True, return_sequences=True, **o)),
        SEQUENCE,
        mask=True,
        apart="Keras 3 refuses it",
    ),
    "Bidirectional, of an LSTM and a GRU": Descriptor(
        lambda layers, **o: layers.Bidirectional(
            layers.LSTM(3, return_sequences=True, **o),
            backward_layer=layers.GRU(2, return_sequences=True, go_backwards=True, **o),
        ),
        SEQUENCE,
        mask=True,
    ),
    "Bidirectional, of stacked cells": Descriptor(
        lambda layers, **o: layers.Bidirectional(
            layers.RNN([layers.LSTMCell(3, **o), Minimal(2, **o)], return_sequences=True)
        ),
        SEQUENCE,
        mask=True,
        apart=OURS,
    ),
    "ConvLSTM1D": Descriptor(
        lambda layers, **o: layers.ConvLSTM1D(3, 2, padding="same", dilation_rate=2, return_sequences=True, **o),
        (5, 4, 2),
        mask=True,
    ),
    "ConvLSTM2D": Descriptor(lambda layers, **o: layers.ConvLSTM2D(3, (2, 3), (1, 2), **o), (5, 4, 5, 2), mask=True),
    "ConvLSTM2D, channels_first": Descriptor(
        lambda layers, **o: layers.ConvLSTM2D(
            3, 2, data_format="channels_first", use_bias=False, return_sequences=True, return_state=True, **o
        ),
        (5, 2, 4, 3),
        mask=True,
    ),
    "ConvLSTM3D": Descriptor(
        lambda layers, **o: layers.ConvLSTM3D(2, 2, padding="same", strides=2, **o), (5, 3, 4, 2, 2), mask=True
    ),
    "Bidirectional, of ConvLSTM2D": Descriptor(
        lambda layers, **o: layers.Bidirectional(layers.ConvLSTM2D(2, 2, return_sequences=True, **o)),
        (5, 3, 4, 2),
        mask=True,
    ),
    # -- cells --
    "LSTMCell": Descriptor(lambda layers, **o: layers.LSTMCell(3, **o), (4,), states=[(3,), (3,)]),
    "GRUCell": Descriptor(lambda layers, **o: layers.GRUCell(3, reset_after=False, **o), (4,), states=[(3,)]),
    "SimpleRNNCell": Descriptor(lambda layers, **o: layers.SimpleRNNCell(3, **o), (4,), states=[(3,)]),
    "StackedRNNCells": Descriptor(
        lambda layers, **o: layers.StackedRNNCells([layers.GRUCell(3, **o), layers.LSTMCell(2, **o)]),
        (4,),
        states=[(3,), [(2,), (2,)]],
    ),
    # -- core layers --
    "Dense": Descriptor(lambda layers, **o: layers.Dense(3, activation="tanh", **o), SEQUENCE, mask=True),
    "Embedding": Descriptor(lambda layers, **o: layers.Embedding(9, 4, **o), (5,), below=9),
    "Embedding, mask_zero": Descriptor(lambda layers, **o: layers.Embedding(9, 4, mask_zero=True, **o), (5,), below=9),
    "Masking": Descriptor(lambda layers, **o: layers.Masking(0.5, **o), SEQUENCE),
    "InputLayer": Descriptor(
        lambda layers, **o: layers.InputLayer(shape=SEQUENCE, **o), SEQUENCE, apart="Keras's is not called on values"
    ),
    "Activation": Descriptor(lambda layers, **o: layers.Activation("tanh", **o), SEQUENCE, mask=True),
    "ReLU": Descriptor(lambda layers, **o: layers.ReLU(0.9, 0.25, 0.125, **o), SEQUENCE, mask=True),
    "LeakyReLU": Descriptor(lambda layers, **o: layers.LeakyReLU(0.125, **o), SEQUENCE, mask=True),
    "Softmax": Descriptor(lambda layers, **o: layers.Softmax(**o), SEQUENCE),
    "Softmax, two axes": Descriptor(lambda layers, **o: layers.Softmax([1, 2], **o), SEQUENCE),
    "Softmax, of entries": Descriptor(lambda layers, **o: layers.Softmax(**o), (5,), mask=True),
    "Rescaling": Descriptor(lambda layers, **o: layers.Rescaling(0.5, 2.0, **o), SEQUENCE, mask=True),
    "Rescaling, whole numbers by feature": Descriptor(
        lambda layers, **o: layers.Rescaling([0.5, 2.0, 3.0, 4.0], [1.0, 0.0, 0.0, 0.25], **o), SEQUENCE, below=9
    ),
    # -- merging layers --
    "Concatenate": Descriptor(lambda layers, **o: layers.Concatenate(**o), [SEQUENCE, (5, 2)], mask=True),
    "Concatenate, one masked": Descriptor(
        lambda layers, **o: layers.Concatenate(**o), [SEQUENCE, (5, 2)], mask=[False, True]
    ),
    "Concatenate, steps": Descriptor(
        lambda layers, **o: layers.Concatenate(axis=1, **o), [SEQUENCE, (2, 4), (3, 4)], mask=[True, False, True]
    ),
    "Add": Descriptor(lambda layers, **o: layers.Add(**o), [SEQUENCE, SEQUENCE, SEQUENCE], mask=True),
    "Add, one masked": Descriptor(lambda layers, **o: layers.Add(**o), [SEQUENCE, SEQUENCE], mask=[True, False]),
    "Add, of other ranks": Descriptor(lambda layers, **o: layers.Add(**o), [(4,), SEQUENCE, (1, 4)]),
    "Subtract": Descriptor(lambda layers, **o: layers.Subtract(**o), [SEQUENCE, SEQUENCE], mask=True),
    "Multiply": Descriptor(lambda layers, **o: layers.Multiply(**o), [SEQUENCE, SEQUENCE, SEQUENCE], mask=True),
    "Multiply, one masked": Descriptor(
        lambda layers, **o: layers.Multiply(**o), [SEQUENCE, (5, 1)], mask=[False, True]
    ),
    "Average": Descriptor(lambda layers, **o: layers.Average(**o), [SEQUENCE, SEQUENCE, SEQUENCE], mask=True),
    "Maximum": Descriptor(lambda layers, **o: layers.Maximum(**o), [SEQUENCE, SEQUENCE, SEQUENCE], mask=True),
    "Maximum, some masked": Descriptor(
        lambda layers, **o: layers.Maximum(**o), [SEQUENCE, SEQUENCE, SEQUENCE], mask=[True, False, True]
    ),
    "Minimum": Descriptor(lambda layers, **o: layers.Minimum(**o), [SEQUENCE, SEQUENCE], mask=[False, True]),
    "Dot": Descriptor(lambda layers, **o: layers.Dot(axes=(1, 2), **o), [SEQUENCE, (7, 5)], mask=True),
    "Dot, cosine": Descriptor(lambda layers, **o: layers.Dot(axes=-1, normalize=True, **o), [(4,), (4,)]),
    # -- reshaping and pooling layers --
    "Flatten": Descriptor(lambda layers, **o: layers.Flatten(**o), SEQUENCE),
    "Flatten, channels_first": Descriptor(
        lambda layers, **o: layers.Flatten(data_format="channels_first", **o), (2, 3, 4)
    ),
    "Flatten, scalars": Descriptor(lambda layers, **o: layers.Flatten(**o), (), below=5),
    "Reshape": Descriptor(lambda layers, **o: layers.Reshape((-1, 2, 5), **o), SEQUENCE),
    "Permute": Descriptor(lambda layers, **o: layers.Permute((3, 1, 2), **o), (2, 3, 4)),
    "RepeatVector": Descriptor(lambda layers, **o: layers.RepeatVector(3, **o), (4,)),
    "GlobalAveragePooling1D": Descriptor(lambda layers, **o: layers.GlobalAveragePooling1D(**o), SEQUENCE, mask=True),
    "GlobalAveragePooling1D, kept steps": Descriptor(
        lambda layers, **o: layers.GlobalAveragePooling1D("channels_first", keepdims=True, **o), (4, 5)
    ),
    "GlobalMaxPooling1D": Descriptor(lambda layers, **o: layers.GlobalMaxPooling1D(**o), SEQUENCE),
    "GlobalMaxPooling1D, kept steps": Descriptor(
        lambda layers, **o: layers.GlobalMaxPooling1D("channels_first", keepdims=True, **o), (4, 5)
    ),
    "GlobalMaxPooling1D, masked": Descriptor(
        lambda layers, **o: layers.GlobalMaxPooling1D(**o), SEQUENCE, mask=True, apart="Keras lets padding win"
    ),
    # -- normalization and regularization --
    "BatchNormalization": Descriptor(lambda layers, **o: layers.BatchNormalization(**o), SEQUENCE, mask=True),
    "BatchNormalization, axis 1": Descriptor(lambda layers, **o: layers.BatchNormalization(axis=1, **o), SEQUENCE),
    "LayerNormalization": Descriptor(lambda layers, **o: layers.LayerNormalization(**o), SEQUENCE, mask=True),
    "LayerNormalization, two axes": Descriptor(
        lambda layers, **o: layers.LayerNormalization(axis=[-1, 1], epsilon=0.1, **o), SEQUENCE, mask=True
    ),
    "LayerNormalization, axis 1 without beta": Descriptor(
        lambda layers, **o: layers.LayerNormalization(axis=1, center=False, **o),
        (2, 3, 4),
        apart="Keras on torch takes a single axis for the last, and fails",
    ),
    "Dropout": Descriptor(lambda layers, **o: layers.Dropout(0.5, **o), SEQUENCE, mask=True),
    "SpatialDropout1D": Descriptor(lambda layers, **o: layers.SpatialDropout1D(0.5, **o), SEQUENCE, mask=True),
    "GaussianNoise": Descriptor(lambda layers, **o: layers.GaussianNoise(0.5, **o), SEQUENCE, mask=True),
    # -- convolutions --
    "Conv1D": Descriptor(lambda layers, **o: layers.Conv1D(3, 2, activation="tanh", **o), SEQUENCE),
    "Conv1D, causal": Descriptor(
        lambda layers, **o: layers.Conv1D(4, 3, padding="causal", dilation_rate=2, groups=2, **o), SEQUENCE
    ),
    "Conv1D, channels_first": Descriptor(
        lambda layers, **o: layers.Conv1D(3, 4, 2, "same", "channels_first", use_bias=False, **o), (4, 5)
    ),
    "Conv2D": Descriptor(lambda layers, **o: layers.Conv2D(3, (2, 3), (1, 2), "same", **o), (5, 6, 4)),
    "Conv2D, channels_first": Descriptor(
        lambda layers, **o: layers.Conv2D(4, 2, groups=2, data_format="channels_first", **o), (4, 5, 6)
    ),
    # -- layers around others, and attention --
    "TimeDistributed": Descriptor(
        lambda layers, **o: layers.TimeDistributed(layers.Dense(3, activation="tanh", **o)), SEQUENCE, mask=True
    ),
    "TimeDistributed, of a recurrent layer": Descriptor(
        lambda layers, **o: layers.TimeDistributed(layers.GRU(3, **o)), (5, 3, 4)
    ),
    "TimeDistributed, step by step": Descriptor(
        lambda layers, **o: layers.TimeDistributed(layers.BatchNormalization(**o)), SEQUENCE, mask=True
    ),
    "TimeDistributed, of a torch module": Descriptor(
        lambda layers, **o: layers.TimeDistributed(layers.TorchModule(Described(4, 3), **o)),
        SEQUENCE,
        mask=True,
        apart="Keras's TorchModuleWrapper has no config that can be opened",
    ),
    "TorchModule": Descriptor(
        lambda layers, **o: layers.TorchModule(Described(4, 3), supports_masking=True, **o), SEQUENCE, mask=True
    ),
    "Attention": Descriptor(lambda layers, **o: layers.Attention(**o), [SEQUENCE, (6, 4)], mask=True),
    "Attention, of keys": Descriptor(
        lambda layers, **o: layers.Attention(use_scale=True, score_mode="concat", dropout=0.5, **o),
        [SEQUENCE, (6, 2), (6, 4)],
        mask=True,
    ),
}
"""By the name of the class, and after a comma what is special about the row."""


ON_STRINGS = {"TextVectorization"}
"""Layers that are called on strings, which are not tensors; tests/layers/test_text_vectorization.py is for them."""


def class_name(label: str) -> str:
    """The class that a row of the table is about."""
    return label.partition(",")[0]


RECURRENT = [label for label in DESCRIPTORS if issubclass(getattr(ostinato.layers, class_name(label)), Recurrent)]
"""The rows of recurrent layers, whose own list of properties is in tests/layers/test_properties_*.py."""
