"""What a layer is: a torch module that is built on its first call, with Keras's manners."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ostinato.core import regularizers
from ostinato.core.calls import CallSignature, signature_of
from ostinato.core.config import accepts, bound_arguments, without_foreign
from ostinato.core.context import CONTEXT
from ostinato.core.dtypes import to_tensor
from ostinato.core.input_spec import InputSpec, check, check_tensors
from ostinato.core.masks import attach, carrying, mask_of, spread
from ostinato.core.module import KerasModule, once
from ostinato.core.registry import deserialize_keras_object, is_builtin, nearest, serialize_keras_object
from ostinato.core.shapes import as_shape, is_shape, normalise, shapes_of
from ostinato.core.symbolic import (
    SymbolicTensor,
    TensorSpec,
    has_symbolic,
    infer,
    on_meta,
    record,
    replace_leaves,
)
from ostinato.core.tracking import Weights
from ostinato.recurrence.nests import Nest, flatten, is_nested, map_nest, pack_like

IMPLICIT = object()
"""As a mask: whatever hangs on the input tensors."""


class Layer(KerasModule):
    """A torch module with Keras's manners: made with options, built on its first call, described by its config.

    A layer of one's own defines `call(inputs)`, with `training` and `mask` among its arguments if it wants them, and
    makes its weights in `build(input_shape)` with `add_weight`. Sub-layers and weights are tracked as they are
    assigned, before or after `super().__init__()`, in lists and dicts too.

    name: for messages and summaries; made up if not given. trainable: whether its weights are. dtype: of the weights,
    by name or as a torch dtype; torch's default if not given. activity_regularizer: penalty on the output.
    input_shape, batch_input_shape: shape of the input without or with the batch, for the first layer of a Sequential.
    input_dim: the same as `input_shape=(input_dim,)`.

    >>> import torch, ostinato
    >>> class Scale(ostinato.layers.Layer):
    ...     def build(self, input_shape):
    ...         self.factor = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="factor")
    ...     def call(self, inputs):
    ...         return inputs * self.factor
    >>> layer = Scale()
    >>> layer(torch.ones(2, 3)).shape, [tuple(w.shape) for w in layer.weights]
    (torch.Size([2, 3]), [(3,)])
    """

    records_itself = True
    input_spec: Any = None
    supports_masking = False
    rows_independent = True  # whether a row of the output depends on its own row of the input, and on no other
    steps_independent: Any = False  # whether a step of the output depends on its own step of the input, and on no other
    hangs_masks = False  # whether to find the output's mask on the output, since computing it again means a second run
    _makes_mask = False  # whether the output may have a mask where the input has none
    _mutable_options: tuple[str, ...] = ("name", "trainable")
    _arguments: tuple[tuple[Any, ...], dict[str, Any]]
    _call_signature: CallSignature
    _warned: bool
    _added_losses: tuple[int, list[Tensor]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        self = super().__new__(cls, *args, **kwargs)
        self.__dict__.update(
            activity_regularizer=None,
            _arguments=replace_leaves((args, kwargs), lambda leaf: leaf),  # for its config; lists are copied
            _batch_input_shape=None,
            _build_shape=None,
            _mode_chosen=False,  # whether train() or eval() was ever called
            _warned=False,
            _added_losses=(0, []),  # number of the outermost call, and the losses added in it
            _nodes=[],  # the symbolic calls of this layer
        )
        return self

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        activity_regularizer: Any = None,
        input_shape: Any = None,
        batch_input_shape: Any = None,
        input_dim: int | None = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            known = [*inspect.signature(type(self).__init__).parameters, *inspect.signature(Layer.__init__).parameters]
            name = next(iter(unknown))
            raise ValueError(f"{type(self).__name__} takes no argument {name!r}.{nearest(name, known)}")
        super().__init__(name=name, trainable=trainable, dtype=dtype)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        if input_dim is not None:
            input_shape = (input_dim,)
        if input_shape is not None:
            batch_input_shape = (None, *as_shape(input_shape))
        self._batch_input_shape = None if batch_input_shape is None else as_shape(batch_input_shape)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "build" in cls.__dict__:
            cls.build = once(cls.__dict__["build"])  # type: ignore[method-assign]
        cls._call_signature = signature_of(cls.call)
        if "compute_mask" in cls.__dict__ and "_makes_mask" not in cls.__dict__:
            cls._makes_mask = True
        if "compute_mask" in cls.__dict__ and "supports_masking" not in cls.__dict__:
            cls.supports_masking = True

    # -- for a layer of one's own to define ---------------------------------------------------------------------------

    def build(self, input_shape: Any) -> None:
        """Make the weights for inputs of this shape (batch first, None = unknown); the default makes none."""
        self._register_pending()
        self.built = True

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The computation."""
        raise NotImplementedError(f"{type(self).__name__} must define call(inputs, ...).")

    def compute_mask(self, inputs: Nest, mask: Nest = None) -> Nest:
        """The mask of the output; by default that of the input, if the layer supports masking."""
        return mask if self.supports_masking else None

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the output for a shape of the input; by default found by running the layer without data."""
        if not self.built:
            self.build(input_shape)

        def symbol(shape: Any) -> SymbolicTensor:
            return SymbolicTensor(TensorSpec(shape, self._dtype), None)

        symbols = map_nest(symbol, normalise(input_shape), is_shape)
        return map_nest(lambda spec: spec.shape, infer(self, (symbols,), {}), lambda x: isinstance(x, TensorSpec))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain values."""
        config = {}
        for key, value in bound_arguments(type(self), *self._arguments).items():
            config[key] = serialize_keras_object(value)
        for key in self._mutable_options:
            if accepts(type(self), key):
                config[key] = getattr(self, key)
        if accepts(type(self), "dtype"):
            config["dtype"] = str(self._dtype).removeprefix("torch.")
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        """The layer that `get_config` described, with fresh weights; custom_objects: classes of one's own, by name."""
        config = without_foreign(cls, config)
        return cls(**{key: deserialize_keras_object(value, custom_objects) for key, value in config.items()})

    # -- calling ------------------------------------------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer on tensors, arrays or symbolic tensors: what `layer(...)` runs."""
        if has_symbolic(args, kwargs):
            args, kwargs = self._call_signature.normalise(args, kwargs)
            outputs = record(self, args, kwargs, self.compute_output_spec(*args, **kwargs))
            self._nodes.append(flatten(outputs)[0].node)
            return outputs
        outputs, mask = self.call_masked(args, kwargs)
        if mask is None:
            return outputs
        given = flatten((*args, *kwargs.values()))
        if any(leaf is each for leaf in flatten(outputs) for each in given):
            return carrying(outputs, mask)  # or the mask would hang on what the caller holds
        attach(outputs, mask)
        return outputs

    def call_masked(self, args: tuple[Any, ...], kwargs: dict[str, Any], mask: Nest = IMPLICIT) -> tuple[Any, Nest]:
        """Call the layer with the mask of its first input; returns the output and the output's mask."""
        signature, context = self._call_signature, CONTEXT
        if len(args) != 1 or (kwargs and "inputs" in kwargs):
            args, kwargs = signature.normalise(args, kwargs)
        training = None
        if kwargs:
            kwargs = dict(kwargs)
            training = kwargs.pop("training", None)
        if kwargs or not args or type(args[0]) is not Tensor or args[0].dtype is not self._dtype:
            args, kwargs = self._admit(args, kwargs)
        inputs = args[0] if args else None
        if not self.built:
            self._build_for(inputs)
            if isinstance(inputs, Tensor) and inputs.dtype is not self._dtype:
                self._admit(args, {})  # now that there are weights, whose dtype the input must have
        spec = self.input_spec
        if spec is not None and not (type(inputs) is Tensor and type(spec) is InputSpec and spec.fits(inputs.shape)):
            check(spec, inputs, self.described)
        training = self._resolve_training(training)
        if signature.training:
            kwargs["training"] = training
        given = kwargs.get("mask") if signature.mask else None
        if given is None:
            given = mask_of(inputs) if mask is IMPLICIT else mask
            if given is not None and signature.mask:
                kwargs["mask"] = given
        outer = context.enter(training)
        if context.depth == 1 and not context.counted:
            self._forget_added_losses()  # they could not be told from those of this call
        try:
            if context.inferring and _has_data(self):
                outputs, after = on_meta(self, args, kwargs), None
            else:
                outputs, after = self.compute(args, kwargs, given)
        finally:
            context.leave(outer)
        if self.activity_regularizer is not None:
            self._regularize_activity(outputs)
        return outputs, after

    def compute(self, args: tuple[Any, ...], kwargs: dict[str, Any], mask: Nest) -> tuple[Any, Nest]:
        """`call`, and the output's mask; mask: that of the first input."""
        if not self._modules or is_builtin(type(self)):
            if mask is None and not self._makes_mask:
                return self.call(*args, **kwargs), None
            return self.call(*args, **kwargs), self.mask_after(args[0] if args else None, mask)
        if mask is not None:
            args = (carrying(args[0], mask), *args[1:])
        outputs = self.call(*args, **kwargs)  # a `call` of one's own, whose layers find and leave masks on tensors
        return outputs, self._masks_found(args[0] if args else None, outputs, mask)

    def _masks_found(self, inputs: Nest, outputs: Nest, mask: Nest) -> Nest:
        """The masks that hang on outputs; on those without, where the layer passes masks on, what `mask_after` says."""
        found = [mask_of(leaf) for leaf in flatten(outputs)]
        missing = [each is None for each in found]
        passes = self.supports_masking or type(self).compute_mask is not Layer.compute_mask
        if (mask is not None or self._makes_mask) and (all(missing) or (any(missing) and passes)):
            computed = self.mask_after(inputs, mask)
            rest = [None] * len(found) if computed is None else spread(computed, len(found))
            found = [other if own is None else own for own, other in zip(found, rest, strict=True)]
        return pack_like(outputs, found) if any(each is not None for each in found) else None

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Nest:
        """What a symbolic call gives: a nest of TensorSpecs. Builds the layer."""
        inputs = args[0]
        if not self.built:
            self.build(shapes_of_symbols(inputs))
        if self.input_spec is not None:
            check(self.input_spec, inputs, self.described)
        if type(self).compute_output_shape is Layer.compute_output_shape:
            return infer(self, args, kwargs)
        shapes = normalise(self.compute_output_shape(shapes_of_symbols(inputs)))
        dtype = self._output_dtype(inputs)
        return map_nest(lambda shape: TensorSpec(shape, dtype), shapes, is_shape)

    def _output_dtype(self, inputs: Nest) -> torch.dtype:
        return self._dtype

    def mask_after(self, inputs: Nest, mask: Nest) -> Nest:
        """The mask of the output; warns once where one ends because the layer cannot pass it on."""
        if type(self).compute_mask is not Layer.compute_mask:
            return self.compute_mask(inputs, mask)
        if mask is not None and not self.supports_masking:
            if not self._call_signature.mask and not self._warned:
                self._warned = True
                warnings.warn(
                    f"{self.described} does not support masking: the mask of its input is lost here, and layers after "
                    f"it will use every step. Set supports_masking = True if it should pass the mask on.",
                    stacklevel=5,
                )
            return None
        return mask

    def _resolve_training(self, given: bool | None) -> bool:
        """The call's own mode, else the enclosing call's, else that of train()/eval(), else inference."""
        if given is not None:
            return bool(given)
        if CONTEXT.training is not None:
            return CONTEXT.training
        if not self._mode_chosen and not self._warned and torch.is_grad_enabled() and self._differs_in_training():
            self._warned = True
            warnings.warn(
                f"{self.described} runs in inference mode while autograd records, and would behave differently in "
                f"training. Call it with training=True or training=False, or choose with .train() or .eval().",
                stacklevel=5,
            )
        return self.training

    def _differs_in_training(self) -> bool:
        """Whether training changes what the layer computes; layers for which it does override this."""
        return False

    def _admit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments as tensors: arrays are cast; a torch tensor of another floating dtype is refused."""
        if args:
            for leaf in flatten(args[0]):
                if isinstance(leaf, (bool, int, float, str)):
                    raise ValueError(
                        f"{self.described}: expected a tensor or an array, got {leaf!r}. Turn lists of numbers into "
                        f"one, with torch.tensor or np.array."
                    )
            strict = self._asks_for_dtype() and not self._casts_by_itself()
            args = tuple(map_nest(lambda leaf: self._admit_leaf(leaf, strict), each) for each in args)
        if kwargs:
            kwargs = {key: map_nest(lambda leaf: self._admit_leaf(leaf, False), value) for key, value in kwargs.items()}
        return args, kwargs

    def _casts_by_itself(self) -> bool:
        """Whether torch's autocast is on where the weights are."""
        device = self._where().type
        return device != "meta" and torch.is_autocast_enabled(device)

    def _admit_leaf(self, leaf: Any, strict: bool) -> Any:
        if isinstance(leaf, Tensor):
            if strict and (leaf.is_floating_point() or leaf.is_complex()) and leaf.dtype is not self._dtype:
                raise TypeError(
                    f"{self.described}: expected a {self._dtype} tensor, got {leaf.dtype}. Cast it with "
                    f".to({self._dtype}), or make the layer with dtype={str(leaf.dtype).removeprefix('torch.')!r}."
                )
            return leaf
        if isinstance(leaf, (np.ndarray, np.generic)) and leaf.dtype.kind in "fiubc":
            return to_tensor(leaf, self.input_dtype, self._where())
        return leaf

    @property
    def input_dtype(self) -> torch.dtype:
        """The dtype that floating arrays are cast to."""
        return self._dtype

    def _asks_for_dtype(self) -> bool:
        """Whether the layer's own weights meet the input; containers leave that to what they contain."""
        return any(p is not None and p.is_floating_point() for p in self._parameters.values())

    # -- building -----------------------------------------------------------------------------------------------------

    def _build_for(self, inputs: Nest) -> None:
        leaves = flatten(inputs)
        if type(self).build is not Layer.build:
            check_tensors(leaves, self.described)
        first = leaves[0] if leaves else None
        if isinstance(first, Tensor) and not CONTEXT.inferring:
            self._build_device = first.device
        self.build(shapes_of(inputs))

    def _makes_weights(self) -> bool:
        return type(self).build is not Layer.build

    # -- losses -------------------------------------------------------------------------------------------------------

    def add_loss(self, loss: Any) -> None:
        """Add a scalar, or a list of them, to the loss that `fit` minimises; called inside `call`."""
        if CONTEXT.inferring:
            return
        for each in flatten(loss):
            if not isinstance(each, Tensor):
                raise TypeError(f"{self.described}: add_loss takes tensors, got {each!r}.")
        number, losses = self._added_losses
        losses = [*(losses if number == CONTEXT.number else []), *flatten(loss)]
        self._added_losses = (CONTEXT.number, losses)

    def _forget_added_losses(self) -> None:
        for module in self.modules():
            if isinstance(module, Layer):
                module._added_losses = (0, [])

    def _regularize_activity(self, outputs: Nest) -> None:
        for output in flatten(outputs):
            if isinstance(output, Tensor):
                penalty = self.activity_regularizer(output)
                self.add_loss(penalty / max(1, output.shape[0]) if output.dim() else penalty)

    @property
    def losses(self) -> list[Tensor]:
        """Scalars added in the latest call, and the penalties of regularized weights, of this layer and those in it."""
        layers = [module for module in self.modules() if isinstance(module, Layer)]
        latest = max(layer._added_losses[0] for layer in layers)
        added = [loss for layer in layers if layer._added_losses[0] == latest for loss in layer._added_losses[1]]
        return added + Weights(self).penalties()

    # -- torch --------------------------------------------------------------------------------------------------------

    @property
    def input(self) -> Nest:
        """The symbolic input of the layer's first symbolic call."""
        return self._first_node().args[0]

    @property
    def output(self) -> Nest:
        """The symbolic output of the layer's first symbolic call."""
        return self._first_node().outputs

    def _first_node(self) -> Any:
        if not self._nodes:
            raise ValueError(f"{self.described} was never called on a symbolic tensor: it has no input or output.")
        return self._nodes[0]

    def train(self, mode: bool = True) -> Any:
        """Choose training or inference for calls that do not say."""
        self._mode_chosen = True
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        """What copies take: not the symbolic calls, which would drag whole models along."""
        return {**self.__dict__, "_nodes": [], "_added_losses": (0, [])}

    def extra_repr(self) -> str:
        return f"name={self.name!r}"


Layer._call_signature = signature_of(Layer.call)


def shapes_of_symbols(inputs: Nest) -> Nest:
    """The shapes of a nest of symbolic tensors, None where unknown."""
    if not is_nested(inputs):
        return tuple(inputs.shape)
    return map_nest(lambda leaf: tuple(leaf.shape), inputs)


def _has_data(layer: Layer) -> bool:
    tensors = [*torch.nn.Module.named_parameters(layer), *layer.named_buffers()]
    return any(tensor.device.type != "meta" for _, tensor in tensors)
