"""`Attention`: for each query, a mean of the values, weighted by how well their keys fit it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ostinato.core.layer import Layer
from ostinato.core.registry import builtin, nearest
from ostinato.core.shapes import is_shape
from ostinato.core.symbolic import infer
from ostinato.layers.masked import finite
from ostinato.random import DEFAULT, Stream, dropout_mask
from ostinato.recurrence.nests import Nest

SCORE_MODES = ("dot", "concat")


@builtin("layers")
class Attention(Layer):
    """Dot-product or additive attention.

    ::

        score[i, j] = scale * q[i] . k[j]                                   score_mode "dot" (Luong et al., 2015)
        score[i, j] = weight * sum(tanh(scale * (q[i] + k[j])))             "concat" (after Bahdanau et al., 2014)
        y[i] = sum over j of softmax(score[i])[j] * v[j]

    use_scale: whether there is a scale, a weight `()` that starts at 1. score_mode: as above; "concat" has a weight
    `()` too. dropout: share of the softmax to drop in training, in [0, 1]. seed: of what is dropped.

    Called with a list `[query, value]` or `[query, value, key]`: query `(batch, ..., queries, features)`, key `(batch,
    ..., steps, features)`, the value if not given, value `(batch, ..., steps, width)`. mask: a list `[query_mask,
    value_mask]` of `(batch, ..., queries)` and `(batch, ..., steps)`, True = use, either may be None; by default what
    hangs on the tensors. A masked value has no part in any output, and NaN in it reaches nothing; a query with no value
    to attend to, and a masked query, gives zeros. use_causal_mask: query i does not see values after step i.
    Returns `(batch, ..., queries, width)`, with the query's mask; with return_attention_scores a tuple of that and the
    softmax `(batch, ..., queries, steps)`, dropout included.
    Raises ValueError for inputs or masks that do not fit.

    >>> import torch, ostinato
    >>> query, value = torch.zeros(1, 2, 4), torch.tensor([[[1.0], [3.0], [8.0]]]).expand(1, 3, 4)
    >>> used = torch.tensor([[True, True, False]])
    >>> ostinato.layers.Attention()([query, value], mask=[None, used])[0, :, 0]
    tensor([2., 2.])
    """

    supports_masking = True
    _makes_mask = False

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if score_mode not in SCORE_MODES:
            hint = nearest(str(score_mode), SCORE_MODES)
            raise ValueError(
                f"Attention: invalid value for argument score_mode: expected one of {SCORE_MODES}, got "
                f"{score_mode!r}.{hint}"
            )
        if isinstance(dropout, bool) or not isinstance(dropout, (int, float, np.floating)) or not 0 <= dropout <= 1:
            raise ValueError(f"Attention: dropout must be in [0, 1], got {dropout!r}.")
        self.use_scale, self.score_mode, self.dropout, self.seed = use_scale, score_mode, float(dropout), seed
        self._stream = DEFAULT if seed is None else Stream(seed)

    def build(self, input_shape: Any) -> None:
        if is_shape(input_shape):
            raise ValueError(f"{self.described} must be called on a list, [query, value] or [query, value, key].")
        self._check_shapes(list(input_shape))
        self.scale: Tensor | None = None
        self.concat_score_weight: Tensor | None = None
        if self.use_scale:
            self.scale = self.add_weight(shape=(), initializer="ones", name="scale")
        if self.score_mode == "concat":
            self.concat_score_weight = self.add_weight(shape=(), initializer="ones", name="concat_score_weight")

    # -- calling ------------------------------------------------------------------------------------------------------

    def call(
        self,
        inputs: list[Tensor],
        mask: list[Tensor | None] | None = None,
        training: bool = False,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        query, value, key = self._three(inputs)
        self._check_shapes([query.shape, value.shape, key.shape])
        query_used, value_used = self._masks(query, value, mask)
        if query_used is not None:  # NaN times the zero gradient of an output that is not used would still be NaN
            query = finite(query, query_used.unsqueeze(-1))
        if value_used is not None:
            unused = ~value_used.unsqueeze(-1)
            shared = key is value
            value = value.masked_fill(unused, 0)
            key = value if shared else key.masked_fill(unused, 0)
        scores = self._scores(query, key)
        weights = _softmax(scores, _seen(scores, value_used, use_causal_mask))
        if training and self.dropout > 0:
            weights = self._drop(weights)
        output = weights @ value
        if query_used is not None:
            output = output.masked_fill(~query_used.unsqueeze(-1), 0)
        return (output, weights) if return_attention_scores else output

    def _scores(self, query: Tensor, key: Tensor) -> Tensor:
        """How well each key fits each query, `(batch, ..., queries, steps)`."""
        if self.concat_score_weight is None:
            scores = query @ key.transpose(-2, -1)
            return scores if self.scale is None else scores * self.scale
        both = query.unsqueeze(-2) + key.unsqueeze(-3)
        both = both if self.scale is None else self.scale * both
        return self.concat_score_weight * torch.tanh(both).sum(-1)

    def _drop(self, weights: Tensor) -> Tensor:
        if self.dropout == 1:
            return weights * 0
        return weights * dropout_mask(tuple(weights.shape), self.dropout, weights, self._stream)

    # -- what is asked of inputs --------------------------------------------------------------------------------------

    def _three(self, inputs: Any) -> list[Any]:
        """Query, value and key. Raises ValueError for anything but a list of two or three."""
        if not isinstance(inputs, (list, tuple)):
            raise ValueError(
                f"{self.described} must be called on a list, [query, value] or [query, value, key], got "
                f"{type(inputs).__name__}."
            )
        if len(inputs) not in (2, 3):
            raise ValueError(
                f"{self.described}: expected a list of length 2 or 3, [query, value] or [query, value, key], got "
                f"length {len(inputs)}."
            )
        query, value, *rest = inputs
        return [query, value, rest[0] if rest else value]

    def _check_shapes(self, shapes: list[Any]) -> None:
        """Raise ValueError unless these are the shapes of a query, a value and perhaps a key that go together."""
        query, value, key = (tuple(shape) for shape in self._three(shapes))
        fits = len(query) == len(value) == len(key) >= 3
        if not (
            fits
            and all(_alike(a, b) for a, b in zip(query[:-2], value[:-2], strict=True))
            and all(_alike(a, b) for a, b in zip(value[:-1], key[:-1], strict=True))
            and _alike(query[-1], key[-1])
        ):
            raise ValueError(
                f"{self.described}: expected query (batch, ..., queries, features), value (batch, ..., steps, width) "
                f"and key (batch, ..., steps, features), got query {query}, value {value}, key {key}."
            )

    def _masks(self, query: Tensor, value: Tensor, mask: Any) -> tuple[Tensor | None, Tensor | None]:
        """Which queries and which values are used."""
        first, second = self._two(mask)
        return self._flags("query", first, query), self._flags("value", second, value)

    def _two(self, mask: Any) -> tuple[Any, Any]:
        if mask is None:
            return None, None
        if not isinstance(mask, (list, tuple)):
            raise ValueError(
                f"{self.described}: the layer mask must be a list [query_mask, value_mask], got {type(mask).__name__}."
            )
        if len(mask) not in (2, 3):
            raise ValueError(
                f"{self.described}: expected a mask list of length 2 or 3, [query_mask, value_mask], got length "
                f"{len(mask)}."
            )
        return mask[0], mask[1]

    def _flags(self, what: str, mask: Any, tensor: Tensor) -> Tensor | None:
        if mask is None:
            return None
        flags = torch.as_tensor(mask, device=tensor.device)
        wanted = tuple(tensor.shape[:-1])
        if flags.dim() != len(wanted) or any(mine not in (1, n) for mine, n in zip(flags.shape, wanted, strict=True)):
            raise ValueError(f"{self.described}: {what}_mask must be {wanted}, got {tuple(flags.shape)}.")
        return flags if flags.dtype is torch.bool else flags != 0

    # -- what comes out -----------------------------------------------------------------------------------------------

    def compute_mask(self, inputs: Any, mask: Any = None) -> Nest:
        """That of the query."""
        self._three(inputs)
        query_mask = self._two(mask)[0]
        return None if query_mask is None else torch.as_tensor(query_mask)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`(batch, ..., queries, width)`."""
        query, value, _ = self._three(input_shape)
        return (*query[:-1], value[-1])

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Nest:
        if not self.built:
            self.build([tuple(leaf.shape) for leaf in self._three(args[0])])
        return infer(self, args, kwargs)

    def _differs_in_training(self) -> bool:
        return self.dropout > 0


def _alike(one: int | None, other: int | None) -> bool:
    """Whether two sizes may be the same; None is any."""
    return one is None or other is None or one == other


def _seen(scores: Tensor, value_used: Tensor | None, causal: bool) -> Tensor | None:
    """Which values each query may attend to, to be broadcast to the scores; None if all."""
    seen = None if value_used is None else value_used.unsqueeze(-2)
    if not causal:
        return seen
    before = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    return before if seen is None else seen & before


def _softmax(scores: Tensor, seen: Tensor | None) -> Tensor:
    """Along the last axis, over what is seen; zeros where nothing is."""
    if seen is None:
        return scores.softmax(-1)
    lowest = torch.finfo(scores.dtype).min  # not -inf, which gives NaN where nothing is seen
    return scores.masked_fill(~seen, lowest).softmax(-1).masked_fill(~seen, 0)
