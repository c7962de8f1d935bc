"""What ``lmlab models show`` prints: all that a file says of a model, or of several side by side.

Knows nothing of where the facts come from.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmlab.cli.models_table import count_text, path_text
from lmlab.models import size_text
from lmlab.sampling import BY_NAME
from lmlab.terminal_text import one_line

if TYPE_CHECKING:
    from lmlab.models.card import Card
    from lmlab.models.hyperparameters import Hyperparameters, PerLayer

_DIFFERS = "≠"
_TEMPLATE_SHOWN = 200
_TEMPLATE_SHOWN_BESIDE = 60
_NONE = "–"
_GAP = 2
_LEAST = 20
# Two copies of a model have these apart and are the same model.
_NEVER_MARKED = ("reference", "file")


@dataclass(frozen=True, slots=True)
class Row:
    """``values``: one for each model, ``–`` where it has no such thing."""

    section: str
    label: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1 and self.label not in _NEVER_MARKED


def rows(cards: Sequence[Card], available: int) -> list[Row]:
    """Return what there is to say, in order; what no model has is left out."""
    shown = _TEMPLATE_SHOWN if len(cards) == 1 else _TEMPLATE_SHOWN_BESIDE
    said = [dict(_said(card, available, shown)) for card in cards]
    # In the order of whichever model has a line, for of tensor types each has its own.
    keys = list(dict.fromkeys(key for one in said for key in one))
    order = {section: index for index, section in enumerate(dict.fromkeys(section for section, _ in keys))}
    keys.sort(key=lambda key: order[key[0]])
    lines = [Row(*key, tuple(one.get(key, _NONE) for one in said)) for key in keys]
    return [line for line in lines if any(value != _NONE for value in line.values)]


def text(rows: Sequence[Row], *, width: int | None) -> str:
    """Return the rows in aligned columns, sections apart, ``≠`` before what differs; None is as wide as it needs."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    count = len(rows[0].values)
    marked = count > 1
    label = max(cell_len(row.label) for row in rows)
    needed = [max(cell_len(row.values[index]) for row in rows) for index in range(count)]
    fixed = label + _GAP + (cell_len(_DIFFERS) + _GAP if marked else 0)
    room = (width or sum(needed) + fixed + _GAP * count) - fixed - _GAP * (count - 1)
    each = [min(need, max(room // count, _LEAST)) for need in needed]
    lines = []
    for section in dict.fromkeys(row.section for row in rows):
        drawn = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), show_header=False)
        if marked:
            drawn.add_column(width=cell_len(_DIFFERS))
        drawn.add_column(width=label)
        for wide in each:
            drawn.add_column(width=wide, overflow="fold")
        for row in rows:
            if row.section == section:
                mark = [Text(_DIFFERS if row.differs else "")] if marked else []
                drawn.add_row(*mark, Text(row.label), *map(Text, row.values))
        console = Console(file=io.StringIO(), color_system=None, width=fixed + sum(each) + _GAP * count)
        with console.capture() as capture:
            console.print(drawn)
        lines.append("".join(line.rstrip() + "\n" for line in capture.get().splitlines()))
    return "\n".join(lines)


def terminal_width() -> int:
    return shutil.get_terminal_size().columns


def _said(card: Card, available: int, template: int) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield section, label and value of every line of one model."""
    for section, lines in (
        ("model", _identity(card)),
        ("shape", _shape(card.shape)),
        ("weights", _weights(card)),
        ("memory", _memory(card, available)),
        ("use", _use(card, template)),
    ):
        for label, value in lines:
            yield (section, label), value or _NONE


def _identity(card: Card) -> Iterator[tuple[str, str]]:
    yield "reference", one_line(path_text(card.ref), 400)
    yield "name", one_line(card.name)
    yield "architecture", one_line(card.architecture)
    yield "file", one_line(path_text(str(card.files[0])), 400) + _more(len(card.files) - 1)
    yield "size", f"{size_text(card.size)} ({card.size:,} bytes)"
    yield "licence", one_line(card.licence or "")
    yield "fingerprint", card.fingerprint


def _shape(shape: Hyperparameters) -> Iterator[tuple[str, str]]:
    exact = f"{shape.parameters:,}"
    yield "parameters", f"{count_text(shape.parameters)} ({exact})" if shape.parameters >= 1_000_000 else exact
    yield "vocabulary", _number(shape.vocabulary)
    yield "layers", _number(shape.layers)
    yield "embedding", _number(shape.embedding)
    yield "heads", _each_layer(shape.heads)
    yield "KV heads", _each_layer(shape.kv_heads)
    yield "head size", _head_size(shape)
    yield "feed-forward", _each_layer(shape.feed_forward)
    yield "experts", _experts(shape)
    yield "state size", _number(shape.state_size)
    yield "context", f"{shape.context:,} tokens" if shape.context else ""
    yield "sliding window", _window(shape)
    yield "rope", _rope(shape)
    yield "tokenizer", one_line(shape.tokenizer or "")


def _weights(card: Card) -> Iterator[tuple[str, str]]:
    yield "quantization", one_line(card.quantization)
    for kind in card.kinds:
        tensors = "1 tensor" if kind.count == 1 else f"{kind.count:,} tensors"
        yield f"  {kind.name}", f"{tensors}, {count_text(kind.weights)}, {size_text(kind.size)}"


def _memory(card: Card, available: int) -> Iterator[tuple[str, str]]:
    yield "weights", _precise(card.weights)
    if card.kv is None:
        yield "KV, 1,000 tokens", "its header does not tell"
    elif not card.kv.keys:
        yield "KV, 1,000 tokens", "none"
    else:
        per_type = card.kv_per_thousand()
        for kind, size in per_type.items():
            yield f"KV, 1,000 tokens, {kind}", _precise(size)
    if card.kv is not None and card.kv.state != 0:
        yield "state of a sequence", "not known here" if card.kv.state is None else _precise(card.kv.state)
    needs = card.needs
    fits = {"yes": "fits", "short": "only a shorter context fits", "no": "does not fit"}[needs.fit(available)]
    yield (
        f"with {needs.context:,} tokens",
        f"{size_text(needs.usual)} in all: {fits} into {size_text(available)}",
    )


def _use(card: Card, shown: int) -> Iterator[tuple[str, str]]:
    recommended = card.recommended.to_dict()
    said = ", ".join(f"{BY_NAME[name].label} {BY_NAME[name].format(value)}" for name, value in recommended.items())
    yield "recommended sampling", said or "none in the file"
    template = card.chat_template
    if template is None:
        yield "chat template", "none: a base model"
        return
    yield "chat template", one_line(template, shown)
    yield "  its length", f"{len(template):,} characters, hash {card.template_hash}"


def _precise(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if 1e6 <= size < 1e9 else size_text(size)


def _more(count: int) -> str:
    return "" if count == 0 else f" and {count} more part{'s' if count > 1 else ''}"


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _each_layer(value: PerLayer | None) -> str:
    if isinstance(value, tuple):
        return f"{min(value):,} to {max(value):,}, by layer"
    return _number(value)


def _head_size(shape: Hyperparameters) -> str:
    if shape.value_size and shape.value_size != shape.head_size:
        return f"{_number(shape.head_size)}, of values {shape.value_size:,}"
    return _number(shape.head_size)


def _experts(shape: Hyperparameters) -> str:
    if not shape.experts:
        return ""
    parts = [f"{shape.experts:,}, of which {shape.experts_used or '?'} are used"]
    if shape.experts_shared:
        parts.append(f"{shape.experts_shared} more always")
    if shape.expert_feed_forward:
        parts.append(f"feed-forward {shape.expert_feed_forward:,} each")
    return "; ".join(parts)


def _window(shape: Hyperparameters) -> str:
    if not shape.sliding_window:
        return ""
    layers = (
        f" in {shape.windowed_layers} of {shape.layers} layers"
        if shape.windowed_layers is not None and shape.layers
        else ""
    )
    return f"{shape.sliding_window:,} tokens{layers}"


def _rope(shape: Hyperparameters) -> str:
    rope = shape.rope
    parts = []
    if rope.base:
        parts.append(
            f"base {rope.base:,.10g}" + (f" (windowed layers {rope.base_window:,.10g})" if rope.base_window else "")
        )
    if rope.dimensions:
        parts.append(f"{rope.dimensions} dimensions")
    if rope.scaling:
        factor = f" times {rope.factor:g}" if rope.factor else ""
        trained = f" from {rope.original_context:,} tokens" if rope.original_context else ""
        parts.append(f"{one_line(rope.scaling, 20)} scaling{factor}{trained}")
    return ", ".join(parts)
