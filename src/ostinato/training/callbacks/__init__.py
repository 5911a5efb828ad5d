"""What `fit` reports to."""

from ostinato.training.callbacks.averages import SwapEMAWeights
from ostinato.training.callbacks.base import Callback
from ostinato.training.callbacks.csv_log import CSVLogger
from ostinato.training.callbacks.early_stopping import EarlyStopping
from ostinato.training.callbacks.history import History
from ostinato.training.callbacks.lambdas import LambdaCallback
from ostinato.training.callbacks.nan import TerminateOnNaN
from ostinato.training.callbacks.progress_bar import ProgressBar
from ostinato.training.callbacks.running import CallbackList
from ostinato.training.callbacks.schedules import LearningRateScheduler, ReduceLROnPlateau
from ostinato.training.callbacks.tensorboard import TensorBoard
from ostinato.training.callbacks.torch_scheduler import TorchScheduler

ProgbarLogger = ProgressBar  # Keras's name

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ProgbarLogger",
    "ProgressBar",
    "ReduceLROnPlateau",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
    "TorchScheduler",
]
