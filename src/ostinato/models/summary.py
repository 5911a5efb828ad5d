"""`summary()`: a model as a table."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ostinato.core.diagram import index_of, is_chain, is_unbuilt, name_of, output_shape, parameters, rows
from ostinato.core.symbolic import Operation, SymbolicTensor
from ostinato.core.tracking import Weights


def summarize(model: Any, line_length: int | None = None) -> str:
    """The table as text: name and type, output shape, parameters, and connections where they are no plain chain."""
    found = rows(model)
    connected = not is_chain(found)
    table = Table(title=f'Model: "{escape(model.name)}"', title_justify="left", title_style="bold", show_lines=True)
    table.add_column("Layer (type)", overflow="fold")
    table.add_column("Output Shape", overflow="fold")
    table.add_column("Param #", justify="right")
    if connected:
        table.add_column("Connected to", overflow="fold")
    for row in found:
        cells = [_title(row.module), escape(output_shape(row)), _params(row.module)]
        if connected:
            sources = [_source(symbol) for call in row.calls for symbol in call.inputs]
            cells.append(escape(", ".join(sources) or "-"))
        table.add_row(*cells)
    out = io.StringIO()
    console = Console(
        file=out, width=line_length or (100 if connected else 80), color_system=None, legacy_windows=False
    )
    console.print(table)
    return out.getvalue() + _totals(model)


def _title(module: Any) -> str:
    kind = "torch function" if isinstance(module, Operation) else type(module).__name__
    return escape(f"{name_of(module)} ({kind})")


def _params(module: Any) -> str:
    return "0 (unbuilt)" if is_unbuilt(module) else f"{parameters(module):,}"


def _source(symbol: SymbolicTensor) -> str:
    assert symbol.node is not None
    return f"{name_of(symbol.node.call)}[{index_of(symbol)}]"


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
