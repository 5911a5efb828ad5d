"""What a recurrent layer can be asked for, as a value that prints as the code that makes it, and how one is drawn."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import strategies as st

STATES = {"simple_rnn": 1, "gru": 1, "lstm": 2, "conv_lstm": 2, "own": 2}
ACTIVATIONS = ("tanh", "sigmoid", "relu", "hard_sigmoid", "linear", "softsign", "elu")


@dataclasses.dataclass(frozen=True)
class Cell:
    """kind: "simple_rnn", "gru", "lstm", "conv_lstm" or "own"; units: filters, where it convolves."""

    kind: str
    units: int = 2
    activation: str = "tanh"
    recurrent_activation: str = "sigmoid"
    use_bias: bool = True
    reset_after: bool = True
    unit_forget_bias: bool = True
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    kernel_size: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dilation_rate: tuple[int, ...] = ()
    padding: str = "valid"
    data_format: str = "channels_last"

    @property
    def weights(self) -> int:
        """How many it has."""
        return 3 if self.use_bias and self.kind != "own" else 2

    @property
    def outputs(self) -> int:
        """The size of its output."""
        return self.units + 1 if self.kind == "own" else self.units


@dataclasses.dataclass(frozen=True)
class Half:
    """One direction. form: "layer" (LSTM, ...), "cell" (RNN of one), "list" or "stacked" (RNN of several)."""

    cells: tuple[Cell, ...]
    form: str = "layer"
    go_backwards: bool = False
    unroll: bool = False
    zero_output_for_mask: bool = False
    use_cudnn: Any = "auto"
    implementation: int | None = None

    @property
    def states(self) -> int:
        """How many tensors its state is."""
        return sum(STATES[cell.kind] for cell in self.cells)


@dataclasses.dataclass(frozen=True)
class Case:
    """A layer, its options, and what it is called with.

    bidirectional: whether it is a Bidirectional of `half`; backward: its backward layer, if one is given. mask: flags
    for each row; route: how it gets to the layer: as a "tensor" or "array", of "ints", from "masking" or an
    "embedding", or as "lengths". states: None, "list", "tuple", "flat", or the "pair" of a Bidirectional; given_to:
    the calls that get them. garbage: what stands in masked steps. follow: whether a layer comes after this one, and
    must get its mask. way: "call", or "model" for a call on symbolic tensors. training: whether dropout is active.
    """

    half: Half
    bidirectional: bool = False
    backward: Half | None = None
    merge_mode: str | None = "concat"
    return_sequences: bool = False
    return_state: bool = False
    stateful: bool = False
    time_major: bool = False  # ours only: Keras gets the same the other way round
    batch: int = 2
    time: int = 3
    features: int = 2
    sizes: tuple[int, ...] = ()
    mask: tuple[tuple[bool, ...], ...] | None = None
    route: str = "tensor"
    states: str | None = None
    given_to: tuple[int, ...] = (0,)
    garbage: float | None = None
    follow: bool = False
    way: str = "call"
    training: bool = False
    seed: int = 0

    @property
    def halves(self) -> tuple[Half, ...]:
        """One, or forward and backward."""
        if not self.bidirectional:
            return (self.half,)
        return self.half, self.backward or dataclasses.replace(self.half, go_backwards=not self.half.go_backwards)

    @property
    def calls(self) -> int:
        """How many calls are made: of a stateful layer three, the last after a reset."""
        return 3 if self.stateful else 1

    def mask_of(self, call: int) -> tuple[tuple[bool, ...], ...] | None:
        """The mask of a call: the second one's rows are those of the first from the last to the first."""
        return self.mask[::-1] if self.mask is not None and call == 1 else self.mask

    @property
    def step_shape(self) -> tuple[int, ...]:
        """The shape of what a sample is at a step."""
        cell = self.half.cells[0]
        if cell.data_format == "channels_first":
            return (self.features, *self.sizes)
        return (*self.sizes, self.features)


# -- drawn ------------------------------------------------------------------------------------------------------------

flags = st.booleans()
seldom = st.sampled_from([False, False, False, True])
rates = st.sampled_from([0.0, 0.0, 0.0, 0.3])


@st.composite
def cells(draw: Any, units: int | None = None, kinds: tuple[str, ...] = ("simple_rnn", "gru", "lstm")) -> Cell:
    """A cell that goes into an RNN, or is the inside of a layer."""
    return Cell(
        kind=draw(st.sampled_from(kinds)),
        units=units or draw(st.sampled_from([1, 2, 3, 5])),
        activation=draw(st.just("tanh") | st.sampled_from(ACTIVATIONS)),
        recurrent_activation=draw(st.just("sigmoid") | st.sampled_from(["sigmoid", "hard_sigmoid", "tanh"])),
        use_bias=not draw(seldom),
        reset_after=draw(flags),
        unit_forget_bias=draw(flags),
        dropout=draw(rates),
        recurrent_dropout=draw(rates),
    )


