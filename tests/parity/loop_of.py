"""What the per-sample loop says of a case."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from parity import per_sample
from parity.case_data import FOLLOWING, Call, data_of, state_shapes
from parity.layers_of import Result, gradients_of
from parity.recurrent_cases import STATES, Case, Half


def loop_results(case: Case, dropouts: Any = None) -> list[Result]:
    """What the per-sample loop says: values from NumPy, gradients from autograd over the same lines.

    dropouts: of each call, for each cell of all halves, its dropout masks `(gates, batch, ...)`, or None.
    """
    data = data_of(case)
    carried: Any = None
    found = []
    for number, call in enumerate(data.calls):
        masks = dropouts[number] if dropouts else None
        if number == 2:
            carried = None
        values, finals = _loop(np, case, data.weights, call.source, call, call.states or carried, masks)
        wanted = {f"weight {i}": torch.tensor(w, requires_grad=True) for i, w in enumerate(data.weights)}
        weights = list(wanted.values())
        wanted["source"] = source = torch.tensor(call.source, requires_grad=True)
        states = [torch.tensor(state, requires_grad=True) for state in call.states]
        wanted |= {f"state {i}": state for i, state in enumerate(states)}
        start = states or (carried and [torch.tensor(state) for state in carried])
        outputs, _ = _loop(torch, case, weights, source, call, start, masks)
        for one, other in zip(outputs, values, strict=True):
            np.testing.assert_allclose(one.detach().numpy(), other, rtol=1e-11, atol=1e-12)
        carried = finals if case.stateful else None
        found.append(Result(values, gradients_of(outputs, wanted), carried))
    return found


def _loop(
    xp: Any, case: Case, weights: list[Any], source: Any, call: Call, start: Any, dropouts: list[Any] | None
) -> tuple[list[Any], list[Any]]:
    """(outputs and states as the layer returns them, the final states) of one call."""
    x = source if call.tokens is None else source[call.tokens]
    given = iter(weights)
    masks = iter(dropouts or [])
    rest = iter(start or [])
    ran = []
    for half in case.halves:
        own, begin = [], []
        for cell in half.cells:
            pair = [xp.asarray(each) if each is not None else None for each in next(masks, (None, None))]
            kernel, recurrent, *bias = [next(given) for _ in range(cell.weights)]
            own.append(per_sample.Weights(kernel, recurrent, bias[0] if bias else None, *pair))
            begin.append([next(rest) for _ in range(STATES[cell.kind])] if start else None)
        begin = begin if start else zeros(xp, case, half)
        zero = half.zero_output_for_mask or case.bidirectional
        ran.append(per_sample.run(xp, half.cells, own, x, call.mask, begin, half.go_backwards, zero))
    sequences = case.return_sequences
    outputs = [each.outputs if sequences else each.last for each in ran]
    if case.bidirectional:
        backward = xp.flip(outputs[1], (1,)) if sequences else outputs[1]
        outputs = per_sample.merge(xp, case.merge_mode, outputs[0], backward)
    if case.follow:
        outputs = [_follow(xp, case, list(given), outputs[0], call.mask)]
    finals = [state for each in ran for state in each.states]
    return outputs + (finals if case.return_state else []), finals


def _follow(xp: Any, case: Case, weights: list[Any], sequence: Any, mask: Any) -> Any:
    """The layer after: it gets the mask in the order of the sequence."""
    mask = mask[:, ::-1] if mask is not None and case.half.go_backwards else mask
    own = per_sample.Weights(*weights)
    begin = [[xp.zeros((case.batch, FOLLOWING.units), dtype=xp.float64)]]
    return per_sample.run(xp, (FOLLOWING,), [own], sequence, mask, begin).outputs


def zeros(xp: Any, case: Case, half: Half) -> list[list[Any]]:
    """The states before any step."""
    shapes = iter(state_shapes(case)[0 if half is case.half else case.half.states :])
    start = []
    for cell in half.cells:
        states = [xp.zeros((case.batch, *next(shapes)), dtype=xp.float64) for _ in range(STATES[cell.kind])]
        if cell.kind == "own":
            states[0] = states[0] + 0.25
        start.append(states)
    return start
