"""A report in a terminal of any width and encoding."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len, chop_cells
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from torch_impl.verify.render import DIFF, HEAD, as_ascii, clean, legend, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import ConsoleOptions, RenderableType

    from torch_impl.verify.listing import Line, Listing
    from torch_impl.verify.render import Contents, Row

_STYLES = {"": "", "title": "bold", "right": "green", "wrong": "bold red", "could not be checked": "magenta"}
_MARKS = {"": "", "right": "green", "wrong": "bold red", "affected": "dim", "unmatched": "dim yellow"}
_DIFF = {"---": "bold", "+++": "bold", "@@": "cyan", "-": "red", "+": "green"}
_INDENT = 3


def terminal(contents: Contents, options: ConsoleOptions) -> Iterator[RenderableType]:
    """The parts one after another; the summary comes last, where the end of what a terminal prints is in view."""
    text = partial(in_terminal, options.encoding)
    yield text(contents.title.strip() or "Report", "title")
    yield from (Text(), _table(contents.rows, text)) if contents.rows else ()
    for i, found in enumerate(contents.findings, 1):
        yield Text()
        yield Text(" ").join([text(f"{i}. {found.tensor}:", "title"), text(found.mistake, found.verdict)])
        for label, said in found.lines:
            if label == DIFF:
                yield from _diff(said, options)
            else:
                yield Padding(text(label + said), (0, 0, 0, _INDENT), expand=False)
    for heading, listing in contents.listings:
        yield from (Text(), text(heading, "title"), *_listing(listing, options))
    for notes in (contents.notes, legend(contents.words)):
        yield from (Text(), *map(text, notes)) if notes else ()
    yield from (Text(), text(contents.summary, contents.verdict))


def in_terminal(encoding: str, text: str, style: str = "") -> Text:
    """The text for a terminal; the style is "title" or a verdict, of which those without an error are yellow."""
    return Text(as_ascii(clean(text), encoding), _STYLES.get(style, "yellow"))


def _code(encoding: str, text: str) -> str:
    return as_ascii(printable(text.expandtabs(4).rstrip()), encoding)


def _diff(diff: str, options: ConsoleOptions) -> Iterator[RenderableType]:
    room = max(options.max_width - _INDENT, 2)
    for line in diff.rstrip("\n").split("\n"):
        style = next((style for sign, style in _DIFF.items() if line.startswith(sign)), "dim")
        for piece in chop_cells(_code(options.encoding, line), room) or [""]:
            yield Text(" " * _INDENT + piece, style)


def _listing(listing: Listing, options: ConsoleOptions) -> Iterator[RenderableType]:
    """The lines with their verdicts at the right, one under the other where there is room for that."""
    margin = len(str(listing.lines[-1].number)) + 2
    room = max(options.max_width - margin, 2)
    known = [_cells(line, options.encoding) for line in listing.folded]
    longest = max((cell_len(code) for _, code, mark in known if mark), default=0)
    column = max(0, min(longest, room - max(mark.cell_len for *_, mark in known) - 2))
    for number, code, mark in known:
        pieces = chop_cells(code, room) or [""]
        numbers = [number] + [""] * (len(pieces) - 1)
        style = "bold" if mark.style == _MARKS["wrong"] else ""
        *above, row = [
            Text.assemble((f"{n:>{margin - 2}}  ", "dim"), (piece, style))
            for n, piece in zip(numbers, pieces, strict=True)
        ]
        yield from above
        used = cell_len(pieces[-1])
        gap = max(column - used, 0) + 2
        if not mark:
            yield row
        elif used + gap + mark.cell_len <= room:
            yield row.append(" " * gap).append_text(mark)
        else:  # under it
            yield from (row, Padding(mark, (0, 0, 0, margin + max(0, min(column, room - mark.cell_len))), expand=False))


def _cells(line: Line | str, encoding: str) -> tuple[str, str, Text]:
    """A line's number, code and mark; what stands for folded lines has the place of code."""
    if isinstance(line, str):
        return "", as_ascii(line, encoding), Text()
    mark = Text(as_ascii(clean(line.mark), encoding), _MARKS[line.verdict])
    return str(line.number), _code(encoding, line.text), mark


def _table(rows: Sequence[Row], text: Callable[..., Text]) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for i, name in enumerate(HEAD):
        grid.add_column(name, justify="right" if i > 1 else "left", no_wrap=i > 1, overflow="fold")
    indent = 0 if all(verdict for _, verdict, *_ in rows) else 2
    for name, verdict, *numbers in rows:
        first = Padding(text(name), (0, 0, 0, indent)) if verdict else text(name, "title")
        grid.add_row(first, text(verdict, verdict), *map(text, numbers))
    return grid
