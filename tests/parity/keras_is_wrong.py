"""Where Keras 3.15 on torch is wrong about recurrent layers: which cases, in what, and why we say so.

A row names the cases it is about; no more than that is left out of the comparison with Keras, and the loop has them
all. `test_recurrent_layers.py` shows for each row that Keras still is wrong: one that Keras has mended fails there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from parity.recurrent_cases import STATES, Case, Cell, Half

EVERYTHING, GRADIENTS, AFTER_RESET = "everything", "gradients", "after a reset"


@dataclasses.dataclass(frozen=True)
class Row:
    """what: EVERYTHING, GRADIENTS only, or the call AFTER_RESET; example: a case that shows it.

    error: the exception that Keras raises for the example, and a part of what it says; None where it gives wrong
    numbers.
    """

    reason: str
    applies: Callable[[Case], bool]
    what: str
    example: Case
    error: tuple[type[Exception], str] | None = None


def _masked(case: Case) -> bool:
    """Whether there is a step that is masked."""
    return case.mask is not None and not all(map(all, case.mask))


def _lost(case: Case) -> bool:
    """Whether Keras does not see the mask of a call that is given states."""
    return case.route in ("masking", "embedding") and case.states is not None


def _seen(case: Case) -> bool:
    """Whether Keras sees the mask of some call."""
    return case.mask is not None and (case.stateful or not _lost(case))


def _held_at_the_end(case: Case) -> bool:
    """Whether some row's last step is masked after others that are not."""
    last = 0 if case.half.go_backwards else -1
    return case.mask is not None and any(any(row) and not row[last] for row in case.mask)


def _stacked(half: Half) -> bool:
    return half.form in ("list", "stacked")


def _loses_track_of_states(half: Half, case: Case) -> bool:
    alone = _stacked(half) and len(half.cells) == 1 and STATES[half.cells[0].kind] > 1
    return alone and case.time > 1 and (half.unroll or _seen(case))


def _cut_elsewhere(case: Case) -> bool:
    """Whether the first half's states are not the first half of all states."""
    entries = [len(half.cells) if _stacked(half) else half.states for half in case.halves]
    return len(entries) == 2 and entries[0] != sum(entries) // 2


def _without_copies(case: Case, half: Half) -> bool:
    """Whether Keras runs its own fast loop: the general one copies the states before each step."""
    (cell, *more), given = half.cells, case.half.form == "layer" and case.half.cells[0].kind in ("lstm", "gru")
    asked = (case.half if given else half).use_cudnn == "auto"  # the first layer's is set on both
    known = cell.kind == "lstm" or (cell.kind == "gru" and cell.reset_after)
    return half.form == "layer" and known and not more and asked and not cell.recurrent_dropout and case.mask is None


def _out_of_order(mask: Any) -> bool:
    return any(row != row[::-1] for row in mask)


LSTM, GRU = Half((Cell("lstm"),)), Half((Cell("gru"),))
BACKWARDS = Half((Cell("gru"),), go_backwards=True)
GAPS = ((True, False, True), (False, True, False))
PADDED = ((True, False, False), (True, True, True))

