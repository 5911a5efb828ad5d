"""The layers, with Keras's names and arguments."""

from ostinato.core.input_spec import InputSpec
from ostinato.core.layer import Layer
from ostinato.core.registry import deserialize_keras_object, serialize_keras_object
from ostinato.layers.activation import Activation, LeakyReLU, ReLU, Softmax
from ostinato.layers.attention import Attention
from ostinato.layers.bidirectional import Bidirectional
from ostinato.layers.concatenate import Concatenate, concatenate
from ostinato.layers.conv_lstm import ConvLSTM1D, ConvLSTM2D, ConvLSTM3D
from ostinato.layers.convolution import Conv1D, Conv2D
from ostinato.layers.dense import Dense
from ostinato.layers.dot import Dot, dot
from ostinato.layers.elementwise import (
    Add,
    Average,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    maximum,
    minimum,
    multiply,
    subtract,
)
from ostinato.layers.embedding import Embedding
from ostinato.layers.global_pooling import GlobalAveragePooling1D, GlobalMaxPooling1D
from ostinato.layers.gru import GRU, GRUCell
from ostinato.layers.input import Input, InputLayer
from ostinato.layers.layer_normalization import LayerNormalization
from ostinato.layers.lstm import LSTM, LSTMCell
from ostinato.layers.masking import Masking
from ostinato.layers.normalization import BatchNormalization
from ostinato.layers.regularization import Dropout, GaussianNoise, SpatialDropout1D
from ostinato.layers.rescaling import Rescaling
from ostinato.layers.reshaping import Flatten, Permute, RepeatVector, Reshape
from ostinato.layers.rnn import RNN
from ostinato.layers.simple_rnn import SimpleRNN, SimpleRNNCell
from ostinato.layers.stacked import StackedRNNCells
from ostinato.layers.text_vectorization import TextVectorization
from ostinato.layers.time_distributed import TimeDistributed
from ostinato.layers.torch_module import TorchModule
from ostinato.layers.wrapper import Wrapper

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Activation",
    "Add",
    "Attention",
    "Average",
    "BatchNormalization",
    "Bidirectional",
    "Concatenate",
    "Conv1D",
    "Conv2D",
    "ConvLSTM1D",
    "ConvLSTM2D",
    "ConvLSTM3D",
    "Dense",
    "Dot",
    "Dropout",
    "Embedding",
    "Flatten",
    "GRUCell",
    "GaussianNoise",
    "GlobalAveragePooling1D",
    "GlobalAvgPool1D",
    "GlobalMaxPool1D",
    "GlobalMaxPooling1D",
    "Input",
    "InputLayer",
    "InputSpec",
    "LSTMCell",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "Masking",
    "Maximum",
    "Minimum",
    "Multiply",
    "Permute",
    "ReLU",
    "RepeatVector",
    "Rescaling",
    "Reshape",
    "SimpleRNN",
    "SimpleRNNCell",
    "Softmax",
    "SpatialDropout1D",
    "StackedRNNCells",
    "Subtract",
    "TextVectorization",
    "TimeDistributed",
    "TorchModule",
    "TorchModuleWrapper",
    "Wrapper",
    "add",
    "average",
    "concatenate",
    "deserialize",
    "dot",
    "maximum",
    "minimum",
    "multiply",
    "serialize",
    "subtract",
]

TorchModuleWrapper = TorchModule  # Keras's name
GlobalAvgPool1D, GlobalMaxPool1D = GlobalAveragePooling1D, GlobalMaxPooling1D  # Keras's short names
serialize, deserialize = serialize_keras_object, deserialize_keras_object
