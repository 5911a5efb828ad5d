"""Means of distances between distributions: crossentropies, and what is like them."""

from __future__ import annotations

from typing import Any

from ostinato.core import registry
from ostinato.training import losses
from ostinato.training.metrics.reduction import FunctionMetric


@registry.builtin("metrics", "kl_divergence")
class KLDivergence(FunctionMetric):
    """The mean of `ostinato.losses.kl_divergence` over all samples.

    Args:
        name, dtype: as for `Metric`.

    Source:
        Keras, `metrics/probabilistic_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.KLDivergence()
        >>> metric.update_state([[0.5, 0.5]], [[0.25, 0.75]])
        >>> metric.result()
        tensor(0.1438)
    """

    higher_is_better = False

    def __init__(self, name: str = "kl_divergence", dtype: Any = None) -> None:
        super().__init__(losses.kl_divergence, name, dtype)


@registry.builtin("metrics", "poisson")
class Poisson(FunctionMetric):
    """The mean of `ostinato.losses.poisson` over all samples.

    Args:
        name, dtype: as for `Metric`.

    Source:
        Keras, `metrics/probabilistic_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.Poisson()
        >>> metric.update_state([[1.0], [0.0]], [[1.0], [1.0]])
        >>> metric.result()
        tensor(1.0000)
    """

    higher_is_better = False

    def __init__(self, name: str = "poisson", dtype: Any = None) -> None:
        super().__init__(losses.poisson, name, dtype)


@registry.builtin("metrics", "binary_crossentropy", "bce", "BCE")
class BinaryCrossentropy(FunctionMetric):
    """The mean of `ostinato.losses.binary_crossentropy` over all samples.

    Args:
        name, dtype: as for `Metric`.
        from_logits, label_smoothing: as for the function.

    Source:
        Keras, `metrics/probabilistic_metrics.py`.

    Example:
        >>> import ostinato
        >>> metric = ostinato.metrics.BinaryCrossentropy(from_logits=True)
        >>> metric.update_state([[0], [1]], [[0.0], [0.0]])
        >>> metric.result()
        tensor(0.6931)
    """

    higher_is_better = False

    def __init__(
        self,
        name: str = "binary_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing}
        super().__init__(losses.binary_crossentropy, name, dtype, **options)


@registry.builtin("metrics", "categorical_crossentropy")
class CategoricalCrossentropy(FunctionMetric):
    """The mean of `ostinato.losses.categorical_crossentropy` over all samples.

    Args:
        name, dtype: as for `Metric`.
        from_logits, label_smoothing, axis: as for the function.

    Source:
        Keras, `metrics/probabilistic_metrics.py`.

    Example:
        >>> import ostinato, torch
        >>> metric = ostinato.metrics.CategoricalCrossentropy(from_logits=True)
        >>> metric.update_state(torch.eye(2), torch.zeros(2, 2))
        >>> metric.result()
        tensor(0.6931)
    """

    higher_is_better = False

    def __init__(
        self,
        name: str = "categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
    ) -> None:
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        super().__init__(losses.categorical_crossentropy, name, dtype, **options)


@registry.builtin("metrics", "sparse_categorical_crossentropy")
class SparseCategoricalCrossentropy(FunctionMetric):
    """The mean of `ostinato.losses.sparse_categorical_crossentropy` over all samples.

    Args:
        name, dtype: as for `Metric`.
        from_logits, axis: as for the function.
        ignore_class: a label that does not count.

    Source:
        Keras, `metrics/probabilistic_metrics.py`. There labels that are ignored count as zeros.

    Example:
        >>> import ostinato, torch
        >>> metric = ostinato.metrics.SparseCategoricalCrossentropy(from_logits=True)
        >>> metric.update_state([0, 1], torch.zeros(2, 2))
        >>> metric.result()
        tensor(0.6931)
    """

    higher_is_better = False

    def __init__(
        self,
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ) -> None:
        options = {"from_logits": from_logits, "ignore_class": ignore_class, "axis": axis}
        super().__init__(losses.sparse_categorical_crossentropy, name, dtype, **options)
        self._loss = losses.SparseCategoricalCrossentropy(from_logits, ignore_class, axis=axis, name=self.name)
