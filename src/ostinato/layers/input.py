"""`Input`: where a functional model begins."""

from __future__ import annotations

from typing import Any

from ostinato.core.drawing import input_symbol
from ostinato.core.dtypes import as_dtype
from ostinato.core.layer import Layer
from ostinato.core.registry import builtin
from ostinato.core.shapes import as_shape
from ostinato.core.symbolic import SymbolicTensor


@builtin("layers")
class InputLayer(Layer):
    """What stands for an input in a model; made by `Input`, whose arguments it takes, and first in its layers.

    >>> import ostinato
    >>> ostinato.layers.InputLayer(shape=(28,)).symbol.shape
    (None, 28)
    """

    supports_masking = True

    def __init__(
        self,
        shape: Any = None,
        batch_size: int | None = None,
        dtype: Any = None,
        batch_shape: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        if (shape is None) == (batch_shape is None):
            raise ValueError("Input: pass either shape (without the batch) or batch_shape.")
        self.batch_shape = as_shape((batch_size, *as_shape(shape)) if batch_shape is None else batch_shape)
        self.declared_dtype = None if dtype is None else as_dtype(dtype)
        self.built = True
        self.symbol = input_symbol(self.batch_shape, self.declared_dtype, self)

    def call(self, inputs: Any) -> Any:
        return inputs

    def get_config(self) -> dict[str, Any]:
        """Shape with the batch, dtype and name."""
        dtype = None if self.declared_dtype is None else str(self.declared_dtype).removeprefix("torch.")
        return {"batch_shape": list(self.batch_shape), "dtype": dtype, "name": self.name}

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "symbol": None}


def Input(
    shape: Any = None,
    batch_size: int | None = None,
    dtype: Any = None,
    name: str | None = None,
    batch_shape: Any = None,
) -> SymbolicTensor:
    """A symbolic tensor for a model to begin with.

    shape: without the batch, None where the size is open; batch_size, or batch_shape for both: the batch, open by
    default. dtype: of the data; any if not given. name: of the input, by which data in a dict is matched.

    >>> import ostinato
    >>> ostinato.Input((None, 28)).shape
    (None, None, 28)
    """
    return InputLayer(shape=shape, batch_size=batch_size, dtype=dtype, batch_shape=batch_shape, name=name).symbol
