"""What all tests share: the real Keras on torch as an oracle, and seeds."""

import gc
import os

os.environ["KERAS_BACKEND"] = "torch"  # before anything imports keras

import pytest
import torch

import ostinato
from ostinato.core.symbolic import WATCHED

torch.set_num_threads(1)  # what is tested is small; two threads wait for each other where the cores are busy


@pytest.fixture(autouse=True)
def _seeded():
    """Each test begins with the same seed, and leaves no seed behind, nor the hooks of a model it began to draw."""
    ostinato.utils.set_random_seed(1234)
    yield
    ostinato.random.DEFAULT.seed, ostinato.random.DEFAULT.counter = None, 0
    if WATCHED:
        gc.collect()


def pytest_collection_modifyitems(items):
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU"))
