"""What each engine must accept, and what it must refuse and why: without it an engine that refuses all would be green.

A new engine gets its rows here; `tests/engines/test_ledger.py` fails otherwise. The reference takes everything.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import torch

from ostinato.engines.spec import Spec, spec_of
from ostinato.recurrence import LSTM, ConvLSTM, Problem, Recurrence, Stack
from ostinato.recurrence.activations import KNOWN
from ostinato.recurrence.convolution import Convolution
from ostinato.recurrence.directions import paired
from problems import problem


class Row(NamedTuple):
    """A problem, facts of its Spec that are taken to be otherwise, and the reasons against it."""

    problem: Problem
    facts: dict[str, Any]
    reasons: tuple[str, ...] = ()

    @property
    def spec(self) -> Spec:
        """The problem's Spec, with the facts."""
        return spec_of(self.problem)._replace(**self.facts)


@dataclasses.dataclass(eq=False)
class Own(Recurrence):
    """A recurrence that no engine knows."""

    rate: torch.Tensor

    def step(self, x: Any, state: Any) -> tuple[Any, Any]:
        h = self.rate * state[0] + x
        return h, (h,)


class Doubled(LSTM):
    """An LSTM by name, fields and options, whose step is another."""

    def step(self, x: Any, state: Any) -> tuple[Any, Any]:
        output, state = super().step(x, state)
        return 2 * output, state


LENGTHS = torch.tensor([5, 0, 3])


def asked(cell: str, **options: Any) -> Problem:
    """A problem of three rows and five steps, in float32 unless said otherwise."""
    return problem(cell, **{"dtype": torch.float32, **options})


def both(forward: Problem, backward: Problem | None = None) -> Problem:
    """Two directions as one problem; backward: by default just like forward."""
    backward = dataclasses.replace(backward or forward, inputs=forward.inputs, lengths=forward.lengths, reverse=True)
    found = paired([forward, backward])
    assert found is not None
    return found


def with_recurrence(recurrence: Recurrence, state: Any = None) -> Problem:
    """An LSTM's problem with another recurrence."""
    lstm = asked("lstm")
    return dataclasses.replace(lstm, recurrence=recurrence, state=lstm.state if state is None else state)


def _conv() -> Problem:
    window = Convolution((1,), (1,), (1,), "valid", channels_last=True)
    conv = ConvLSTM(torch.zeros(1, 2, 12), torch.zeros(1, 3, 12), window, window)
    state = torch.zeros(3, 4, 3), torch.zeros(3, 4, 3)
    return Problem(conv, torch.zeros(5, 3, 4, 2), state)


CUDA = {"device": "cuda"}
BY_NAME = {
    "plain": {},
    "float64": {"dtype": torch.float64},
    "no bias": {"bias": False},
    "with gradients": {"requires_grad": True},
    "backwards": {"reverse": True},
    "lengths": {"lengths": LENGTHS},
    "lengths, backwards": {"lengths": LENGTHS, "reverse": True},
    "last only": {"sequences": False},
    "one dropout mask for all gates": {"dropout": "shared"},
    "not on cuDNN": {"cudnn": False},
}
SAME = "runs two directions at once only if they are alike"
MASKED = "runs two directions at once on the same inputs only, not under dropout masks of their own"
ONE_BY_ONE = "runs two directions one by one on cpu, where that is as fast"
OPAQUE = "is opaque to torch.func transforms and forward-mode AD"
ROUNDS = "takes bfloat16 on cpu only as oneDNN knows it, for an lstm: else it rounds more than the loop"
KINDS = "takes lstm, gru and simple_rnn, not "

NOT_CUDNN = "is not cuDNN, which use_cudnn=True asks for"
CUDNN_ON_CPU = NOT_CUDNN + " and which needs a GPU"

