"""`TimeDistributed`: a layer applied to each step of a sequence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.core.graph import call_masked
from ostinato.core.layer import Layer
from ostinato.core.masks import first_mask, spread, unwrapped
from ostinato.core.registry import builtin, is_builtin
from ostinato.core.shapes import is_shape, normalise
from ostinato.core.symbolic import SymbolicTensor, TensorSpec, infer
from ostinato.layers import streams
from ostinato.layers.masked import finite
from ostinato.layers.torch_module import TorchModule
from ostinato.layers.wrapper import Wrapper
from ostinato.recurrence.nests import Nest, describe, flatten, map_nest, pack_like


@builtin("layers")
class TimeDistributed(Wrapper):
    """Applies a layer to each step of its input, with the same weights: `y[:, t] = layer(x[:, t])`.

    layer: any layer or torch module; it gets the input of one step, `(batch, ...)`.

    Called with `(batch, time, ...)`, or a nest of such tensors with the same batch and time; returns the layer's output
    with the time as its second axis. mask: `(batch, time)`, or `(batch, time, ...)` where a step has a mask of its own,
    True = use. The layer is handed each step's slice of it, if it can do something with one; what stands in a masked
    step reaches no gradient unless it is finite and the loss asks for it. Around a layer or module of one's own that
    takes no mask, a masked step shows the output of the step before, zeros before the first (Keras 2).
    Built-in layers whose rows do not see each other take all steps at once, as one batch of `batch * time` rows; any
    other is called step by step.
    Raises ValueError for inputs of fewer than three dimensions, and for a mask that does not fit.

    >>> import torch, ostinato
    >>> frames = torch.zeros(2, 10, 28, 28, 1)
    >>> ostinato.layers.TimeDistributed(ostinato.layers.Conv2D(4, 3))(frames).shape
    torch.Size([2, 10, 26, 26, 4])
    """

    supports_masking = True
    steps_independent = True
    hangs_masks = True

    # -- shapes -------------------------------------------------------------------------------------------------------

    def build(self, input_shape: Any = None) -> None:
        """Build the layer for one step."""
        super().build(map_nest(self._without_time, normalise(input_shape), is_shape))

    def _without_time(self, shape: Any) -> tuple[int | None, ...]:
        if len(shape) < 3:
            raise ValueError(
                f"{self.described}: expected input (batch, time, ...) of at least 3 dimensions, got {tuple(shape)}."
            )
        return (shape[0], *shape[2:])

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the layer's output for one step, with the time as second axis."""
        shapes = normalise(input_shape)
        symbols = map_nest(lambda shape: SymbolicTensor(TensorSpec(shape, self._dtype), None), shapes, is_shape)
        return map_nest(lambda spec: spec.shape, self._specs(symbols), _is_spec)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Nest:
        if not self.built:
            self.build(map_nest(lambda leaf: tuple(leaf.shape), args[0]))
        return self._specs(args[0])

    def _specs(self, inputs: Nest) -> Nest:
        """A TensorSpec for each output, for inputs that have a shape and a dtype."""
        time = flatten(inputs)[0].shape[1] if inputs is not None else None
        step = map_nest(lambda x: SymbolicTensor(TensorSpec(self._without_time(x.shape), x.dtype), None), inputs)
        inner = unwrapped(self.layer)
        specs = inner.compute_output_spec(step) if isinstance(inner, Layer) else infer(inner, (step,), {})
        return map_nest(lambda spec: TensorSpec((spec.shape[0], time, *spec.shape[1:]), spec.dtype), specs, _is_spec)

    # -- calling ------------------------------------------------------------------------------------------------------

    def call(self, inputs: Nest, training: bool | None = None, mask: Nest = None) -> Any:
        return self._run(inputs, mask)[0]

    def compute(self, args: tuple[Any, ...], kwargs: dict[str, Any], mask: Nest) -> tuple[Any, Nest]:
        return self._run(args[0], mask)

    def _run(self, inputs: Nest, mask: Nest) -> tuple[Any, Nest]:
        """The output, and its mask."""
        leaves, masks = self._checked(inputs, mask)
        batch, time = leaves[0].shape[:2]
        leaves = [_without_garbage(x, m) for x, m in zip(leaves, masks, strict=True)]
        own = any(not _is_known(each) for each in unwrapped(self.layer).modules())
        handed: list[Tensor | None] = masks if self._takes_masks() else [None] * len(masks)
        after: Nest = None
        if not own and _takes_all_steps(self.layer):
            outputs, after = self._at_once(inputs, leaves, handed, batch, time)
        elif time:
            outputs, after = self._step_by_step(inputs, leaves, handed, time)
        else:  # no step to learn from what comes out
            specs = self._specs(inputs)
            outputs = map_nest(lambda spec: leaves[0].new_zeros(spec.shape, dtype=spec.dtype), specs, _is_spec)
        used = _used(masks)
        if used is not None and own and not self._takes_mask_argument():
            outputs = map_nest(lambda leaf: _held(leaf, used), outputs)
        return outputs, self._mask_after(masks, after)

    def _at_once(
        self, inputs: Nest, leaves: list[Tensor], masks: list[Tensor | None], batch: int, time: int
    ) -> tuple[Nest, Nest]:
        """Output and mask of all steps, as one batch."""

        def fold(leaf: Tensor | None) -> Tensor | None:
            return None if leaf is None else leaf.reshape(batch * time, *leaf.shape[2:])

        def unfold(leaf: Tensor | None) -> Tensor | None:
            return None if leaf is None else leaf.reshape(batch, time, *leaf.shape[1:])

        outputs, after = call_masked(
            self.layer, (pack_like(inputs, map(fold, leaves)),), {}, _packed_masks(inputs, [fold(m) for m in masks])
        )
        return map_nest(unfold, outputs), map_nest(unfold, after)

    def _step_by_step(
        self, inputs: Nest, leaves: list[Tensor], masks: list[Tensor | None], time: int
    ) -> tuple[Nest, Nest]:
        """Output and mask of each step, from a call each."""
        results = []
        for t in range(time):
            step = pack_like(inputs, [leaf.select(1, t) for leaf in leaves])
            flags = [None if mask is None else mask.select(1, t) for mask in masks]
            results.append(call_masked(self.layer, (step,), {}, _packed_masks(inputs, flags)))
        outputs, afters = zip(*results, strict=True)
        return _stack(outputs), _stack(afters)

    # -- masks --------------------------------------------------------------------------------------------------------

    def compute_mask(self, inputs: Nest, mask: Nest = None) -> Nest:
        """The layer's own mask of each step's output, else the mask of the steps; found by running, in inference."""
        if mask is None and not self._makes_masks():
            return None
        with torch.no_grad():
            return self.call_masked((inputs,), {"training": False}, mask)[1]

    def _mask_after(self, masks: list[Tensor | None], after: Nest) -> Nest:
        if after is not None and any(each is not None for each in flatten(after)):
            return after
        return _used(masks)

    def _makes_masks(self) -> bool:
        return any(getattr(each, "_makes_mask", False) for each in unwrapped(self.layer).modules())

    def _takes_mask_argument(self) -> bool:
        inner = unwrapped(self.layer)
        return isinstance(inner, Layer) and inner._call_signature.mask

    def _takes_masks(self) -> bool:
        """Whether the layer can do something with a mask: its `call` takes one, or it passes one on."""
        inner = unwrapped(self.layer)
        return isinstance(inner, Layer) and (inner._call_signature.mask or inner.supports_masking)

    def _checked(self, inputs: Nest, mask: Nest) -> tuple[list[Tensor], list[Tensor | None]]:
        """The inputs and a mask for each, flat. Raises ValueError where they do not fit."""
        leaves: list[Tensor] = flatten(inputs)
        lead = tuple(leaves[0].shape[:2])
        if any(leaf.dim() < 3 or tuple(leaf.shape[:2]) != lead for leaf in leaves):
            raise ValueError(
                f"{self.described}: expected input (batch, time, ...) of at least 3 dimensions, the same batch and "
                f"time in each tensor, got {describe(inputs)}."
            )
        masks = [None] * len(leaves) if mask is None else spread(mask, len(leaves))
        masks = [m if m is None else torch.as_tensor(m, device=leaves[0].device) for m in masks]
        for each in masks:
            if each is not None and tuple(each.shape[:2]) != lead:
                raise ValueError(
                    f"{self.described}: The `mask` passed to the `TimeDistributed` layer has a shape "
                    f"{tuple(each.shape)}, but must be (batch, time, ...) with batch {lead[0]} and time {lead[1]}."
                )
        return leaves, [m if m is None or m.dtype is torch.bool else m != 0 for m in masks]

    # -- recorded states ----------------------------------------------------------------------------------------------

    def reset_states(self, states: dict[str, Nest] | None = None, rows: Any = None) -> None:
        """Forget or set the recorded states of the stateful layers inside; see `Model.reset_states`.

        >>> import torch, ostinato
        >>> layer = ostinato.layers.TimeDistributed(ostinato.layers.GRU(4, stateful=True))
        >>> x = torch.randn(2, 3, 5, 1)
        >>> first = layer(x)
        >>> layer.reset_states()
        >>> torch.equal(layer(x), first)
        True
        """
        streams.reset(self, self.described, states, rows)

    def get_states(self) -> dict[str, Nest]:
        """A copy of the recorded states of the stateful layers inside, by place; see `Model.get_states`."""
        return streams.parked(self)

    def set_states(self, states: dict[str, Nest]) -> None:
        """Take up the states that `get_states` gave. Raises ValueError for states that do not fit."""
        streams.take_up(self, self.described, states)

    @property
    def input_dtype(self) -> torch.dtype:
        """The dtype that floating arrays are cast to: that of the layer."""
        inner = unwrapped(self.layer)
        return inner.input_dtype if isinstance(inner, Layer) else self._dtype


