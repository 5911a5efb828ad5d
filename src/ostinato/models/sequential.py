"""`Sequential`: layers one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from ostinato.core.context import CONTEXT
from ostinato.core.drawing import close_inputs, drawing
from ostinato.core.graph import Graph, call_masked
from ostinato.core.masks import first_mask
from ostinato.core.registry import builtin, deserialize_keras_object, serialize_keras_object
from ostinato.core.shapes import as_shape, is_shape
from ostinato.core.symbolic import SymbolicTensor
from ostinato.layers.input import Input, InputLayer
from ostinato.models.inputs import match_inputs
from ostinato.models.model import Model
from ostinato.models.stepping import Carried, step
from ostinato.recurrence.nests import Nest, is_nested


@builtin("models")
class Sequential(Model):
    """Layers one after the other, each with one input and one output.

    layers: any layers or torch modules; an `Input`, or a first layer with `input_shape`, says the shape of the data,
    and the layers are built at once; else when the model is first called.

    >>> import torch, ostinato
    >>> model = ostinato.Sequential([ostinato.layers.LSTM(4), torch.nn.Linear(4, 2)])
    >>> model(torch.zeros(3, 5, 8)).shape
    torch.Size([3, 2])
    """

    def __init__(self, layers: Sequence[Any] | None = None, name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name=name)
        self._symbols: list[SymbolicTensor] = []  # the input and each layer's output, once the input's shape is known
        for layer in layers or ():
            self.add(layer)
        if not trainable:
            self.trainable = False

    @property
    def layers(self) -> list[Any]:
        """The layers, in order."""
        return list(self._modules.values())

    def add(self, layer: Any) -> None:
        """Put a layer, or a torch module, at the end.

        Raises ValueError for anything else, and for a name that is there already.
        """
        if isinstance(layer, SymbolicTensor) and layer.node is not None and isinstance(layer.node.call, InputLayer):
            close_inputs([layer])  # the model has an input of its own
            layer = layer.node.call
        if isinstance(layer, InputLayer):
            self._begin(layer.batch_shape, layer.declared_dtype, layer.name)
            return
        if not isinstance(layer, torch.nn.Module):
            raise ValueError(f"{self.described}: add takes a layer or a torch module, got {layer!r}.")
        name = getattr(layer, "name", None)
        if any(each is layer or (name is not None and getattr(each, "name", None) == name) for each in self.layers):
            raise ValueError(f"{self.described}: there is a layer {name!r} already; names must differ.")
        shape = getattr(layer, "_batch_input_shape", None)
        if not self._modules and not self._symbols and shape is not None:
            self._begin(shape, None, None)
        self._modules[str(len(self._modules))] = layer
        self._graph = None
        if self._symbols:
            self._extend([layer])
        else:
            self.built = False

    def pop(self) -> Any:
        """Take the last layer away, and return it. Raises ValueError if there is none."""
        if not self._modules:
            raise ValueError(f"{self.described}: pop from a model without layers.")
        _, layer = self._modules.popitem()
        self._graph = None
        del self._symbols[len(self._modules) + 1 :]
        return layer

    def build(self, input_shape: Any = None) -> None:
        """Build the layers for inputs of this shape, batch first (None = unknown)."""
        if not self._symbols:
            if input_shape is None or not is_shape(input_shape):
                raise ValueError(f"{self.described}: build takes one shape, batch first; got {input_shape!r}.")
            self._begin(as_shape(input_shape), None, None)

    def _begin(self, shape: Any, dtype: Any, name: str | None) -> None:
        if self._symbols:
            raise ValueError(f"{self.described}: its input is {self._symbols[0].shape} already.")
        self._symbols = [Input(batch_shape=shape, dtype=dtype, name=name)]
        self._extend(self.layers)

    def _extend(self, layers: list[Any]) -> None:
        """Draw layers after what is drawn, which builds them."""
        with drawing(self._symbols[0]):
            for layer in layers:
                output = layer(self._symbols[-1])
                if not isinstance(output, SymbolicTensor):
                    raise ValueError(
                        f"{self.described}: {getattr(layer, 'described', layer)} has several outputs; a Sequential "
                        f"passes on one. Draw the model with Input and Model(inputs, outputs)."
                    )
                self._symbols.append(output)
        self.built = bool(self._modules)

    def _drawn(self) -> Graph:
        if not self._symbols:
            raise ValueError(f"{self.described} is not built: call it on data, or build(input_shape), first.")
        if self._graph is None:
            self._graph = Graph(self._symbols[0], self._symbols[-1], self.described)
        return super()._drawn()

    @property
    def output_names(self) -> list[str]:
        """The name of the last layer."""
        last = self.layers[-1] if self._modules else self
        return [getattr(last, "name", None) or type(last).__name__.lower()]

    def _known_outputs(self) -> Nest:
        return self.output_names[0] if type(self).call is Model.call else None

    @property
    def input_names(self) -> list[str]:
        """The name of the input, if its shape is known."""
        return [self._symbols[0].node.call.name] if self._symbols else []  # type: ignore[union-attr]

    def compute(self, args: tuple[Any, ...], kwargs: dict[str, Any], mask: Nest) -> tuple[Any, Nest]:
        if type(self).call is not Model.call:
            return super().compute(args, kwargs, mask)
        return self._run(args[0], mask)

    def _run(self, inputs: Nest, mask: Nest) -> tuple[Any, Nest]:
        if not self._modules:
            raise ValueError(f"{self.described} has no layers: add one first.")
        value = inputs
        if self._symbols and (is_nested(inputs) or len(inputs.shape) != len(self._symbols[0].shape)):
            (value,) = match_inputs(self.described, self._symbols[0], inputs)
            mask = first_mask(mask)
        for layer in self._modules.values():
            if is_nested(value) and value is not inputs:
                raise ValueError(
                    f"{self.described}: the layer before {getattr(layer, 'described', layer)} has several outputs; a "
                    f"Sequential passes on one. Draw the model with Input and Model(inputs, outputs)."
                )
            value, mask = call_masked(layer, (value,), {}, mask)
        return value, mask

    def step(
        self, inputs: Nest, state: Carried | None = None, mask: Any = None, training: bool | None = None
    ) -> tuple[Nest, Carried]:
        """One step of a sequence through the model: `(inputs, state)` to (output, new state), for streams.

        inputs: `(batch, ...)`, one step of what the model takes. state: what the step before returned, None to begin:
        for each recurrent layer its state, and its output of the last used step. mask: `(batch,)`, True = use. After so
        many steps the output is that of the model for the sequence so far, at its last step if it returns sequences.
        Recorded states of stateful layers are neither used nor changed. Raises ValueError for layers that need other
        steps too: Bidirectional, go_backwards, convolutions, pooling.

        >>> import torch, ostinato
        >>> model = ostinato.Sequential([ostinato.layers.GRU(4, return_sequences=True), ostinato.layers.LSTM(3)])
        >>> x, state = torch.randn(2, 5, 3), None
        >>> for t in range(5):
        ...     output, state = model.step(x[:, t], state)
        >>> torch.allclose(output, model(x), atol=1e-6)
        True
        """
        if type(self).call is not Model.call:
            raise ValueError(f"{self.described}: step goes through its layers, and it has a call of its own.")
        ((inputs, mask), _) = self._admit((inputs, mask), {})
        if not self.built:
            self.build((None, None, *inputs.shape[1:]))
        outer = CONTEXT.enter(self._resolve_training(training))
        try:
            return step(list(self._flat_layers()), inputs, state, mask, self.described)
        finally:
            CONTEXT.leave(outer)

    def _flat_layers(self) -> Iterator[Any]:
        """The layers, with those of a Sequential inside in its place."""
        for layer in self.layers:
            nested = isinstance(layer, Sequential) and type(layer).call is Model.call
            yield from layer._flat_layers() if nested else [layer]

    def compute_mask(self, inputs: Nest, mask: Nest = None) -> Nest:
        """The mask of the output; found by running the model, in inference."""
        return self._find_mask(inputs, mask)

    def get_config(self) -> dict[str, Any]:
        """Name, layers, and the input's shape if it is known."""
        shape = list(self._symbols[0].shape) if self._symbols else None
        layers = [serialize_keras_object(layer) for layer in self.layers]
        return {"name": self.name, "layers": layers, "build_input_shape": shape}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        """The model that `get_config` described, with fresh weights; custom_objects: classes of one's own, by name."""
        layers = [deserialize_keras_object(layer, custom_objects, kind="layers") for layer in config["layers"]]
        model = cls(layers, name=config.get("name"))
        if config.get("build_input_shape") is not None and not model._symbols:
            model.build(tuple(config["build_input_shape"]))
        return model
