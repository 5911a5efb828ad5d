"""`Embedding`: whole numbers to vectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.core import constraints, initializers, regularizers
from ostinato.core.context import CONTEXT
from ostinato.core.layer import Layer
from ostinato.core.registry import builtin


@builtin("layers")
class Embedding(Layer):
    """A row of a table for each index.

    input_dim: number of rows, the largest index + 1. output_dim: length of a row. embeddings_initializer,
    embeddings_regularizer, embeddings_constraint: of the table. mask_zero: index 0 is padding, to be masked in what
    follows; its row is an ordinary trainable one. weights: the table's initial values, an array or a list of one.

    Called with integers of any shape `(...)`; returns `(..., output_dim)`. Raises TypeError for indices that are no
    integers, IndexError for one outside `[0, input_dim)`.

    >>> import torch, ostinato
    >>> ostinato.layers.Embedding(10, 4)(torch.tensor([[1, 2, 3]])).shape
    torch.Size([1, 3, 4])
    """

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
        inputs = self._whole(inputs)
        try:
            return torch.nn.functional.embedding(inputs, self.embeddings)
        except IndexError:
            low, high = int(inputs.min()), int(inputs.max())
        raise IndexError(
            f"{self.described}: indices must be in [0, {self.input_dim}), got {low} to {high}. Make input_dim at least "
            f"the largest index + 1."
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, but for the initial weights."""
        config = super().get_config()
        del config["weights"]
        return config

    def compute_mask(self, inputs: Tensor, mask: Any = None) -> Any:
        """True where the index is not 0, with mask_zero; else None."""
        return inputs != 0 if self.mask_zero else None

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`(..., output_dim)`."""
        return (*input_shape, self.output_dim)

    def _admit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        (inputs, *rest), kwargs = super()._admit(args, kwargs)
        if not isinstance(inputs, Tensor):
            raise TypeError(f"{self.described}: expected a tensor or array of integers, got {type(inputs).__name__}.")
        return (self._whole(inputs), *rest), kwargs

    def _whole(self, inputs: Tensor) -> Tensor:
        """Indices as int32 or int64. Raises TypeError for what are no integers."""
        if inputs.dtype in (torch.int64, torch.int32):
            return inputs
        floating = inputs.is_floating_point() and not CONTEXT.inferring  # there, it stands for an Input of any dtype
        if floating or inputs.is_complex() or inputs.dtype is torch.bool:
            raise TypeError(
                f"{self.described}: indices must be integers, got {inputs.dtype}. Cast them, say with .long() or "
                f".astype('int64'), if they are whole numbers."
            )
        return inputs.to(torch.int64)
