"""Engines: what runs a recurrence fast, and the one door through which they are asked."""

from ostinato.engines.base import Engine
from ostinato.engines.execute import execute
from ostinato.engines.select import Choice, observe, refusals, select
from ostinato.engines.spec import Spec

__all__ = ["Choice", "Engine", "Spec", "execute", "observe", "refusals", "select"]
