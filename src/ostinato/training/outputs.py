"""Which loss, metric, target, weight and mask belongs to which output of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ostinato.core.registry import nearest
from ostinato.recurrence.nests import Nest, describe, flatten, is_nested, pack_like


class Names(list[str]):
    """The names of outputs, in order. nest: the names in the structure of the outputs, None if that is a flat one."""

    nest: Nest = None

    @property
    def paths(self) -> list[str]:
        """What the losses of the outputs are called by: of outputs in nests of nests, the way there (Keras's `p/a`)."""
        return list(self) if self.nest is None else _paths(self.nest, ())


def _paths(names: Nest, way: tuple[Any, ...]) -> list[str]:
    if not is_nested(names):
        return ["/".join(str(each) for each in (way if isinstance(way[-1], str) else (*way[:-1], names)))]
    children = sorted(names.items()) if isinstance(names, dict) else enumerate(names)
    return [path for key, child in children for path in _paths(child, (*way, key))]


def names_of(model: Any, structure: Nest) -> Names:
    """A name for each output; structure: the outputs, a nest of anything."""
    count = len(flatten(structure))
    if isinstance(structure, dict) and len(structure) == count:
        return Names(sorted(structure))
    names = Names(model.output_names)
    if len(names) != count:
        names = Names(f"output_{i}" if count > 1 else "output" for i in range(count))
    if is_nested(structure) and len(structure) != count:
        names.nest = pack_like(structure, names)
    return names


def _flat(given: Any, names: Names, what: str, who: str) -> Any:
    """What was given in the structure of outputs that are nests of nests, flat, in order; all else as it is.

    Raises ValueError for another structure.
    """
    by_name = isinstance(given, dict) and all(name in names for name in given)
    in_order = isinstance(given, (list, tuple)) and len(given) == len(names) and not any(map(is_nested, given))
    if names.nest is None or not is_nested(given) or by_name or in_order:
        return given
    flat: list[Any] = []

    def descend(part: Any, nest: Nest) -> None:
        if not is_nested(nest) or not is_nested(part):
            flat.extend([part] * len(flatten(nest)))
        elif isinstance(nest, dict) and isinstance(part, dict) and part.keys() <= nest.keys():
            for key in sorted(nest):
                descend(part.get(key), nest[key])
        elif not isinstance(nest, dict) and not isinstance(part, dict) and len(part) == len(nest):
            for each, inner in zip(part, nest, strict=True):
                descend(each, inner)
        else:
            raise ValueError(f"{who}: {what} does not have the structure of the outputs, {names.nest}; got {part!r}.")

    descend(given, names.nest)
    return flat


def single_or_flat(nest: Nest) -> list[Tensor]:
    """The leaves of a nest; of a single tensor, quickly."""
    return [nest] if isinstance(nest, Tensor) else flatten(nest)


def spread(given: Any, names: Names, what: str, who: str) -> list[Any]:
    """One entry for each output: a single one for all, a list in order, a dict by name, or in the outputs' structure.

    Raises ValueError for a name that is no output, or a list of another length.
    """
    given = _flat(given, names, what, who)
    if isinstance(given, dict):
        unknown = [name for name in given if name not in names]
        if unknown:
            raise ValueError(
                f"{who}: {what} names {unknown[0]!r}, which is no output.{nearest(unknown[0], names)} The outputs are "
                f"{names}."
            )
        return [given.get(name) for name in names]
    if isinstance(given, (list, tuple)):
        if len(given) != len(names):
            raise ValueError(f"{who}: {what} has {len(given)} entries for {len(names)} outputs {names}.")
        return list(given)
    return [given] * len(names)


def metrics_of_outputs(given: Any, names: Names, what: str, who: str) -> list[list[Any]]:
    """A list of metrics for each output. A flat list is for every output, unless it has just one for each."""
    if not given:
        return [[] for _ in names]
    nested = isinstance(given, dict) or any(isinstance(each, (list, tuple)) for each in given)
    if len(names) == 1 and not isinstance(given, dict):
        groups = [flatten(given)]
    elif len(given) == len(names) and not isinstance(given, dict):
        groups = list(given)
    elif not nested:
        groups = [given] * len(names)
    else:
        groups = spread(given, names, what, who)
    listed = [list(group) if isinstance(group, (list, tuple)) else [group] for group in groups]
    return [[each for each in group if each is not None] for group in listed]


def matched(y: Nest, names: Sequence[str], wanted: Sequence[bool], who: str) -> list[Tensor | None]:
    """The target of each output: by name, or in order; those that are not wanted may be left out.

    Raises ValueError for targets that are missing, too many or of unknown names.
    """
    if isinstance(y, dict) and not any(is_nested(each) for each in y.values()):
        unknown = [name for name in y if name not in names]
        missing = [name for name, each in zip(names, wanted, strict=True) if each and name not in y]
        if unknown or missing:
            hint = nearest(unknown[0], names) if unknown else ""
            raise ValueError(f"{who}: the outputs are {list(names)}, got targets for {list(y)}.{hint}")
        return [y.get(name) for name in names]
    given = [] if y is None else flatten(y)
    if len(given) == len(names):
        return given
    rest = iter(given)
    if len(given) == sum(wanted):
        return [next(rest) if each else None for each in wanted]
    raise ValueError(
        f"{who}: expected {len(names)} target(s), for the output(s) {list(names)}; got {len(given)}: {describe(y)}."
    )


def weights_of_outputs(weights: Nest, names: Names, who: str) -> list[Tensor | None]:
    """Sample weights for each output: the same for all, by name, or in order."""
    return [weights] * len(names) if weights is None else spread(weights, names, "sample_weight", who)


def masks_of_outputs(masks: Nest, count: int) -> list[Tensor | None]:
    """A mask or None for each output."""
    if masks is None:
        return [None] * count
    flat = flatten(masks)
    return flat if len(flat) == count else flat + [None] * (count - len(flat))


def unused(name: str, taken: Sequence[str]) -> str:
    """The name with Keras's number behind it if it is taken: accuracy, accuracy_1.

    >>> unused("accuracy", ["loss", "accuracy"])
    'accuracy_1'
    """
    count, free = 0, name
    while free in taken:
        count += 1
        free = f"{name}_{count}"
    return free
