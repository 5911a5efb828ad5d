"""What tests of engines ask for."""

import pytest
import torch

import ways


@pytest.fixture
def way(request, monkeypatch):
    """The way that `ways.in_each_way` chose, open; the test is skipped where it is closed."""
    request.param.needed()
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", request.param.onednn)
    return request.param


@pytest.fixture
def native():
    """The native engine; the test is skipped where there is no compiler, and so no library."""
    ways.needs_native()
    return ways.WAYS["native"]