def _is_known(module: torch.nn.Module) -> bool:
    """Whether a module is the package's own, and not around one that is not."""
    known = is_builtin(type(module)) and not isinstance(module, TorchModule)
    return known or isinstance(module, (torch.nn.ModuleList, torch.nn.ModuleDict))


def _takes_all_steps(layer: torch.nn.Module) -> bool:
    """Whether each row of the output is made of its own row of the input, so that steps may be rows of one batch.

    Not where activities are regularized: their penalty is a mean over the rows.
    """
    inside = [each for each in layer.modules() if isinstance(each, Layer)]
    alone = (each.rows_independent and each.activity_regularizer is None for each in inside)
    return all(alone) and not any(getattr(each, "stateful", False) for each in inside)


def _without_garbage(x: Tensor, mask: Tensor | None) -> Tensor:
    """`x` with zeros for what is not finite in masked steps, or in what a step's own mask leaves out."""
    if mask is None:
        return x
    if mask.dim() > x.dim() or mask.shape != x.shape[: mask.dim()]:
        mask = _any_of_step(mask)
    return finite(x, mask.reshape(mask.shape + (1,) * (x.dim() - mask.dim())))


def _any_of_step(mask: Tensor) -> Tensor:
    """`(batch, time)`: whether anything of a step is used."""
    return mask.flatten(2).any(2) if mask.dim() > 2 else mask


