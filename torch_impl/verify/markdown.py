"""A report in GitHub's Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from torch_impl.verify.listing import Line
from torch_impl.verify.render import CODE, DIFF, HEAD, clean, legend, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch_impl.verify.listing import Listing
    from torch_impl.verify.render import Contents, Found, Row

_WIDEST = 60  # characters: behind longer lines of code the verdict follows where they end


def markdown(contents: Contents) -> str:
    """The findings, the code and the table, to paste into an issue; the summary comes first."""
    parts = [f"## {escaped(contents.title) or 'Report'}", escaped(contents.summary)]
    parts += [_finding(i, found) for i, found in enumerate(contents.findings, 1)]
    for heading, listing in contents.listings:
        parts += [f"**{escaped(heading)}**, from line {listing.lines[0].number}:", fenced("python", _listing(listing))]
    parts += map(escaped, contents.notes)
    parts += [_table(contents.rows)] if contents.rows else []
    return "\n\n".join([*parts, *map(escaped, legend(contents.words))]) + "\n"


def _finding(number: int, found: Found) -> str:
    said = [f"{number}. **{escaped(found.tensor)}**: {code(found.mistake)}"]
    for label, text in found.lines:
        if label == DIFF:
            said += ["  " + line for line in fenced("diff", text.rstrip("\n").split("\n")).split("\n")]
        else:
            said.append(f"- {label}{(code if label in CODE else escaped)(text)}")
    return ("\n" + " " * len(f"{number}. ")).join(said)


def _listing(listing: Listing) -> list[str]:
    """The lines with their verdicts as comments, one under the other."""
    shown = [
        (line.text.expandtabs(4).rstrip(), clean(line.mark)) if isinstance(line, Line) else (line, "")
        for line in listing.folded
    ]
    column = max((len(text) for text, mark in shown if mark and len(text) <= _WIDEST), default=0)
    return [f"{text:{column}}  # {mark}" if mark else text for text, mark in shown]


def _table(rows: Sequence[Row]) -> str:
    lines = [" | ".join(HEAD), "--- | --- | ---: | ---:"]
    for name, verdict, *numbers in rows:
        first = escaped(name.replace("|", "∣"))  # a sign that looks alike and does not end a cell
        marked = f"**{verdict}**" if verdict in ("wrong", "could not be checked") else verdict
        lines.append(" | ".join([first if verdict else f"**{first}**", marked, *numbers]))
    return "\n".join(f"| {line} |" for line in lines)


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, wherever a line does not begin with it."""
    if re.search(r"@|\$|://|www\.|:[\w+-]+:|#\d", text):  # links, formulas, people, emojis: no backslash stops those
        return code(text)
    return re.sub(r"[\\`*\[<|&~#]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", clean(text))  # not _ inside a word


def code(text: str) -> str:
    """Text as code; a sign that looks alike stands for the one that would end it."""
    return f"`{clean(text).replace('`', 'ˋ') or ' '}`"


def fenced(language: str, lines: Iterable[str]) -> str:
    """Lines of code as a block, between fences that are longer than any in them."""
    text = "\n".join(printable(line.rstrip("\r")) for line in lines)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"
