"""The layers, with Keras's names and arguments."""

from ostinato.core.input_spec import InputSpec
from ostinato.core.layer import Layer
from ostinato.core.registry import deserialize_keras_object, serialize_keras_object
from ostinato.layers.bidirectional import Bidirectional
from ostinato.layers.dense import Dense
from ostinato.layers.embedding import Embedding
from ostinato.layers.gru import GRU, GRUCell
from ostinato.layers.input import Input, InputLayer
from ostinato.layers.lstm import LSTM, LSTMCell
from ostinato.layers.masking import Masking
from ostinato.layers.normalization import BatchNormalization
from ostinato.layers.regularization import Dropout
from ostinato.layers.rnn import RNN
from ostinato.layers.simple_rnn import SimpleRNN, SimpleRNNCell
from ostinato.layers.stacked import StackedRNNCells

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "BatchNormalization",
    "Bidirectional",
    "Dense",
    "Dropout",
    "Embedding",
    "GRUCell",
    "Input",
    "InputLayer",
    "InputSpec",
    "LSTMCell",
    "Layer",
    "Masking",
    "SimpleRNN",
    "SimpleRNNCell",
    "StackedRNNCells",
    "deserialize",
    "serialize",
]

serialize, deserialize = serialize_keras_object, deserialize_keras_object
