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
from ostinato.sequences.buckets import bucket_by_length
from ostinato.sequences.padding import pad_sequences
from ostinato.sequences.timeseries import timeseries_dataset_from_array
from ostinato.sequences.vectors import normalize, to_categorical
from ostinato.training.sources.base import pack_x_y_sample_weight, unpack_x_y_sample_weight

__all__ = [
    "bucket_by_length",
    "custom_object_scope",
    "deserialize_keras_object",
    "get_registered_name",
    "get_registered_object",
    "normalize",
    "pack_x_y_sample_weight",
    "pad_sequences",
    "plot_model",
    "register_keras_serializable",
    "serialize_keras_object",
    "set_random_seed",
    "timeseries_dataset_from_array",
    "to_categorical",
    "unpack_x_y_sample_weight",
]
