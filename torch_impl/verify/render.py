"""What a report's texts, table and symbols look like in a terminal, as Markdown and as a page of HTML.

Names come from the user's code. In no form do they act as markup: all text passes ``in_terminal``, ``escaped`` or
``code``, and the page is made of the Markdown.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt
from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable

Row = tuple[str, str, str, str]  # as in _HEAD; one without a verdict is the heading of those below it
_HEAD = ("tensor", "verdict", "relative", "ulp")
_STYLES = {"": "", "title": "bold", "right": "green", "wrong": "bold red", "could not be checked": "magenta"}
SYMBOLS = {  # how each is recognised, and what it means
    "h": (r"\bh (=|is|has|holds)", "your gradient"),
    "a": (r"\bh (=|has|holds)|= a$", "autograd's"),
    "δ": ("δ", "the upstream gradient (from the loss's side)"),
    "upstream": ("upstream gradient", "the gradient that arrives from the loss's side"),
    "dy": (r"\bdy\b", "the gradient that arrives at y"),
    "B": (r"\bB\b", "the batch size"),
    "f′": ("f′", "the derivative of the activation f"),
    "z": (r"\bz\b", "the input of the activation"),
    "y in f′": (r"f′\(y\)|f′ = .*\by\b", "the output of f"),
    "p": (r"p − y|\bp \(1 − p\)|p \(g|g p", "the output of the sigmoid or softmax"),
    "y": ("p − y", "the target"),
    "g": (r"\(g −|\bg p|= g\b", "the gradient that arrives"),
    "x̂": ("x̂", "the normalised input"),
    "γ": ("γ", "the parameter that scales"),
    "μ": ("x − μ", "the mean"),
    "σ": ("σ", "the standard deviation"),
    "ε": ("ε", "a small constant that is added"),
    "lr": (r"\blr\b", "the learning rate"),
    "m": (r"\blr m|\bm by 1", "the running mean of the gradient"),
    "v": (r"√v|\bv by 1", "the running mean of its square"),
    "μ in μ v": ("μ v", "the momentum"),
    "m in dy m": (r"\bdy m", "the mask of the dropout"),
    "λ": ("λ", "the factor of the penalty or decay"),
    "Σ": ("Σ", "short for “the sum of”"),
    "∂": ("∂", "short for “the gradient of the loss with respect to”"),
    "∝": ("∝", "short for “is proportional to”"),
    "[z > 0]": (r"\[z > 0\]", "1 where z > 0 and 0 elsewhere"),
    "probe": (r"\bprobes?\b", "a set of inputs that was tried"),
    "kink": (r"\bkinks?\b", "a point where the derivatives from the left and from the right differ"),
    "relative": (r"\brelative\b", "the largest difference over the largest element of what torch computes"),
    "ulp": (r"\bulp\b", "that difference in units in the last place"),
}


def legend(text: str) -> list[str]:
    """A sentence that says what the symbols and words mean that need it and stand in the text; none for none."""
    said = [f"{name} is {what}" for name, (how, what) in SYMBOLS.items() if re.search(how, text, re.MULTILINE)]
    return [", ".join(said) + "."] if said else []


def clean(text: str) -> str:
    """The text on one line, with every character that is not printable, as an escape is, written as in Python."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text.split()))


_ASCII = {
    "′": "'", "“": '"', "”": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "−": "-", "·": "*", "…": "...", "×": "x",
    "←": "<-", "→": "->", "≥": ">=", "≤": "<=", "≠": "!=", "≈": "~=", "±": "+-", "∝": "~", "∞": "inf", "√": "sqrt",
    "²": "^2", "³": "^3", "ᵀ": "^T", "ᵗ": "^t", "₁": "1", "₂": "2", "½": "1/2", "\u0302": "_hat", "∂": "d", "Σ": "sum",
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "d", "ε": "eps", "λ": "lambda", "μ": "mu", "σ": "sigma",
}  # fmt: skip


def as_ascii(text: str, encoding: str = "ascii") -> str:
    """The text with what ``encoding`` lacks in ASCII: words for Greek letters and signs, else Python's escapes."""

    return "".join(c if c.encode(encoding, "ignore") else _ASCII.get(c) or ascii(c)[1:-1] for c in text)


def in_terminal(encoding: str, text: str, style: str = "") -> Text:
    """The text for a terminal; the style is "title" or a verdict, of which those without an error are yellow."""
    return Text(as_ascii(clean(text), encoding), _STYLES.get(style, "yellow"))


def table(rows: list[Row], text: Callable[..., Text]) -> Table:
    """The rows for a terminal of any width, each text of which is made with ``text``."""
    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for i, name in enumerate(_HEAD):
        grid.add_column(name, justify="right" if i > 1 else "left", no_wrap=i > 1, overflow="fold")
    indent = 0 if all(verdict for _, verdict, *_ in rows) else 2
    for name, verdict, *numbers in rows:
        first = Padding(text(name), (0, 0, 0, indent)) if verdict else text(name, "title")
        grid.add_row(first, text(verdict, verdict), *map(text, numbers))
    return grid


def markdown_table(rows: list[Row]) -> str:
    """The rows in GitHub's Markdown."""
    lines = [" | ".join(_HEAD), "--- | --- | ---: | ---:"]
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


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }} h2 + p {{ font-weight: bold; }}
body {{ max-width: 50rem; margin: auto; padding: 1rem; overflow-wrap: anywhere; font: 1rem/1.5 system-ui, sans-serif; }}
ul {{ list-style: none; padding: 0; }} ol > li {{ margin: 1rem 0; }} li p {{ margin: 0; }}
table {{ width: 100%; border-collapse: collapse; }} tr {{ border-bottom: 1px solid #8888; text-align: left; }}
td + td, th {{ overflow-wrap: normal; }} td + td strong {{ color: light-dark(#b3261e, #ff8a80); }}
</style>
{body}</html>
"""


def page(title: str, markdown: str) -> str:
    """The Markdown as a page of its own: no scripts, no links, nothing to load."""
    body = MarkdownIt("js-default").render(markdown)  # with this preset, HTML in the text is text
    return _PAGE.format(title=html.escape(clean(title)), body=body)
