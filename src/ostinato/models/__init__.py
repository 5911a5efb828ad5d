"""Models: layers put together, with Keras's compile, fit, evaluate and predict."""

from ostinato.models.model import Model
from ostinato.models.sequential import Sequential

__all__ = ["Model", "Sequential"]