def _used(masks: list[Tensor | None]) -> Tensor | None:
    """`(batch, time)` of the first mask that is there: which steps are used."""
    mask = first_mask(masks)
    return None if mask is None else _any_of_step(mask)


def _packed_masks(inputs: Nest, masks: list[Tensor | None]) -> Nest:
    """The masks in the structure of the inputs; None if there are none."""
    return None if all(mask is None for mask in masks) else pack_like(inputs, masks)


def _stack(steps: tuple[Nest, ...]) -> Nest:
    """The nests of all steps as one, with the time as second axis; None where a step has None."""
    columns = zip(*(flatten(step) for step in steps), strict=True)
    return pack_like(steps[0], [None if column[0] is None else torch.stack(column, 1) for column in columns])


def _held(leaf: Tensor, used: Tensor) -> Tensor:
    """`leaf` `(batch, time, ...)` with the output before at each step that is not used, zeros before the first."""
    steps = torch.arange(used.shape[1], device=used.device)
    latest = torch.where(used, steps, -1).cummax(1).values
    latest = latest.reshape(latest.shape + (1,) * (leaf.dim() - 2))
    return leaf.gather(1, latest.clamp(min=0).expand(leaf.shape)).masked_fill(latest < 0, 0)


def _is_spec(value: Any) -> bool:
    return isinstance(value, TensorSpec)