ACCEPTED: dict[str, dict[str, Row]] = {"aten": {}, "native": {}}
for _cell in ("simple_rnn", "gru", "lstm"):
    for _name, _options in BY_NAME.items():
        ACCEPTED["aten"][f"{_cell}, {_name}"] = Row(asked(_cell, **_options), {})
        if _name != "not on cuDNN":
            ACCEPTED["aten"][f"{_cell}, {_name}, on a GPU"] = Row(asked(_cell, **_options), CUDA)
    ACCEPTED["aten"] |= {
        f"{_cell}, bfloat16 on a GPU": Row(asked(_cell, dtype=torch.bfloat16), CUDA),
        f"{_cell}, float16 on a GPU": Row(asked(_cell), {**CUDA, "dtype": torch.float16}),
        f"{_cell}, on cuDNN by name": Row(asked(_cell), {**CUDA, "cudnn": True}),
        f"{_cell}, autocast on a GPU": Row(asked(_cell), {**CUDA, "autocast": torch.float16}),
        f"{_cell}, both directions": Row(both(asked(_cell)), CUDA),
        f"{_cell}, both directions, no bias, lengths": Row(both(asked(_cell, bias=False, lengths=LENGTHS)), CUDA),
        f"{_cell}, both directions, on cuDNN by name": Row(both(asked(_cell)), {**CUDA, "cudnn": True}),
    }
ACCEPTED["aten"] |= {
    "simple_rnn, relu": Row(asked("simple_rnn", activation="relu"), {}),
    "simple_rnn, relu, lengths": Row(asked("simple_rnn", activation="relu", lengths=LENGTHS), {}),
    "simple_rnn, relu, on a GPU": Row(asked("simple_rnn", activation="relu"), CUDA),
    "simple_rnn, relu, both directions": Row(both(asked("simple_rnn", activation="relu")), CUDA),
}

ALL_DROPOUT = {"dropout": "gates", "recurrent_dropout": True}
NATIVE_BY_NAME = {
    **{name: options for name, options in BY_NAME.items() if name != "float64"},
    "lengths, last only": {"lengths": LENGTHS, "sequences": False},
    "backwards, with gradients": {"reverse": True, "requires_grad": True},
    "a dropout mask for each gate": {"dropout": "gates"},
    "recurrent_dropout": {"recurrent_dropout": True},
    "all dropout, lengths, backwards, no bias, with gradients": {
        **ALL_DROPOUT,
        "lengths": LENGTHS,
        "reverse": True,
        "bias": False,
        "requires_grad": True,
    },
    "one sample": {"batch": 1},
    "primes": {"batch": 7, "time": 11, "features": 5, "units": 13},
    "bfloat16": {"dtype": torch.bfloat16},
    "bfloat16, all dropout, lengths, backwards, no bias, with gradients": {
        **ALL_DROPOUT,
        "dtype": torch.bfloat16,
        "lengths": LENGTHS,
        "reverse": True,
        "bias": False,
        "requires_grad": True,
    },
    "bfloat16, last only": {"dtype": torch.bfloat16, "sequences": False},
}
for _cell in ("simple_rnn", "gru", "gru_v1", "lstm"):
    for _name, _options in NATIVE_BY_NAME.items():
        ACCEPTED["native"][f"{_cell}, {_name}"] = Row(asked(_cell, **_options), {})
    for _name in KNOWN:
        ACCEPTED["native"][f"{_cell}, activation {_name}"] = Row(asked(_cell, activation=_name), {})
        if _cell != "simple_rnn":
            ACCEPTED["native"][f"{_cell}, recurrent_activation {_name}"] = Row(
                asked(_cell, recurrent_activation=_name, time=2),
                {},  # few steps, for gates without bounds
            )
ACCEPTED["native"] |= {
    "lstm, all activations relu, all dropout, with gradients": Row(
        asked("lstm", activation="relu", recurrent_activation="relu", time=2, **ALL_DROPOUT, requires_grad=True), {}
    ),
    "simple_rnn, a kernel that learns under a mask that does not": Row(
        asked("simple_rnn", dropout="shared", requires_grad=True), {}
    ),
}

