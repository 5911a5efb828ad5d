"""ConvLSTM layers of ours and of Keras side by side, and what to call them on."""

import keras

import ostinato
from side_by_side import give_weights, tensor

SIZES = {1: (6,), 2: (5, 4), 3: (3, 4, 2)}
"""Of space, by rank."""
NAMES = {rank: f"ConvLSTM{rank}D" for rank in SIZES}


def shape_of(rank, data_format="channels_last", batch=3, time=5, channels=2, sizes=None):
    """The shape of sequences."""
    sizes = sizes or SIZES[rank]
    return (batch, time, channels, *sizes) if data_format == "channels_first" else (batch, time, *sizes, channels)


def twins(rank, shape=None, **options):
    """Our layer and Keras's, built, with the same random weights."""
    options = {"filters": 3, "kernel_size": 2, **options}
    pair = [getattr(module.layers, NAMES[rank])(**options) for module in (ostinato, keras)]
    for layer in pair:
        layer.build(shape or shape_of(rank, options.get("data_format")))
    give_weights(*pair, scale=0.25)
    return pair


def states_of(layer, batch=3):
    """Random h and c for a layer that is built."""
    return [tensor(batch, *size, seed=20 + i) for i, size in enumerate(layer.state_size)]
