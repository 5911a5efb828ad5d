"""A recurrent layer of the table on a named engine, and what it gives: for tests of properties.

A property says that two ways lead to the same numbers. Both ways begin at the same tensors (`Case.leaves`), so that
the gradients of a weighted sum of what comes out are compared by `assert_same` too, and no test need know any formula.
`OSTINATO_PROPERTY_EXAMPLES=50 OSTINATO_PROPERTY_SEED=7` draws more, and others.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

import ostinato
from descriptors import DESCRIPTORS, RECURRENT
from ostinato import layers
from ostinato.engines import select
from ostinato.recurrence.nests import flatten, map_nest

SEED = int(os.environ.get("OSTINATO_PROPERTY_SEED", "0"))
EXAMPLES = int(os.environ.get("OSTINATO_PROPERTY_EXAMPLES", "3"))

TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5, torch.bfloat16: 0.06}
"""Of numbers that are the same but for the order in which they are summed, relative to the largest one."""


class Outcome(NamedTuple):
    """What two calls give: the sequences `(batch, time, ...)`, the last outputs `(batch, ...)`, the final states.

    others: the states again, from the call that gave the last outputs.
    """

    outputs: list[Tensor]
    last: list[Tensor]
    states: list[Tensor]
    others: Sequence[Tensor] = ()

    @property
    def all(self) -> list[Tensor]:
        return [*self.outputs, *self.last, *self.states]


class Case:
    """A layer of a row, on an engine, in a dtype, with random weights, and inputs and states that want gradients.

    row: a label of the table, or a row of one's own. engine: None for whichever comes.
    """

    def __init__(
        self, row: Any, engine: str | None, dtype: torch.dtype, batch: int = 3, time: int = 5, seed: int = SEED
    ) -> None:
        self.row = DESCRIPTORS[row] if isinstance(row, str) else row
        self.engine, self.dtype, self.batch, self.time = engine, dtype, batch, time
        self.layer = made(self.row, dtype, seed)
        self.x = map_nest(lambda leaf: leaf.requires_grad_(), self.sequences(time, seed))
        self.states = [normal(batch, *size, dtype=dtype, seed=seed + i) for i, size in enumerate(sizes(self.layer))]

    def sequences(self, time: int, seed: int = SEED) -> Any:
        """Other inputs of the same kind."""
        return self.row.sequences(self.batch, time, self.dtype, seed)

    @property
    def two_ways(self) -> bool:
        return isinstance(self.layer, layers.Bidirectional)

    @property
    def backwards(self) -> bool:
        return rnns(self.layer)[0].go_backwards

    @property
    def zeroes_masked(self) -> bool:
        """Whether zeros stand at masked steps of the sequence, rather than the output before."""
        return rnns(self.layer)[0].zero_output_for_mask

    @property
    def leaves(self) -> list[Tensor]:
        """Inputs, states and weights."""
        return [*flatten(self.x), *self.states, *self.weights]

    @property
    def weights(self) -> list[Tensor]:
        """The weights that a call with given states uses: a start of the cell's own is then no part of it."""
        return [w for name, w in self.layer.named_parameters() if w.requires_grad and not name.endswith("start")]

    def like(self, other: Case) -> Case:
        """This case, with the numbers of another one, which may be of another dtype."""
        with torch.no_grad():
            for mine, value in zip(self.leaves, other.leaves, strict=True):
                mine.copy_(value)
        return self

    def __call__(self, x: Any = None, states: Any = None, layer: Any = None, **keywords: Any) -> Outcome:
        """The outcome for inputs and states, by default its own; in training, with the same dropout each time."""
        layer = self.layer if layer is None else layer
        x, states = self.x if x is None else x, self.states if states is None else states
        return outcome(layer, x, self.engine, initial_state=states, **keywords)

    def fresh(self, **options: Any) -> Any:
        """The same layer anew, with the same weights, and with options of its own."""
        return anew(self.layer, self.x, **options)


def on(engine: str | None) -> Any:
    """The block in which an engine is asked for."""
    return ostinato.use_engine("auto" if engine is None else engine)


