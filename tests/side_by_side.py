"""A layer of ours and a real Keras one, on the torch backend, from equal weights: values and gradients side by side.

In float32: Keras on torch multiplies float64 in float32, so that float64 would only look sharper.
"""

import numpy as np
import torch

from ostinato.recurrence.nests import flatten


def tensor(*shape, dtype=torch.float32, seed=0):
    """Normal values, the same for the same seed."""
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def give_weights(ours, theirs, scale=0.5):
    """Put the same random weights into both, biases included, which would be zeros else."""
    shapes = [weight.shape for weight in theirs.get_weights()]
    assert [weight.shape for weight in ours.get_weights()] == shapes
    rng = np.random.default_rng(7)
    values = [scale * rng.standard_normal(shape) for shape in shapes]
    ours.set_weights(values)
    theirs.set_weights(values)


def run(layer, weights, inputs, states=(), **kwargs):
    """The outputs of a call, and the gradients of a weighted sum of them by weights, floating inputs and states."""
    fresh = [leaf.detach().clone().requires_grad_(leaf.is_floating_point()) for leaf in flatten(inputs)]
    starts = [leaf.detach().clone().requires_grad_() for leaf in states]
    if starts:
        kwargs["initial_state"] = starts
    outputs = flatten(layer(fresh[0] if len(fresh) == 1 else fresh, **kwargs))
    loss = sum((out * tensor(*out.shape, dtype=out.dtype, seed=i)).sum() for i, out in enumerate(outputs))
    wanted = [leaf for leaf in (*weights, *fresh, *starts) if leaf.requires_grad]
    grads = torch.autograd.grad(loss, wanted, allow_unused=True)
    grads = [torch.zeros_like(leaf) if grad is None else grad for grad, leaf in zip(grads, wanted, strict=True)]
    return [out.detach() for out in outputs], grads


def values_of(theirs):
    """The torch parameters of a Keras layer."""
    return [variable.value for variable in theirs.trainable_weights]


def assert_same(ours, theirs, inputs, states=(), tolerance=3e-6, **kwargs):
    """Outputs and gradients of both layers agree."""
    mine = run(ours, ours.trainable_weights, inputs, states, **kwargs)
    right = run(theirs, values_of(theirs), inputs, states, **kwargs)
    for what, got, expected in (("output", mine[0], right[0]), ("gradient", mine[1], right[1])):
        assert len(got) == len(expected)
        for position, (a, b) in enumerate(zip(got, expected, strict=True)):
            assert a.shape == b.shape and a.dtype == b.dtype, f"{what} {position}"
            torch.testing.assert_close(
                a, b, rtol=tolerance, atol=tolerance, msg=lambda m, w=what, p=position: f"{w} {p}: {m}"
            )
    return mine


MASKS = {
    "none": None,
    "all used": [[1, 1, 1, 1, 1]] * 3,
    "right padding": [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]],
    "left padding": [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1]],
    "gaps": [[1, 0, 1, 0, 1], [0, 1, 1, 0, 0], [1, 1, 0, 1, 1]],
    "a row without steps": [[1, 1, 1, 1, 0], [0, 0, 0, 0, 0], [0, 1, 0, 1, 0]],
}
"""Masks `(3, 5)`, by what is special about them."""


def mask_of(name):
    return None if MASKS[name] is None else torch.tensor(MASKS[name], dtype=torch.bool)
