"""The libraries that are compared, each in a module of its own that builds what is timed.

A module has functions `layer(task)` and, where it has something to fit, `fit(steps)`; both return `Prepared` or raise
`Unsupported`. Modules are imported only in the process that runs them: their libraries do not all get on in one.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple


class Prepared(NamedTuple):
    """What is timed.

    call: does it once, and returns when it is done. amount: how much that is, of what times are given for: calls, steps
    of `fit`, billions of operations. note: how it runs, for the report.
    """

    call: Callable[[], Any]
    amount: float = 1
    note: str = ""


class Unsupported(Exception):
    """The library has no such thing; the message says what."""


class Peer(NamedTuple):
    """module: which builds it. host: the process it lives in. needs: what must be installed. backend: of Keras."""

    module: str
    host: str
    needs: tuple[str, ...] = ()
    backend: str = "torch"


OURS = "ostinato"
PEERS = {
    OURS: Peer("ours", "torch"),
    "torch.nn": Peer("torch_nn", "torch"),
    "plain loop": Peer("plain_loop", "torch"),
    "Keras-JAX": Peer("keras_jax", "Keras-JAX", ("keras", "jax"), "jax"),
    "Keras-TF": Peer("keras_tensorflow", "Keras-TF", ("keras", "tensorflow"), "tensorflow"),
    "Keras-torch": Peer("keras_torch", "Keras-torch", ("keras",)),
    "flax": Peer("flax_linen", "flax", ("jax", "flax")),
    "sgemm": Peer("peaks", "torch"),
    "FMA": Peer("peaks", "torch"),
}
PEAKS = ("sgemm", "FMA")
"""No libraries, but what the machine reaches with nothing else to do."""
LIBRARIES = tuple(name for name in PEERS if name not in PEAKS)


def missing(name: str) -> list[str]:
    """What a peer needs that is not installed."""
    return [needed for needed in PEERS[name].needs if importlib.util.find_spec(needed) is None]