def outcome(layer: Any, x: Any, engine: str | None, training: bool = True, **keywords: Any) -> Outcome:
    """What a layer gives, as a sequence and as the last output only."""
    found = []
    with on(engine):
        for sequences in (True, False):
            returning(layer, sequences, True)
            ostinato.utils.set_random_seed(3)
            found.append(layer(x, training=training, **keywords))
    count = len(flatten(found[0])) - len(sizes(layer))
    outputs, states = flatten(found[0])[:count], flatten(found[0])[count:]
    last, others = flatten(found[1])[:count], flatten(found[1])[count:]
    assert_same(others, states, [])  # which do not depend on how much of the outputs is wanted
    return Outcome(outputs, last, states, others)


def rnns(layer: Any) -> list[Any]:
    """The layer, or the two halves of it."""
    return [layer.forward_layer, layer.backward_layer] if isinstance(layer, layers.Bidirectional) else [layer]


def returning(layer: Any, sequences: bool, state: bool) -> None:
    """Have a layer return sequences, and states, from now on."""
    for each in rnns(layer):
        each.return_sequences, each.return_state = sequences, state


def sizes(layer: Any) -> list[tuple[int, ...]]:
    """The sizes of the states of a built layer."""
    return [size for each in rnns(layer) for size in each._sizes]


