"""Seeds, and what Keras keeps in `keras.utils`."""

from ostinato.core.registry import (
    custom_object_scope,
    deserialize_keras_object,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
    serialize_keras_object,
)
from ostinato.plots.model import plot_model
from ostinato.random import set_random_seed

__all__ = [
    "custom_object_scope",
    "deserialize_keras_object",
    "get_registered_name",
    "get_registered_object",
    "plot_model",
    "register_keras_serializable",
    "serialize_keras_object",
    "set_random_seed",
]
