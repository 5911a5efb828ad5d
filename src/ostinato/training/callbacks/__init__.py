"""What `fit` reports to."""

from ostinato.training.callbacks.history import History

__all__ = [
    "History",
]
