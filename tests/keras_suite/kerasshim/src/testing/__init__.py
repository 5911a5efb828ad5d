import torch

from kerasshim.src.testing import checks as test_case

TestCase = test_case.TestCase


def uses_gpu():
    return torch.cuda.is_available()


def _never():
    return False


torch_uses_gpu = uses_gpu
uses_tpu = tensorflow_uses_gpu = tensorflow_uses_tpu = jax_uses_gpu = jax_uses_tpu = _never
