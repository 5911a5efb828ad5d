"""Who watches a run: where a compiler or a tracer does, tensors have shapes, and their values are nobody's business."""

from __future__ import annotations

import torch


def traced() -> bool:
    """Whether torch.compile, torch.export or make_fx is tracing, or the tensors are fake.

    >>> traced()
    False
    """
    if torch.compiler.is_compiling():
        return True
    if not torch._C._len_torch_dispatch_stack():
        return False
    key = torch._C._TorchDispatchModeKey
    return any(torch._C._get_dispatch_mode(each) is not None for each in (key.PROXY, key.FAKE))


def values_hidden() -> bool:
    """Whether nobody may look at a tensor's values: `traced`, or under a `torch.func` transform.

    >>> torch.func.grad(lambda x: x * values_hidden())(torch.ones(()))
    tensor(1.)
    """
    return traced() or torch._C._are_functorch_transforms_active()