def normal(*shape: int, dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(1000 + seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def made(row: Any, dtype: torch.dtype, seed: int = SEED) -> Any:
    """The layer of a row, built, with random weights."""
    row = DESCRIPTORS[row] if isinstance(row, str) else row
    layer = row.make(layers, dtype=str(dtype).removeprefix("torch."))
    layer.build(shapes_of(row.sequences(1, 1)))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in layer.parameters():
            # Small enough for wide layers not to be chaotic, where a rounding grows from step to step.
            weight.copy_(min(0.5, weight.shape[0] ** -0.5) * torch.randn(weight.shape, generator=generator))
    return layer


def shapes_of(x: Any) -> Any:
    return map_nest(lambda leaf: tuple(leaf.shape), x)


def anew(layer: Any, x: Any, **options: Any) -> Any:
    """A layer from the config of another, with the same weights, and other options of its recurrent layers."""
    config = layer.get_config()
    if isinstance(layer, layers.Bidirectional):
        for name in ("layer", "backward_layer"):
            if config[name] is not None:
                config[name]["config"].update(options)
    else:
        config.update(options)
    again = type(layer).from_config(config)
    again.build(shapes_of(x))
    again.to(layer.dtype)  # which a cell of one's own may not say in its config
    again.load_state_dict(layer.state_dict())
    return again


# -- which engines run which rows -------------------------------------------------------------------------------------


class Run(NamedTuple):
    """A row on an engine, in a dtype."""

    label: str
    engine: str
    dtype: torch.dtype

    def __str__(self) -> str:
        return f"{self.label}-{self.engine}-{str(self.dtype).removeprefix('torch.')}"

    def case(self, batch: int = 3, time: int = 5, seed: int = SEED) -> Case:
        return Case(self.label, self.engine, self.dtype, batch, time, seed)


DTYPES = (torch.float64, torch.float32, torch.bfloat16)


@functools.cache
def accepts(run: Run) -> bool:
    """Whether the engine takes the row, with masks and without, with gradients and without, in training and not."""
    if run.engine == select.ENGINES[-1].name:
        return True  # or its tests fail
    case = run.case(batch=2, time=2)
    ways = [(True, False), (False, False)]
    if DESCRIPTORS[run.label].mask:
        ways += [(True, True), (False, True)]
    try:
        for wanted, masked in ways:
            with torch.set_grad_enabled(wanted):
                case(training=wanted, **{"lengths": [2, 1]} if masked else {})
    except ValueError as error:
        if not re.match(f"engine '{run.engine}' refuses", str(error)):
            raise
        return False
    return True


def runs(dtypes: tuple[torch.dtype, ...] = DTYPES, labels: Any = tuple(RECURRENT)) -> list[Run]:
    """The rows on each engine that takes them, in the dtypes that it takes."""
    found = [Run(label, each.name, dtype) for label in labels for each in select.ENGINES for dtype in dtypes]
    return [run for run in found if accepts(run)]


def tight() -> list[Run]:
    """For properties that hold to rounding: the loop in float64, other engines in float32 as well."""
    return [run for run in runs(DTYPES[:2]) if run.dtype is torch.float64 or run.engine != select.ENGINES[-1].name]


def for_each(found: list[Run], masked: bool = False) -> Any:
    """Parametrize a test by runs; masked: those of layers that take masks."""
    return pytest.mark.parametrize("run", [r for r in found if DESCRIPTORS[r.label].mask or not masked], ids=str)


# -- drawing ----------------------------------------------------------------------------------------------------------


def drawn(examples: int = EXAMPLES, **strategies: Any) -> Any:
    """`hypothesis.given`, with the seed and the number of examples of the environment."""

    def wrap(test: Any) -> Any:
        test = hypothesis.given(**strategies)(test)
        test = hypothesis.seed(SEED)(test)
        return hypothesis.settings(max_examples=examples, deadline=None, database=None, report_multiple_bugs=False)(
            test
        )

    return wrap


def masks(batch: int = 3, time: int = 5) -> Any:
    """Masks `(batch, time)`, some of them with rows that use no step."""
    flags = st.lists(st.booleans(), min_size=batch * time, max_size=batch * time)
    return flags.map(lambda each: torch.tensor(each, dtype=torch.bool).reshape(batch, time))


# -- comparing --------------------------------------------------------------------------------------------------------


def gradients(outputs: list[Tensor], wanted: list[Tensor]) -> list[Tensor]:
    """Of a weighted sum of the outputs, the same for the same shapes. A gradient that is missing is an error."""
    cotangents = []
    for i, out in enumerate(outputs):
        cotangents.append(normal(*out.shape, dtype=out.dtype, seed=i).detach())
    return list(torch.autograd.grad(outputs, wanted, cotangents, retain_graph=True))


def assert_same(found: list[Tensor], right: list[Tensor], wanted: list[Tensor], tolerance: float | None = None) -> None:
    """Outputs are the same to rounding, and so are the gradients for `wanted` of a weighted sum of them."""
    close(found, right, "output", tolerance)
    if wanted:
        close(gradients(found, wanted), gradients(right, wanted), "gradient", tolerance)


def close(found: list[Tensor], right: list[Tensor], what: str, tolerance: float | None = None) -> None:
    for i, (mine, other) in enumerate(zip(found, right, strict=True)):
        assert mine.shape == other.shape and mine.dtype == other.dtype, f"{what} {i}"
        if mine.numel():
            assert mine.isfinite().all(), f"{what} {i}"
            apart = (mine.double() - other.double()).abs().max().item()
            scale = max(1.0, other.double().abs().max().item())
            limit = (TOLERANCE[mine.dtype] if tolerance is None else tolerance) * scale
            assert apart <= limit, f"{what} {i}: apart by {apart:.2e}, allowed {limit:.2e}"


def assert_same_bits(
    found: list[Tensor], right: list[Tensor], wanted: list[Tensor] | None = None, others: list[Tensor] | None = None
) -> None:
    """Outputs are the same, bit by bit, and so are gradients: for `wanted`, and on the right for `others`."""
    same_bits(found, right, "output")
    if wanted:
        same_bits(gradients(found, wanted), gradients(right, wanted if others is None else others), "gradient")


def same_bits(found: list[Tensor], right: list[Tensor], what: str) -> None:
    for i, (mine, other) in enumerate(zip(found, right, strict=True)):
        assert mine.shape == other.shape and mine.dtype == other.dtype, f"{what} {i}"
        apart = int((bits(mine) != bits(other)).sum())
        assert apart == 0, f"{what} {i}: {apart} of {mine.numel()} numbers are not the same bits"


WHOLE = {torch.float64: torch.int64, torch.float32: torch.int32, torch.bfloat16: torch.int16}


def bits(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().view(WHOLE[tensor.dtype])
