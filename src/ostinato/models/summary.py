"""`summary()`: a model as a table."""

from __future__ import annotations

import io
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ostinato.core.layer import Layer
from ostinato.core.symbolic import Node, Operation, SymbolicTensor
from ostinato.core.tracking import Weights
from ostinato.recurrence.nests import flatten


def summarize(model: Any, line_length: int | None = None) -> str:
    """The table as text: name and type, output shape, parameters, and connections where they are no plain chain."""
    nodes = _nodes(model)
    rows = list(nodes) or model.layers
    connected = bool(nodes) and not _is_chain(list(nodes.values()))
    table = Table(title=f'Model: "{escape(model.name)}"', title_justify="left", title_style="bold", show_lines=True)
    table.add_column("Layer (type)", overflow="fold")
    table.add_column("Output Shape", overflow="fold")
    table.add_column("Param #", justify="right")
    if connected:
        table.add_column("Connected to", overflow="fold")
    for module in rows:
        node = nodes.get(module)
        cells = [_title(module), escape(_shape(module, node)), _params(module)]
        if connected:
            cells.append(escape(", ".join(_source(symbol) for symbol in node.inputs)) if node and node.inputs else "-")
        table.add_row(*cells)
    out = io.StringIO()
    console = Console(
        file=out, width=line_length or (100 if connected else 80), color_system=None, legacy_windows=False
    )
    console.print(table)
    return out.getvalue() + _totals(model)


def _nodes(model: Any) -> dict[torch.nn.Module, Node]:
    """What each module was called on, for a drawn model or a built Sequential."""
    symbols = getattr(model, "_symbols", None)
    if symbols:
        return {symbol.node.call: symbol.node for symbol in symbols[1:]}
    if symbols is not None or model._graph is None:
        return {}
    found: dict[torch.nn.Module, Node] = {}
    for node in model._graph.nodes:
        found.setdefault(node.call, node)
    return found


def _is_chain(nodes: list[Node]) -> bool:
    return all(len(node.inputs) <= 1 for node in nodes) and len([node for node in nodes if not node.inputs]) <= 1


def _title(module: Any) -> str:
    name = getattr(module, "name", None) or type(module).__name__.lower()
    kind = "torch function" if isinstance(module, Operation) else type(module).__name__
    return escape(f"{name} ({kind})")


def _shape(module: Any, node: Node | None) -> str:
    if node is not None:
        shapes = [str(symbol.shape) for symbol in flatten(node.outputs)]
        return shapes[0] if len(shapes) == 1 else f"[{', '.join(shapes)}]"
    seen = getattr(module, "_build_shape", None)
    if seen is None or not isinstance(module, Layer) or not module.built or isinstance(seen, (list, dict)):
        return "?"
    if type(module).compute_output_shape is not Layer.compute_output_shape:
        return str(module.compute_output_shape((None, *seen[1:])))
    return "?"


def _params(module: Any) -> str:
    if isinstance(module, Layer) and not module.built and module._makes_weights():
        return "0 (unbuilt)"
    return f"{sum(weight.numel() for weight in Weights(module).all):,}"


def _source(symbol: SymbolicTensor) -> str:
    node = symbol.node
    assert node is not None
    index = next(i for i, each in enumerate(flatten(node.outputs)) if each is symbol)
    return f"{getattr(node.call, 'name', None) or type(node.call).__name__.lower()}[{index}]"


def _totals(model: Any) -> str:
    weights = Weights(model)
    lines = []
    for what, tensors in (
        ("Total params", weights.all),
        ("Trainable params", weights.trainable),
        ("Non-trainable params", weights.fixed),
    ):
        count = sum(tensor.numel() for tensor in tensors)
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        lines.append(f" {what}: {count:,} ({_bytes(size)})")
    return "\n".join(lines)


def _bytes(size: float) -> str:
    for unit in ("B", "KB", "MB"):
        if size < 1024:
            return f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} GB"
