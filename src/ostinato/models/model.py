"""`Model`: a layer made of layers, that can be trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ostinato.core.drawing import close_inputs, open_inputs
from ostinato.core.graph import Graph
from ostinato.core.layer import Layer
from ostinato.core.masks import carrying, mask_of
from ostinato.core.registry import builtin, nearest
from ostinato.core.shapes import is_shape, normalise
from ostinato.core.symbolic import Operation, SymbolicTensor, TensorSpec, infer, symbolic_leaves
from ostinato.layers import streams
from ostinato.layers.input import InputLayer
from ostinato.models.inputs import match_inputs
from ostinato.models.summary import summarize
from ostinato.models.trainer import Trainer
from ostinato.recurrence.nests import Nest, flatten, map_nest


@builtin("models")
class Model(Trainer):
    """Layers put together, with compile, fit, evaluate and predict.

    Drawn: `Model(inputs, outputs)`, from symbolic tensors (nests of them: lists, tuples, dicts) that `Input` made and
    layers, torch modules and torch functions were called on. Or subclassed, with a `call` of one's own.

    >>> import torch, ostinato
    >>> x = ostinato.Input((None, 8))
    >>> model = ostinato.Model(x, ostinato.layers.Dense(2)(ostinato.layers.LSTM(4)(x)))
    >>> model(torch.zeros(3, 5, 8)).shape
    torch.Size([3, 2])
    """

    supports_masking = True
    hangs_masks = True
    _graph: Graph | None

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        self = super().__new__(cls, *args, **kwargs)
        self.__dict__.update(_graph=None)
        return self

    def __init__(self, inputs: Nest = None, outputs: Nest = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if inputs is None and outputs is None:
            return
        if not symbolic_leaves(inputs) or not symbolic_leaves(outputs):
            raise ValueError(
                f"{type(self).__name__}: pass symbolic inputs and outputs, made by Input and by calling layers on it; "
                f"got inputs={inputs!r}, outputs={outputs!r}."
            )
        self._adopt(Graph(inputs, outputs, self.described))
        self.built = True

    def _adopt(self, graph: Graph) -> None:
        """Take a graph's modules as children, under their positions."""
        self._graph = graph
        position = 0
        for module in graph.modules:
            if not isinstance(module, InputLayer):
                self._modules[str(position)] = module
                position += 1
        close_inputs(flatten(graph.inputs))
        if not self._trainable:
            self.trainable = False

    def __getstate__(self) -> dict[str, Any]:
        return {"_graph": self._graph, **super().__getstate__()}  # first, as it says itself

    # -- structure ----------------------------------------------------------------------------------------------------

    @property
    def layers(self) -> list[Any]:
        """The layers and torch modules the model is made of, in order; inputs too, where it was drawn."""
        if self._graph is not None:
            return [module for module in self._graph.modules if not isinstance(module, Operation)]
        found: list[Any] = []
        for child in self._modules.values():
            found.extend(_listed(child))
        return list(dict.fromkeys(found))

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """A layer by its name or by its place in `layers`. Raises ValueError if there is none."""
        if (name is None) == (index is None):
            raise ValueError(f"{self.described}: get_layer takes either a name or an index.")
        layers = self.layers
        if index is not None:
            if not -len(layers) <= index < len(layers):
                raise ValueError(f"{self.described} has {len(layers)} layers; there is none at index {index}.")
            return layers[index]
        names = {getattr(layer, "name", str(position)): layer for position, layer in enumerate(layers)}
        if name not in names:
            known = ", ".join(map(str, names))
            raise ValueError(f"{self.described} has no layer {name!r}.{nearest(str(name), names)} It has: {known}.")
        return names[name]

    @property
    def inputs(self) -> list[SymbolicTensor]:
        """The symbolic inputs of a drawn model, flat."""
        return flatten(self.input)

    @property
    def outputs(self) -> list[SymbolicTensor]:
        """The symbolic outputs of a drawn model, flat."""
        return flatten(self.output)

    @property
    def input(self) -> Nest:
        """The symbolic inputs of a drawn model, as they were given."""
        return self._drawn().inputs

    @property
    def output(self) -> Nest:
        """The symbolic outputs of a drawn model, as they were given."""
        return self._drawn().outputs

    @property
    def input_shape(self) -> Any:
        """The shape of the symbolic input of a drawn model, or a list of shapes; None where a size is unknown."""
        return _one_or_all([symbol.shape for symbol in self.inputs])

    @property
    def output_shape(self) -> Any:
        """The shape of the symbolic output of a drawn model, or a list of shapes."""
        return _one_or_all([symbol.shape for symbol in self.outputs])

    def _drawn(self) -> Graph:
        if self._graph is None:
            raise ValueError(f"{self.described} was not drawn from symbolic tensors: it has no inputs or outputs.")
        open_inputs(flatten(self._graph.inputs))
        return self._graph

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs of a drawn model, in order."""
        return [symbol.node.call.name for symbol in flatten(self._graph.inputs)] if self._graph else []

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs of a drawn model: of the layers they come from, numbered where one gives several."""
        names: list[str] = []
        for symbol in flatten(self._graph.outputs) if self._graph else []:
            base = getattr(symbol.node.call, "name", None) or type(symbol.node.call).__name__.lower()
            name, count = base, 0
            while name in names:
                count += 1
                name = f"{base}_{count}"
            names.append(name)
        return names

    def _known_outputs(self) -> Nest:
        """The structure of the outputs, as a nest of anything; None where only a call can tell."""
        return None if self._graph is None or type(self).call is not Model.call else self._graph.outputs

    # -- calling ------------------------------------------------------------------------------------------------------

    def build(self, input_shape: Any = None) -> None:
        """Build the layers of a subclassed model for inputs of this shape, by running it without data."""
        if self._graph is None and type(self).call is not Model.call:
            symbols = map_nest(
                lambda shape: SymbolicTensor(TensorSpec(shape, None), None), normalise(input_shape), is_shape
            )
            self.built = True
            infer(self, (symbols,), {})

    def _build_for(self, inputs: Nest) -> None:
        self.built = True  # the layers inside build themselves as they are called

    def call(self, inputs: Nest, training: bool | None = None, mask: Nest = None) -> Any:
        """The computation; a subclass defines its own."""
        return self._run(inputs, mask)[0]

    def compute(self, args: tuple[Any, ...], kwargs: dict[str, Any], mask: Nest) -> tuple[Any, Nest]:
        if self._graph is None or type(self).call is not Model.call:
            if mask is not None:
                args = (carrying(args[0], mask), *args[1:])
            outputs = self.call(*args, **kwargs)
            own = type(self).compute_mask is not Model.compute_mask
            return outputs, self.compute_mask(args[0] if args else None, mask) if own else mask_of(outputs)
        return self._run(args[0], mask)

    def _run(self, inputs: Nest, mask: Nest) -> tuple[Any, Nest]:
        if self._graph is None:
            raise NotImplementedError(
                f"{type(self).__name__} must define call(inputs), or be made with Model(inputs, outputs)."
            )
        leaves = match_inputs(self.described, self._graph.inputs, inputs)
        masks = [None] * len(leaves) if mask is None else flatten(mask)
        if len(masks) != len(leaves):
            raise ValueError(f"{self.described}: expected {len(leaves)} masks, one for each input, got {len(masks)}.")
        outputs, after = self._graph.run(leaves, masks)
        return outputs, after if any(each is not None for each in after) else None

    def compute_mask(self, inputs: Nest, mask: Nest = None) -> Nest:
        """The masks of the outputs, flat; found by running the model, in inference."""
        if self._graph is None:
            return mask
        return self._find_mask(inputs, mask)

    def _find_mask(self, inputs: Nest, mask: Nest) -> Nest:
        makers = (each for each in self.modules() if getattr(each, "_makes_mask", False))
        if mask is None and all(isinstance(each, Model) for each in makers):
            return None
        with torch.no_grad():
            return self.call_masked((inputs,), {"training": False}, mask)[1]

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shapes of the outputs."""
        shapes = normalise(input_shape)
        symbols = map_nest(lambda shape: SymbolicTensor(TensorSpec(shape, None), None), shapes, is_shape)
        return map_nest(lambda spec: spec.shape, infer(self, (symbols,), {}), lambda x: isinstance(x, TensorSpec))

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Nest:
        self.built = True
        return infer(self, args, kwargs)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments of a subclassed model. Raises NotImplementedError for one that was drawn."""
        if self._graph is not None:
            raise NotImplementedError(f"{self.described} was drawn: this version does not write the config of a graph.")
        return super().get_config()

    def reset_states(self, states: dict[str, Nest] | None = None, rows: Any = None) -> None:
        """Forget the recorded states of every stateful layer in the model, wrapped ones too, or set them.

        states: None, or as `get_states` gives them, for these rows. rows: numbers of rows of the batch, or `(batch,)`
        booleans, for streams that end at different times; None for all.
        Raises ValueError, before anything is set, for states or rows that do not fit.

        >>> import torch, ostinato
        >>> model = ostinato.Sequential([ostinato.layers.GRU(4, stateful=True)])
        >>> x = torch.randn(2, 5, 3)
        >>> first = model(x)
        >>> model.reset_states(rows=[1])  # another stream begins in the second row
        >>> second = model(x)
        >>> torch.equal(second[0], first[0]), torch.allclose(second[1], first[1])
        (False, True)
        """
        streams.reset(self, self.described, states, rows)

    def get_states(self) -> dict[str, Nest]:
        """A copy of the recorded states of every stateful layer, by its place, so that a stream can be parked.

        >>> import torch, ostinato
        >>> model = ostinato.Sequential([ostinato.layers.GRU(4, stateful=True)])
        >>> first, second = torch.randn(2, 5, 3), torch.randn(2, 6, 3)
        >>> _ = model(first)
        >>> states = model.get_states()
        >>> after = model(second)
        >>> model.set_states(states)
        >>> torch.equal(model(second), after)
        True
        """
        return streams.parked(self)

    def set_states(self, states: dict[str, Nest]) -> None:
        """Take up the states that `get_states` gave, of this model or of one like it.

        Raises ValueError, before anything is set, for the states of other layers or of other shapes.
        """
        streams.take_up(self, self.described, states)

    @property
    def input_dtype(self) -> torch.dtype:
        """The dtype that floating data is cast to: that of the first layer with weights, which are what it meets."""
        layers = [each for each in self.layers if isinstance(each, Layer) and not isinstance(each, InputLayer)]
        weighted = (each for each in layers if isinstance(each, Model) or each._makes_weights())
        return next((each.input_dtype for each in (*weighted, *layers)), self._dtype)

    def _asks_for_dtype(self) -> bool:
        return False

    def _differs_in_training(self) -> bool:
        inside = (module for module in self.modules() if isinstance(module, Layer) and module is not self)
        return any(module._differs_in_training() for module in inside)

    def _makes_weights(self) -> bool:
        return False  # the layers inside do, and are asked

    def summary(self, line_length: int | None = None, print_fn: Any = None) -> None:
        """Print a table of the layers: name and type, output shape, parameters, and what each is connected to."""
        text = summarize(self, line_length)
        (print_fn or print)(text)


def _one_or_all(items: list[Any]) -> Any:
    return items[0] if len(items) == 1 else items


def _listed(child: Any) -> Sequence[Any]:
    """The layers that a child stands for: those in it, if it is a list or dict of them."""
    if isinstance(child, torch.nn.ModuleList):
        return [layer for each in child for layer in _listed(each)]
    if isinstance(child, torch.nn.ModuleDict):
        return [layer for each in child.values() for layer in _listed(each)]
    return [child] if child is not None else []
