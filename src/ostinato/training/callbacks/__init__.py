"""What `fit` reports to."""

from ostinato.training.callbacks.base import Callback
from ostinato.training.callbacks.csv_log import CSVLogger
from ostinato.training.callbacks.history import History
from ostinato.training.callbacks.lambdas import LambdaCallback
from ostinato.training.callbacks.nan import TerminateOnNaN
from ostinato.training.callbacks.running import CallbackList

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackList",
    "History",
    "LambdaCallback",
    "TerminateOnNaN",
]
