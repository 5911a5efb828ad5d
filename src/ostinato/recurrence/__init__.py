"""The mathematics: recurrences as pure steps of tensors, and the one loop over them."""

from ostinato.recurrence.base import Problem, Recurrence, Scanned
from ostinato.recurrence.conv_lstm import ConvLSTM
from ostinato.recurrence.directions import Directions
from ostinato.recurrence.gru import GRU
from ostinato.recurrence.lstm import LSTM
from ostinato.recurrence.masks import Compacted, compact
from ostinato.recurrence.scan import scan
from ostinato.recurrence.simple_rnn import SimpleRNN
from ostinato.recurrence.stack import Stack

__all__ = [
    "GRU",
    "LSTM",
    "Compacted",
    "ConvLSTM",
    "Directions",
    "Problem",
    "Recurrence",
    "Scanned",
    "SimpleRNN",
    "Stack",
    "compact",
    "scan",
]