@st.composite
def conv_cells(draw: Any, rank: int, sizes: tuple[int, ...]) -> Cell:
    """A ConvLSTM's cell over images of these sizes."""
    padding = draw(st.sampled_from(["valid", "same"]))
    kernel = tuple(draw(st.integers(1, 3 if rank < 3 else 2)) for _ in range(rank))
    step = draw(st.sampled_from(["plain", "strides", "dilation"]))
    two = tuple(draw(st.integers(1, 2)) for _ in range(rank))
    ones = (1,) * rank
    dilation = two if step == "dilation" else ones
    if padding == "valid":  # the window must fit
        kernel = tuple(min(k, (n - 1) // d + 1) for k, n, d in zip(kernel, sizes, dilation, strict=True))
    return dataclasses.replace(
        draw(cells(units=draw(st.integers(1, 2)))),
        kind="conv_lstm",
        kernel_size=kernel,
        strides=two if step == "strides" else ones,
        dilation_rate=dilation,
        padding=padding,
        data_format=draw(st.sampled_from(["channels_last", "channels_first"])),
    )


@st.composite
def halves(draw: Any, outputs: int | None = None, go_backwards: bool | None = None) -> Half:
    """A layer, or an RNN of any cells; outputs: the size of its output, if that must be a certain one."""
    form = draw(st.sampled_from(["layer", "layer", "layer", "cell", "list", "stacked"]))
    kinds = ("simple_rnn", "gru", "lstm") if form == "layer" or outputs == 1 else ("simple_rnn", "gru", "lstm", "own")
    inner = tuple(draw(st.lists(cells(kinds=kinds), max_size=2))) if form in ("list", "stacked") else ()
    top = draw(cells(kinds=kinds, units=outputs))
    if outputs and top.kind == "own":
        top = dataclasses.replace(top, units=outputs - 1)
    return Half(
        cells=(*inner, top),
        form=form,
        go_backwards=draw(flags) if go_backwards is None else go_backwards,
        unroll=draw(seldom),
        zero_output_for_mask=draw(seldom),
        use_cudnn=draw(st.sampled_from(["auto", False])) if form == "layer" else "auto",
        implementation=draw(st.sampled_from([None, 1, 2])) if form == "layer" else None,
    )


@st.composite
def masks(draw: Any, batch: int, time: int) -> tuple[tuple[bool, ...], ...] | None:
    """No mask, or one of a kind: all steps, right or left padding, gaps, some row without any step."""
    kind = draw(st.sampled_from(["none", "gaps", "right", "left", "all", "none", "a row without steps"]))
    if kind == "none":
        return None
    if kind in ("right", "left"):
        used = [draw(st.integers(0, time)) for _ in range(batch)]
        rows = [[t < count for t in range(time)] for count in used]
        return tuple(tuple(row if kind == "right" else row[::-1]) for row in rows)
    rows = [[True] * time if kind == "all" else [draw(flags) for _ in range(time)] for _ in range(batch)]
    if kind == "a row without steps":
        rows[draw(st.integers(0, batch - 1))] = [False] * time
    return tuple(map(tuple, rows))


def is_right_padding(mask: Any) -> bool:
    """Whether in each row the used steps come first."""
    return all(list(row) == sorted(row, reverse=True) for row in mask)


@st.composite
def cases(draw: Any, conv: bool = False, training: bool = False) -> Case:
    """Any layer with any options, on any input. conv: a ConvLSTM. training: with dropout active, if it has any."""
    batch, time = draw(st.integers(1, 3 if conv else 5)), draw(st.integers(1, 4 if conv else 7))
    sizes: tuple[int, ...] = ()
    if conv:
        rank = draw(st.integers(1, 3))
        sizes = tuple(draw(st.integers(2, 5 if rank < 3 else 3)) for _ in range(rank))
        half = Half(
            (draw(conv_cells(rank, sizes)),),
            go_backwards=draw(flags),
            unroll=draw(seldom),
            zero_output_for_mask=draw(seldom),
        )
    else:
        half = draw(halves())
    bidirectional = draw(seldom if conv else flags)
    merge_mode = draw(st.sampled_from(["concat", "sum", "ave", "mul", None])) if bidirectional else "concat"
    backward = None
    if bidirectional and not conv and draw(seldom):
        outputs = None if merge_mode in ("concat", None) else half.cells[-1].outputs
        backward = draw(halves(outputs=outputs, go_backwards=not half.go_backwards))
    mask = draw(masks(batch, time))
    route = "tensor"
    if mask is not None:
        routes = ["tensor", "tensor", "array", "ints"] + ([] if conv else ["masking", "embedding"])
        if is_right_padding(mask):
            routes += ["lengths", "lengths"]
        route = draw(st.sampled_from(routes))
    garbage = None
    if mask is not None and route not in ("masking", "embedding"):
        garbage = draw(st.sampled_from([None, None, None, float("nan"), float("inf"), 1e38]))
    stateful = draw(seldom)
    states = draw(st.sampled_from([None, "list", "tuple", "flat"] + ["pair"] * bidirectional))
    sequences = draw(flags)
    way = draw(st.sampled_from(["call", "call", "call", "model"]))
    if stateful or route in ("array", "ints") or states not in (None, "list") or garbage:
        way = "call"
    return Case(
        half=half,
        bidirectional=bidirectional,
        backward=backward,
        merge_mode=merge_mode,
        return_sequences=sequences,
        return_state=draw(flags),
        stateful=stateful,
        time_major=way == "call" and draw(seldom),
        batch=batch,
        time=time,
        features=draw(st.integers(1, 2)) if conv else draw(st.sampled_from([1, 2, 3, 5])),
        sizes=sizes,
        mask=mask,
        route=route,
        states=states,
        given_to=draw(st.sampled_from([(0,), (1,), (0, 1)])) if stateful else (0,),
        garbage=garbage,
        follow=sequences and merge_mode is not None and not conv and not stateful and draw(flags),
        way=way,
        training=training,
        seed=draw(st.integers(0, 2**16)),
    )
