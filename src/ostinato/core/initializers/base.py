"""What an initializer is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ostinato.core import registry
from ostinato.core.config import bound_arguments, without_foreign


class Initializer:
    """Base: a callable `(shape, dtype=None) -> Tensor` on the CPU; its constructor's arguments are its config.

    >>> class Sevens(Initializer):
    ...     def __call__(self, shape, dtype=None):
    ...         return torch.full(shape, 7.0)
    >>> Sevens()((2,))
    tensor([7., 7.])
    """

    _arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        self = super().__new__(cls)
        self._arguments = bound_arguments(cls, args, kwargs)
        return self

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        """Values of a shape; dtype None is torch's default."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(shape, dtype=None).")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {key: registry.serialize_keras_object(value) for key, value in self._arguments.items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The initializer that `get_config` described."""
        return cls(**without_foreign(cls, config))

    def clone(self) -> Any:
        """Another initializer with the same arguments."""
        return type(self).from_config(self.get_config())


registry.builtin("initializers", "initializer")(Initializer)


def filled(values: Tensor, shape: Sequence[int]) -> Tensor:
    """A tensor of its own, of this shape, with values that broadcast to it.

    >>> filled(torch.tensor(2.0), (2,))
    tensor([2., 2.])
    """
    return torch.broadcast_to(values, tuple(shape)).clone(memory_format=torch.contiguous_format)
