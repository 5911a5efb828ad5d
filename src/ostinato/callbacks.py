"""What `fit` reports to."""

from ostinato.training.history import History

__all__ = ["History"]
