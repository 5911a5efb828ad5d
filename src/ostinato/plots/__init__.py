"""Pictures, drawn with matplotlib (the extra `plots`)."""

from ostinato.plots.history import plot_history
from ostinato.plots.model import plot_model
from ostinato.plots.states import plot_states

__all__ = ["plot_history", "plot_model", "plot_states"]