for _cell in ("simple_rnn", "gru", "gru_v1", "lstm"):
    ACCEPTED["native"] |= {
        f"{_cell}, both directions": Row(both(asked(_cell)), {}),
        f"{_cell}, both directions, with gradients": Row(both(asked(_cell, requires_grad=True)), {}),
        f"{_cell}, both directions, last only, lengths, no bias": Row(
            both(asked(_cell, sequences=False, lengths=LENGTHS, bias=False)), {}
        ),
        f"{_cell}, both directions, all dropout": Row(both(asked(_cell, **ALL_DROPOUT)), {}),
        f"{_cell}, both directions, bfloat16": Row(both(asked(_cell, dtype=torch.bfloat16)), {}),
        f"{_cell}, both directions, the other an lstm with relu": Row(
            both(asked(_cell), asked("lstm", activation="relu", units=7)), {}
        ),
    }


def _learned(asked: Problem, mask: str) -> Problem:
    """With a dropout mask that requires a gradient."""
    getattr(asked.recurrence, mask).requires_grad_()
    return asked


def _with(name: str, function: Any) -> Problem:
    """An LSTM with an activation of one's own."""
    return with_recurrence(dataclasses.replace(asked("lstm").recurrence, **{name: function}))


ACTIVATION = "takes {} tanh, sigmoid, relu, hard_sigmoid or linear, not custom"
FLOATS = "takes float32, bfloat16"
LEARNED = "gives no gradients for dropout masks"
LOWER = "would compute in float32, not in the lower precision of torch.autocast"

