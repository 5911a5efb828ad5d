"""`Embedding`: whole numbers to vectors."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ostinato.core import constraints, initializers, regularizers
from ostinato.core.context import CONTEXT
from ostinato.core.dtypes import to_tensor
from ostinato.core.layer import Layer
from ostinato.core.registry import builtin


@builtin("layers")
class Embedding(Layer):
    """A row of a table for each index.

    input_dim: number of rows, the largest index + 1. output_dim: length of a row. embeddings_initializer,
    embeddings_regularizer, embeddings_constraint: of the table. mask_zero: index 0 is padding, to be masked in what
    follows; its row is an ordinary trainable one. weights: the table's initial values, an array or a list of one.

    Called with indices of any shape `(...)`; returns `(..., output_dim)`. Floats are cut to whole numbers, as in Keras;
    the mask is made from what was given, before the cut. Raises TypeError for complex numbers and for floats of a dtype
    that cannot hold every index, on a CPU IndexError for NaN and for what is outside `[0, input_dim)` (on a GPU torch's
    own check stops the process).

    Source: Keras, `layers/core/embedding.py`.

    >>> import torch, ostinato
    >>> embedding = ostinato.layers.Embedding(10, 4)
    >>> embedding(torch.tensor([[1, 2, 3]])).shape
    torch.Size([1, 3, 4])
    >>> torch.equal(embedding(torch.tensor([[1.0, 2.7]])), embedding(torch.tensor([[1, 2]])))
    True
    """

    steps_independent = True

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        input_length: int | None = None,
        weights: Any = None,
        **kwargs: Any,
    ) -> None:
        if input_length is not None and "input_shape" not in kwargs:  # Keras 2
            kwargs["input_shape"] = (input_length,)
        super().__init__(**kwargs)
        for what, size in (("input_dim", input_dim), ("output_dim", output_dim)):
            if isinstance(size, bool) or not hasattr(size, "__index__") or int(size) < 1:
                raise ValueError(f"Embedding: `{what}` must be a positive integer, got {size!r}.")
        self.input_dim, self.output_dim = int(input_dim), int(output_dim)
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.embeddings_constraint = constraints.get(embeddings_constraint)
        self.mask_zero = mask_zero
        if weights is not None:
            self.build()
            self.set_weights(weights if isinstance(weights, list) and len(weights) == 1 else [weights])

    def build(self, input_shape: Any = None) -> None:
        self.embeddings = self.add_weight(
            shape=(self.input_dim, self.output_dim),
            initializer=self.embeddings_initializer,
            regularizer=self.embeddings_regularizer,
            constraint=self.embeddings_constraint,
            name="embeddings",
        )

    def call(self, inputs: Tensor) -> Tensor:
        try:
            return torch.nn.functional.embedding(self._whole(inputs), self.embeddings)
        except IndexError:
            low, high = inputs.min().item(), inputs.max().item()
        raise IndexError(
            f"{self.described}: indices must be in [0, {self.input_dim}), got {low} to {high}. Make input_dim at least "
            f"the largest index + 1."
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, but for the initial weights."""
        config = super().get_config()
        del config["weights"]
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Self:
        """The layer that `get_config` described, with fresh weights; bad options are a TypeError, as in Keras."""
        try:
            return super().from_config(config, custom_objects)
        except ValueError as error:
            raise TypeError(f"{cls.__name__}.from_config: {error}") from error

    def compute_mask(self, inputs: Tensor, mask: Any = None) -> Any:
        """True where the index is not 0, with mask_zero; else None."""
        return inputs != 0 if self.mask_zero else None

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`(..., output_dim)`."""
        return (*input_shape, self.output_dim)

    def _asks_for_dtype(self) -> bool:
        return False  # the table is read, not multiplied with what is given

    def _admit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs = super()._admit(args, kwargs)
        if not isinstance(args[0], Tensor):
            raise TypeError(f"{self.described}: expected a tensor or array of indices, got {type(args[0]).__name__}.")
        if args[0].is_complex():
            raise TypeError(f"{self.described}: indices must be whole numbers, got {args[0].dtype}.")
        return args, kwargs

    def _admit_leaf(self, leaf: Any, strict: bool) -> Any:
        if isinstance(leaf, (np.ndarray, np.generic)) and leaf.dtype.kind == "f":
            return to_tensor(leaf, torch.float64, self._where())  # the table's dtype might not tell the indices apart
        return super()._admit_leaf(leaf, strict)

    def _whole(self, inputs: Tensor) -> Tensor:
        """Indices as int32 or int64; -1, which is refused later, for NaN and what is between -1 and 0."""
        if inputs.dtype in (torch.int64, torch.int32):
            return inputs
        if inputs.is_floating_point():
            narrow = self.input_dim > 1 + 2 / torch.finfo(inputs.dtype).eps
            if narrow and not CONTEXT.inferring:  # there, it stands for an Input of any dtype
                raise TypeError(
                    f"{self.described}: {inputs.dtype} cannot hold every index below {self.input_dim}: some have been "
                    f"rounded to others. Pass integers."
                )
            inputs = inputs.nan_to_num(nan=-1.0).floor()  # what becomes of NaN in integers depends on the machine
        return inputs.to(torch.int64)
