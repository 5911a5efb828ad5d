"""Penalties on weights and activities."""

from ostinato.core.regularizers import (
    L1,
    L1L2,
    L2,
    Regularizer,
    get,
)

__all__ = [
    "L1",
    "L1L2",
    "L2",
    "Regularizer",
    "get",
]
