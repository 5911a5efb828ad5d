"""ostinato: the Keras recurrent API as native PyTorch modules.

>>> import torch, ostinato
>>> layer = ostinato.layers.LSTM(4, return_sequences=True)
>>> layer(torch.zeros(2, 5, 3)).shape
torch.Size([2, 5, 4])
"""

from importlib.metadata import version

from ostinato import (
    activations,
    callbacks,
    constraints,
    datasets,
    initializers,
    layers,
    losses,
    metrics,
    models,
    ops,
    optimizers,
    plots,
    regularizers,
    saving,
    utils,
)
from ostinato.engines.select import use_engine
from ostinato.initializers import Initializer
from ostinato.layers import Layer
from ostinato.layers.explain import explain
from ostinato.layers.input import Input
from ostinato.losses import Loss
from ostinato.metrics import Metric
from ostinato.models import Model, Sequential
from ostinato.optimizers import Optimizer
from ostinato.regularizers import Regularizer

__version__ = version("ostinato")

__all__ = [
    "Initializer",
    "Input",
    "Layer",
    "Loss",
    "Metric",
    "Model",
    "Optimizer",
    "Regularizer",
    "Sequential",
    "__version__",
    "activations",
    "callbacks",
    "constraints",
    "datasets",
    "explain",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "ops",
    "optimizers",
    "plots",
    "regularizers",
    "saving",
    "use_engine",
    "utils",
]
