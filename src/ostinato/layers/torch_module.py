"""`TorchModule`: any torch module as a layer."""

from __future__ import annotations

from typing import Any

import torch

from ostinato.core.graph import in_mode
from ostinato.core.layer import Layer
from ostinato.core.registry import builtin, get_registered_name, get_registered_object
from ostinato.core.shapes import normalise
from ostinato.core.symbolic import infer
from ostinato.layers.inner import differs_in_training, dtype_of
from ostinato.recurrence.nests import Nest


@builtin("layers", "TorchModule", "TorchModuleWrapper")
class TorchModule(Layer):
    """A torch module with a layer's manners: a name, `trainable`, weights, a dtype, a mode that each call may choose.

    A model takes torch modules as they are. This is for what they lack: to pass a mask on, to be frozen or named, to
    have a place in a config.

    module: any `torch.nn.Module`, used and not copied; its parameters and buffers are the layer's weights. One with
    parameters that torch has yet to initialise (a LazyModule) must have been called once. output_shape: the shape of
    the output, batch first, where running the module without data cannot tell. supports_masking: whether the output has
    the mask of the input; the module itself is handed none. dtype: the module is cast to it, as by `.to(dtype)`;
    that of its weights if not given.

    Called as the module is; training= chooses its mode for the call. Its config holds that of the module, which must
    have `get_config` and be registered: what torch can write of a module is a pickle, and opening one runs whatever
    code is in it, so it has no place in a config. Keras's name for the class is `TorchModuleWrapper`.
    Raises ValueError for what is no torch module, or has parameters that are not initialised.

    >>> import torch, ostinato
    >>> layer = ostinato.layers.TorchModule(torch.nn.Linear(3, 2), name="head", trainable=False)
    >>> layer(torch.zeros(4, 3)).shape, len(layer.weights), layer.trainable_weights
    (torch.Size([4, 2]), 2, [])
    """

    def __init__(
        self,
        module: torch.nn.Module,
        name: str | None = None,
        output_shape: Any = None,
        supports_masking: bool = False,
        **kwargs: Any,
    ) -> None:
        if not isinstance(module, torch.nn.Module):
            raise ValueError(
                f"TorchModule: expected a torch.nn.Module, got {type(module).__name__}. (A config that Keras wrote has "
                f"a pickle of the module in it, which is not opened here: make the module, and load its weights.)"
            )
        if isinstance(module, Layer):
            raise ValueError(f"TorchModule: {module.described} is a layer already: use it as it is.")
        if any(isinstance(each, torch.nn.parameter.UninitializedParameter) for each in module.parameters()):
            raise ValueError(
                f"TorchModule: {type(module).__name__} has parameters that are not initialised yet. Call it on data "
                f"once, then wrap it."
            )
        if kwargs.get("dtype") is None:
            kwargs["dtype"] = dtype_of(module)
        super().__init__(name=name, **kwargs)
        self.module = module
        self.supports_masking = supports_masking
        self.output_shape = output_shape
        if dtype_of(module) not in (None, self._dtype):
            module.to(self._dtype)

    def call(self, *args: Any, training: bool = False, **kwargs: Any) -> Any:
        with in_mode(self.module):
            return self.module(*args, **kwargs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`output_shape` as it was given, else what the module gives for such an input."""
        return super().compute_output_shape(input_shape) if self.output_shape is None else normalise(self.output_shape)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Nest:
        if self.output_shape is not None:
            return super().compute_output_spec(*args, **kwargs)
        self.built = True
        return infer(self, args, kwargs)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments. Raises TypeError unless the module can say its config and is registered."""
        cls = type(self.module)
        if not hasattr(cls, "get_config") or get_registered_object(get_registered_name(cls)) is not cls:
            raise TypeError(
                f"{self.described}: a torch module has no config. Give {cls.__name__} a get_config() (and a "
                f"from_config(), if its arguments are not plain values) and register it with "
                f"register_keras_serializable; or keep the weights alone, with get_weights() or state_dict()."
            )
        return super().get_config()

    def _differs_in_training(self) -> bool:
        return differs_in_training(self.module)
