"""Datasets as NumPy arrays: `digits` is embedded in the package, `mnist` is downloaded once and checked."""

from ostinato.datasets import digits, mnist

__all__ = ["digits", "mnist"]