REFUSED: dict[str, dict[str, Row]] = {
    "native": {
        # -- where, and in what --
        "lstm, float64": Row(asked("lstm", dtype=torch.float64), {}, (FLOATS,)),
        "gru, complex": Row(asked("gru"), {"dtype": torch.complex64}, (FLOATS,)),
        "simple_rnn, float16": Row(asked("simple_rnn"), {"dtype": torch.float16}, (FLOATS,)),
        "lstm, on a GPU": Row(asked("lstm"), CUDA, ("runs on cpu, not on cuda",)),
        "lstm, on a GPU, no cuDNN": Row(asked("lstm", cudnn=False), CUDA, ("runs on cpu, not on cuda",)),
        "gru, on meta": Row(asked("gru"), {"device": "meta"}, ("runs on cpu, not on meta",)),
        "gru, on mps": Row(asked("gru"), {"device": "mps"}, ("runs on cpu, not on mps",)),
        "lstm, autocast": Row(asked("lstm"), {"autocast": torch.bfloat16}, (LOWER,)),
        "lstm, transformed": Row(asked("lstm"), {"transformed": True}, (OPAQUE,)),
        "lstm, cuDNN on a CPU": Row(asked("lstm", cudnn=True), {}, (NOT_CUDNN,)),
        # -- what it has no gradients for, and which functions it does not know --
        "lstm, a dropout mask that learns": Row(
            _learned(asked("lstm", dropout="shared", requires_grad=True), "dropout"), {}, (LEARNED,)
        ),
        "gru, a dropout mask for each gate that learns, and nothing else": Row(
            _learned(asked("gru", dropout="gates"), "dropout"), {}, (LEARNED,)
        ),
        "gru, a recurrent dropout mask that learns": Row(
            _learned(asked("gru", recurrent_dropout=True, requires_grad=True), "recurrent_dropout"), {}, (LEARNED,)
        ),
        "lstm, an activation of one's own": Row(_with("activation", torch.sin), {}, (ACTIVATION.format("activation"),)),
        "lstm, a recurrent activation of one's own": Row(
            _with("recurrent_activation", torch.sin), {}, (ACTIVATION.format("recurrent_activation"),)
        ),
        "lstm, both of one's own": Row(
            with_recurrence(
                dataclasses.replace(asked("lstm").recurrence, activation=torch.sin, recurrent_activation=torch.cos)
            ),
            {},
            (ACTIVATION.format("activation"), ACTIVATION.format("recurrent_activation")),
        ),
        # -- what is no cell of its --
        "a recurrence of one's own": Row(
            with_recurrence(Own(torch.ones(1)), (torch.zeros(3, 2),)), {}, (KINDS + "recurrence",)
        ),
        "one that is only called lstm": Row(
            with_recurrence(Doubled(*asked("lstm").recurrence.tensors())), {}, (KINDS + "lstm",)
        ),
        "a stack": Row(
            with_recurrence(Stack([asked("lstm").recurrence]), (asked("lstm").state,)), {}, (KINDS + "stack",)
        ),
        "conv_lstm": Row(_conv(), {}, (KINDS + "conv_lstm",)),
        # -- two directions --
        "both directions, of one's own": Row(
            both(with_recurrence(Own(torch.ones(1)), (torch.zeros(3, 2),))), {}, (KINDS + "recurrence",)
        ),
        "both directions, one with an activation of one's own": Row(
            both(asked("lstm"), _with("activation", torch.sin)), {}, (ACTIVATION.format("activation"),)
        ),
        "both directions, float64": Row(both(asked("gru", dtype=torch.float64)), {}, (FLOATS,)),
        "both directions, on a GPU": Row(both(asked("gru")), CUDA, ("runs on cpu, not on cuda",)),
        "both directions, a dropout mask of one that learns": Row(
            both(asked("lstm"), _learned(asked("lstm", dropout="shared", requires_grad=True), "dropout")),
            {},
            (LEARNED,),
        ),
        # -- all at once --
        "conv_lstm, all at once": Row(
            _conv(),
            {
                "device": "cuda",
                "dtype": torch.float16,
                "autocast": torch.float16,
                "transformed": True,
                "cudnn": True,
                "learned_masks": True,
            },
            ("runs on cpu, not on cuda", FLOATS, LOWER, LEARNED, KINDS + "conv_lstm", OPAQUE, NOT_CUDNN),
        ),
    },
    "aten": {
        # -- the guide's rules --
        "lstm, relu": Row(asked("lstm", activation="relu"), {}, ("takes activation tanh, not relu",)),
        "gru, relu, on a GPU": Row(asked("gru", activation="relu"), CUDA, ("takes activation tanh, not relu",)),
        "simple_rnn, linear": Row(
            asked("simple_rnn", activation="linear"), {}, ("takes activation tanh or relu, not linear",)
        ),
        "lstm, an activation of one's own": Row(
            with_recurrence(dataclasses.replace(asked("lstm").recurrence, activation=torch.sin)),
            {},
            ("takes activation tanh, not custom",),
        ),
        "lstm, hard_sigmoid": Row(
            asked("lstm", recurrent_activation="hard_sigmoid"),
            {},
            ("takes recurrent_activation sigmoid, not hard_sigmoid",),
        ),
        "lstm, recurrent_dropout": Row(asked("lstm", recurrent_dropout=True), {}, ("takes no recurrent_dropout",)),
        "simple_rnn, recurrent_dropout": Row(
            asked("simple_rnn", recurrent_dropout=True), {}, ("takes no recurrent_dropout",)
        ),
        "gru, the older one": Row(asked("gru_v1"), {}, ("takes reset_after=True only",)),
        "lstm, a dropout mask for each gate": Row(
            asked("lstm", dropout="gates"), {}, ("takes one dropout mask for all gates",)
        ),
        "gru, all at once": Row(
            asked("gru_v1", activation="relu", recurrent_activation="linear", dropout="gates", recurrent_dropout=True),
            {"dtype": torch.float16, "autocast": torch.bfloat16, "transformed": True, "cudnn": True},
            (
                "takes float32, float64, bfloat16 on cpu",
                "would keep the state in the lower precision of torch.autocast, not the products only",
                "takes activation tanh, not relu",
                "takes recurrent_activation sigmoid, not linear",
                "takes no recurrent_dropout",
                "takes one dropout mask for all gates",
                "takes reset_after=True only",
                OPAQUE,
                CUDNN_ON_CPU,
            ),
        ),
        # -- where, and in what --
        "lstm, float16": Row(asked("lstm"), {"dtype": torch.float16}, ("takes float32, float64, bfloat16 on cpu",)),
        "gru, bfloat16": Row(asked("gru", dtype=torch.bfloat16), {}, (ROUNDS,)),
        "simple_rnn, bfloat16": Row(asked("simple_rnn", dtype=torch.bfloat16), {}, (ROUNDS,)),
        "lstm, complex": Row(
            asked("lstm"), {**CUDA, "dtype": torch.complex64}, ("takes float32, float64, float16, bfloat16 on cuda",)
        ),
        "lstm, on meta": Row(asked("lstm"), {"device": "meta"}, ("runs on cpu or cuda, not on meta",)),
        "gru, on mps": Row(asked("gru"), {"device": "mps"}, ("runs on cpu or cuda, not on mps",)),
        "lstm, autocast": Row(
            asked("lstm"),
            {"autocast": torch.bfloat16},
            ("would keep the state in the lower precision of torch.autocast, not the products only",),
        ),
        "lstm, transformed": Row(asked("lstm"), {"transformed": True}, (OPAQUE,)),
        "lstm, transformed, on a GPU": Row(asked("lstm"), {**CUDA, "transformed": True}, (OPAQUE,)),
        "lstm, cuDNN on a CPU": Row(asked("lstm", cudnn=True), {}, (CUDNN_ON_CPU,)),
        "lstm, no cuDNN on a GPU": Row(
            asked("lstm", cudnn=False), CUDA, ("is cuDNN, which use_cudnn=False rules out",)
        ),
        # -- what is no cell of torch's --
        "a recurrence of one's own": Row(
            with_recurrence(Own(torch.ones(1)), (torch.zeros(3, 2),)), {}, (KINDS + "recurrence",)
        ),
        "one that is only called lstm": Row(
            with_recurrence(Doubled(*asked("lstm").recurrence.tensors())), {}, (KINDS + "lstm",)
        ),
        "a stack": Row(
            with_recurrence(Stack([asked("lstm").recurrence]), (asked("lstm").state,)), {}, (KINDS + "stack",)
        ),
        "conv_lstm": Row(_conv(), {}, (KINDS + "conv_lstm",)),
        # -- two directions --
        "both directions on a CPU": Row(both(asked("gru")), {}, (ONE_BY_ONE,)),
        "both directions, of two kinds": Row(both(asked("gru"), asked("simple_rnn")), CUDA, (SAME,)),
        "both directions, of two sizes": Row(both(asked("lstm"), asked("lstm", units=4)), CUDA, (SAME,)),
        "both directions, one without a bias": Row(both(asked("lstm"), asked("lstm", bias=False)), CUDA, (SAME,)),
        "both directions, one with relu": Row(
            both(asked("lstm"), asked("lstm", activation="relu")), CUDA, (SAME, "takes activation tanh, not relu")
        ),
        "both directions, dropout": Row(both(asked("lstm", dropout="shared")), CUDA, (MASKED,)),
        "both directions, dropout in one": Row(
            both(asked("lstm"), asked("lstm", dropout="shared")), CUDA, (SAME, MASKED)
        ),
        "both directions, transformed": Row(both(asked("lstm")), {**CUDA, "transformed": True}, (OPAQUE,)),
        "both directions of the older gru": Row(both(asked("gru_v1")), CUDA, ("takes reset_after=True only",)),
        "both directions, of one's own": Row(
            both(with_recurrence(Own(torch.ones(1)), (torch.zeros(3, 2),))), CUDA, (KINDS + "recurrence",)
        ),
    },
}
# Whether oneDNN knows bfloat16 depends on the processor.
if torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported():
    ACCEPTED["aten"]["lstm, bfloat16"] = Row(asked("lstm", dtype=torch.bfloat16), {})
else:
    REFUSED["aten"]["lstm, bfloat16"] = Row(asked("lstm", dtype=torch.bfloat16), {}, (ROUNDS,))
