"""The native engine and its threads, for tests of what it promises beyond other engines."""

import pytest
import torch

from ways import WAYS, needs_native


@pytest.fixture(params=["native", "native, bfloat16"])
def native(request):
    """The native engine, in each of its dtypes."""
    needs_native()
    return WAYS[request.param]


@pytest.fixture
def in_float32():
    """The native engine, in float32."""
    needs_native()
    return WAYS["native"]


@pytest.fixture
def threads_of_torch():
    """Sets the number of torch's threads, for a test."""
    yield torch.set_num_threads
    torch.set_num_threads(1)
