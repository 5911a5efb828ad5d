"""A cell over sequences, one sample and one step at a time: what `RNN` must agree with, whatever the cell.

It calls the cell itself and knows nothing else of the library; nests it walks by itself too.
"""

import dataclasses

import torch


def leaves(nest):
    """The tensors of a nest, dicts by sorted keys."""
    if isinstance(nest, dict):
        return [leaf for key in sorted(nest) for leaf in leaves(nest[key])]
    if isinstance(nest, (list, tuple)) and not isinstance(nest, torch.Size):
        return [leaf for each in nest for leaf in leaves(each)]
    return [nest]


def rebuilt(nest, tensors):
    """Tensors, in the order of `leaves`, in the form of a nest."""
    rest = iter(tensors)

    def build(part):
        if isinstance(part, dict):
            made = {key: build(part[key]) for key in sorted(part)}
            return {key: made[key] for key in part}
        if isinstance(part, tuple) and hasattr(part, "_fields"):
            return type(part)(*[build(each) for each in part])
        if isinstance(part, (list, tuple)) and not isinstance(part, torch.Size):
            return type(part)([build(each) for each in part])
        return next(rest)

    return build(nest)


@dataclasses.dataclass
class Ran:
    """outputs: by leaf, `(batch, time, ...)` in processing order; last, states: by leaf, `(batch, ...)`."""

    outputs: list
    last: list
    states: list

    @property
    def final(self):
        """The last output and the states, as a layer returns them."""
        return self.last + self.states


def run(cell, inputs, start, mask=None, backwards=False, zero=False, **given):
    """Run from `start`, a nest as the cell takes it; mask `(batch, time)`, at least one step of it used."""
    sequences, begin = leaves(inputs), leaves(start)
    batch, time = sequences[0].shape[:2]
    rows = []
    for row in range(batch):
        state, held, seen = [leaf[row : row + 1] for leaf in begin], None, []
        for t in reversed(range(time)) if backwards else range(time):
            used = mask is None or bool(mask[row, t])
            if used:
                step = rebuilt(inputs, [leaf[row : row + 1, t] for leaf in sequences])
                output, new = cell(step, rebuilt(start, state), **given)
                state, held = leaves(new), leaves(output)
            seen.append(held if used or not zero else None)
        rows.append((seen, held, state))
    shown = next(held for _, held, _ in rows if held is not None)
    nothing = [torch.zeros_like(leaf) for leaf in shown]
    places = range(len(shown))
    return Ran(
        [torch.cat([torch.stack([(at or nothing)[i] for at in seen], 1) for seen, _, _ in rows]) for i in places],
        [torch.cat([(held or nothing)[i] for _, held, _ in rows]) for i in places],
        [torch.cat([state[i] for _, _, state in rows]) for i in range(len(begin))],
    )


def weighed(tensors):
    """A scalar that hangs on every element of the tensors in a way of its own."""
    total = 0
    for number, leaf in enumerate(tensors):
        weights = torch.linspace(-1 - number, 2, leaf.numel(), dtype=leaf.dtype).reshape(leaf.shape)
        total = total + (leaf * weights).sum()
    return total


def gradients(tensors, wanted):
    """Of `weighed(tensors)`, zeros where it does not hang on a wanted tensor."""
    found = torch.autograd.grad(weighed(tensors), wanted, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(leaf) if grad is None else grad for grad, leaf in zip(found, wanted, strict=True)]


def assert_alike(mine, right, tolerance=1e-11):
    """Two lists of tensors, or nests of them, agree leaf by leaf."""
    mine, right = leaves(mine), leaves(right)
    assert [tuple(leaf.shape) for leaf in mine] == [tuple(leaf.shape) for leaf in right]
    for a, b in zip(mine, right, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
