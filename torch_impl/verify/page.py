"""A report as a page of HTML, and as the part of one that a notebook shows."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from torch_impl.verify.heat import level
from torch_impl.verify.render import CODE, DIFF, HEAD, clean, printable, symbols
from torch_impl.verify.styles import NAME, STYLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torch_impl.verify.heat import Heat
    from torch_impl.verify.listing import Listing
    from torch_impl.verify.render import Contents, Found, Row

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ margin: 0; background: light-dark(#ffffff, #16181d); }}
</style>
{body}
</html>
"""
_CLASSES = {"": "", "right": "right", "wrong": "wrong"}  # of verdicts; the others are between the two
_DIFF = {"---": "dim", "+++": "dim", "@@": "hunk", "-": "del", "+": "add"}
_CELL = 14  # pixels
_SCALE = ("right", "to 0.001", "to 0.01", "to 0.1", "to 1", "above 1", "not finite")


def page(contents: Contents) -> str:
    """A page of its own: no scripts, no links, nothing to load."""
    return _PAGE.format(title=_text(contents.title), body=fragment(contents))


def fragment(contents: Contents) -> str:
    """The report as one element, whose styles are for what is inside it alone."""
    return f'<article class="{NAME}">\n<style>\n{STYLES}\n</style>\n{"".join(_parts(contents))}</article>'


def _parts(contents: Contents) -> Iterator[str]:
    yield f"<h1>{_text(contents.title) or 'Report'}</h1>\n"
    yield f'<p class="summary {_CLASSES.get(contents.verdict, "other")}">{_text(contents.summary)}</p>\n'
    if contents.findings:
        yield "<h2>Findings</h2>\n"
        yield from (_finding(i, found) for i, found in enumerate(contents.findings, 1))
    if contents.listings:
        yield "<h2>Your backward, line by line</h2>\n"
        yield from (f"<h3>{_text(heading)}</h3>\n{_listing(listing)}" for heading, listing in contents.listings)
    if contents.heats:
        yield "<h2>Where they differ</h2>\n"
        yield "<p>|h − a| over the largest |a|: the leading axes are the rows, the last axis is the columns. "
        yield "Where there are many, a cell is the largest of its neighbours.</p>\n"
        yield f'{_scale()}<div class="heats">\n{"".join(map(_heat, contents.heats))}</div>\n'
    if contents.rows:
        yield f"<h2>Every tensor</h2>\n{_table(contents.rows)}"
    if contents.notes:
        yield "<h2>Notes</h2>\n" + "".join(f"<p>{_text(note.removeprefix('Note: '))}</p>\n" for note in contents.notes)
    if explained := symbols("\n".join([contents.words, "|h − a|" * bool(contents.heats)])):
        said = "".join(f"<dt>{_text(name)}</dt><dd>{_text(what)}</dd>\n" for name, what in explained)
        yield f"<h2>Symbols and words</h2>\n<dl>\n{said}</dl>\n"


def _text(text: str) -> str:
    return html.escape(clean(text))


def _code(text: str) -> str:
    return html.escape(printable(text.rstrip()))


def _finding(number: int, found: Found) -> str:
    style = _CLASSES.get(found.verdict, "other")
    parts = [f'<h3>{number}. {_text(found.tensor)}: <code class="{style}">{_text(found.mistake)}</code></h3>\n']
    for label, text in found.lines:
        if label == DIFF:
            lines = text.rstrip("\n").split("\n")
            parts.append(f"<pre>{''.join(map(_changed, lines))}</pre>\n")
            continue
        said = f"<code>{_text(text)}</code>" if label in CODE else _text(text)
        parts.append(f'<p><span class="label">{label}</span>{said}</p>\n')
    return f'<section class="finding">{"".join(parts)}</section>\n'


def _changed(line: str) -> str:
    style = next((style for sign, style in _DIFF.items() if line.startswith(sign)), "")
    return f'<span class="{style}">{_code(line)}</span>'


def _listing(listing: Listing) -> str:
    rows = (
        f'<tr class="{"first" * (line.verdict == "wrong")}"><td>{line.number}</td>'
        f'<td><code>{_code(line.text)}</code></td><td class="{line.verdict}">{_text(line.mark)}</td></tr>\n'
        for line in listing.lines
    )
    return f'<table class="code">\n{"".join(rows)}</table>\n'


def _heat(heat: Heat) -> str:
    high, wide = len(heat.grid), len(heat.grid[0])
    cells: dict[int, str] = {}
    for y, row in enumerate(heat.grid):
        for x, value in enumerate(row):
            cells[level(value)] = cells.get(level(value), "") + f"M{x} {y}h.92v.92h-.92z"
    paths = "".join(f'<path class="heat-{i}" d="{path}"/>' for i, path in sorted(cells.items()))
    size = f'width="{wide * _CELL}" height="{high * _CELL}" viewBox="0 0 {wide} {high}"'
    return (
        f"<figure><figcaption><b>{_text(heat.tensor)}</b>: {_text(heat.said)}</figcaption>"
        f'<svg {size} role="img" aria-label="{_text(heat.said)}">{paths}</svg></figure>\n'
    )


def _scale() -> str:
    box = '<svg width="14" height="14" viewBox="0 0 1 1"><path class="heat-{}" d="M0 0h1v1h-1z"/></svg>'
    return f'<ul class="scale">{"".join(f"<li>{box.format(i)}{said}</li>" for i, said in enumerate(_SCALE))}</ul>\n'


def _table(rows: Sequence[Row]) -> str:
    def cells(tag: str, texts: Iterable[str], style: str = "") -> str:
        styles = ("", style, "number", "number")
        made = (f'<{tag} class="{style}">{_text(text)}</{tag}>' for text, style in zip(texts, styles, strict=True))
        return f"<tr>{''.join(made)}</tr>\n"

    lines = [cells("th", HEAD)]
    for name, verdict, *numbers in rows:
        heading = f'<tr><th colspan="4">{_text(name)}</th></tr>\n'
        lines.append(cells("td", (name, verdict, *numbers), _CLASSES.get(verdict, "other")) if verdict else heading)
    return f"<table>\n{''.join(lines)}</table>\n"