ROWS: dict[str, Row] = {
    "backwards inside": Row(
        "A Bidirectional of a layer with go_backwards=True is refused: the copy's go_backwards is set, not flipped, as "
        "it was in Keras 2.",
        lambda case: case.bidirectional and case.backward is None and case.half.go_backwards,
        EVERYTHING,
        Case(BACKWARDS, bidirectional=True),
        (ValueError, "different `go_backwards` value"),
    ),
    "unrolled backwards under a mask": Row(
        "torch.flip is called on a tuple: unroll with go_backwards and a mask crashes.",
        lambda case: _seen(case) and any(half.unroll and half.go_backwards for half in case.halves),
        EVERYTHING,
        Case(dataclasses.replace(BACKWARDS, unroll=True), mask=GAPS),
        (AttributeError, "no attribute 'shape'"),
    ),
    "a stack of one cell": Row(
        "StackedRNNCells takes the one cell's states out of their list. Unrolled or under a mask no one puts them "
        "back, and the next step finds only the first of them.",
        lambda case: any(_loses_track_of_states(half, case) for half in case.halves),
        EVERYTHING,
        Case(Half((Cell("lstm"),), form="list"), mask=GAPS),
        (IndexError, "out of range"),
    ),
    "an implicit mask beside states": Row(
        "A mask that hangs on the input is looked at only where the input is the sole tensor of the call: with "
        "initial_state it is lost, silently.",
        lambda case: _masked(case) and _lost(case),
        EVERYTHING,
        Case(GRU, mask=GAPS, route="masking", states="list"),
    ),
    "zero_output_for_mask and the last output": Row(
        "The option is documented for the masked steps of a sequence; the last output is zeroed as well.",
        lambda case: (
            not case.return_sequences
            and not case.bidirectional
            and case.half.zero_output_for_mask
            and _held_at_the_end(case)
        ),
        EVERYTHING,
        Case(dataclasses.replace(GRU, zero_output_for_mask=True), mask=PADDED),
    ),
    "what stands in masked steps": Row(
        "Masked steps are run and their results not chosen: NaN, or what overflows, times a gradient of zero is NaN.",
        lambda case: _masked(case) and case.garbage is not None,
        GRADIENTS,
        Case(GRU, mask=PADDED, garbage=float("nan")),
    ),
    "the mask after a backwards layer": Row(
        "The output is in reversed order, the mask that goes with it is not.",
        lambda case: case.follow and _masked(case) and case.half.go_backwards and _out_of_order(case.mask),
        EVERYTHING,
        Case(BACKWARDS, return_sequences=True, mask=PADDED, follow=True),
    ),
    "states of unlike halves": Row(
        "A Bidirectional cuts initial_state in the middle, whatever each half needs.",
        lambda case: case.states is not None and _cut_elsewhere(case),
        EVERYTHING,
        Case(LSTM, bidirectional=True, backward=BACKWARDS, states="list"),
        (IndexError, "out of range"),
    ),
    "unlike halves in a model": Row(
        "compute_output_shape takes the backward half's output and states to be like the forward half's, so that the "
        "symbolic outputs are not as many as the real ones.",
        lambda case: case.way == "model" and case.return_state and len({half.states for half in case.halves}) > 1,
        EVERYTHING,
        Case(LSTM, bidirectional=True, backward=BACKWARDS, return_state=True, way="model"),
        (ValueError, "is not connected"),
    ),
    "the mask of a stateful Bidirectional": Row(
        "compute_mask, which is called whether there is a mask or not, multiplies a generator where states are "
        "returned.",
        lambda case: case.bidirectional and case.stateful and case.return_state,
        EVERYTHING,
        Case(Half((Cell("simple_rnn"),)), bidirectional=True, stateful=True, return_state=True),
        (TypeError, "'generator' and 'int'"),
    ),
    "gradients of a stateful layer": Row(
        "Its states are written in place, while autograd still needs what was in them.",
        lambda case: case.stateful and any(_without_copies(case, half) for half in case.halves),
        GRADIENTS,
        Case(LSTM, stateful=True),
        (RuntimeError, "modified by an inplace operation"),
    ),
    "reset_states of a stack": Row(
        "The states of stacked cells are lists of their own, which have no assign().",
        lambda case: case.stateful and any(_stacked(half) for half in case.halves),
        AFTER_RESET,
        Case(Half((Cell("gru"), Cell("gru")), form="list"), stateful=True),
        (AttributeError, "no attribute 'assign'"),
    ),
    "reset_states of a cell that does not begin with zeros": Row(
        "The states are set to zeros, not to what the cell's get_initial_state says.",
        lambda case: case.stateful and any(cell.kind == "own" for half in case.halves for cell in half.cells),
        AFTER_RESET,
        Case(Half((Cell("own"),), form="cell"), stateful=True),
    ),
}
"""By name. Everything else that a case can ask for, Keras does right."""


def rows_of(case: Case) -> list[Row]:
    """Those that are about a case."""
    return [row for row in ROWS.values() if row.applies(case)]


def agreement(case: Case) -> tuple[int, bool]:
    """How many of the calls can be compared with Keras, and whether gradients can."""
    found = {row.what for row in rows_of(case)}
    if EVERYTHING in found:
        return 0, False
    return min(case.calls, 2) if AFTER_RESET in found else case.calls, GRADIENTS not in found
