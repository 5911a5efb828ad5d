"""How masks travel: explicitly inside models, as attributes of tensors between eager calls of one's own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.recurrence.nests import Nest, flatten, is_nested, map_nest, pack_like

_ATTRIBUTE = "_keras_mask"


def mask_of(inputs: Nest) -> Nest:
    """The masks that hang on the tensors of a nest, in its structure; None if there is none at all."""
    if not is_nested(inputs):
        return getattr(inputs, _ATTRIBUTE, None)
    masks = map_nest(lambda leaf: getattr(leaf, _ATTRIBUTE, None), inputs)
    return masks if any(mask is not None for mask in flatten(masks)) else None


def attach(outputs: Nest, mask: Nest) -> None:
    """Hang a mask on each tensor of a nest, for the next eager call to find."""
    if mask is None:
        return
    leaves = flatten(outputs)
    for leaf, each in zip(leaves, spread(mask, len(leaves)), strict=True):
        if each is not None and isinstance(leaf, Tensor) and leaf is not each:
            leaf._keras_mask = each  # type: ignore[attr-defined]


def carrying(inputs: Nest, mask: Nest) -> Nest:
    """The inputs with their masks hung on, for layers that are called inside a `call` of one's own.

    Views of them, where nothing hangs yet: what was given stays as it is.
    """
    leaves = flatten(inputs)
    carried = []
    for leaf, each in zip(leaves, spread(mask, len(leaves)), strict=True):
        if each is not None and isinstance(leaf, Tensor) and getattr(leaf, _ATTRIBUTE, None) is not each:
            leaf = leaf.view_as(leaf)
            leaf._keras_mask = each  # type: ignore[attr-defined]
        carried.append(leaf)
    return pack_like(inputs, carried)


def spread(mask: Nest, count: int) -> list[Tensor | None]:
    """A mask for each of `count` output tensors; one that stands alone is the first output's."""
    masks = flatten(mask)
    return masks if len(masks) == count else [masks[0]] + [None] * (count - 1)


def first_mask(mask: Nest) -> Tensor | None:
    """The one mask of a nest that counts: the first that is there."""
    if mask is None or not is_nested(mask):
        return mask
    return next((each for each in flatten(mask) if each is not None), None)


def unwrapped(module: Any) -> Any:
    """The module inside what torch.compile or DistributedDataParallel put around it."""
    while True:
        inside = getattr(module, "_modules", ())
        if "_orig_mod" in inside:  # torch._dynamo's OptimizedModule, without importing it
            module = module._orig_mod
        elif "module" in inside and isinstance(module, torch.nn.parallel.DistributedDataParallel):
            module = module.module
        else:
            return module
