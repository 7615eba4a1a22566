"""One content, three forms: what a report says as a list of blocks, for a terminal, as Markdown, as a page of HTML.

Names come from the user's code. In no form do they act as markup: every printer has one function that all text passes.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from rich import box
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.console import Console, ConsoleOptions, RenderableType

CODE = ("where", "formula", "numbers")  # the labels of lines that hold code or numbers; others are sentences

_STYLES = {  # verdict -> style in a terminal, class in HTML
    "right": ("green", "right"),
    "right, but": ("yellow", "aside"),
    "convention": ("yellow", "aside"),
    "rounding": ("yellow", "aside"),
    "wrong": ("bold red", "wrong"),
}
_ASCII = {
    "′": "'", "“": '"', "”": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "−": "-", "·": "*", "…": "...", "×": "x",
    "←": "<-", "→": "->", "≥": ">=", "≤": "<=", "≠": "!=", "≈": "~=", "±": "+-", "∝": "~", "∞": "inf", "√": "sqrt",
    "²": "^2", "³": "^3", "ᵀ": "^T", "ᵗ": "^t", "₁": "1", "₂": "2", "½": "1/2", "\u0302": "_hat", "∂": "d", "Σ": "sum",
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "d", "ε": "eps", "λ": "lambda", "μ": "mu", "σ": "sigma",
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A title, the summary, a note or a legend."""

    kind: Literal["title", "summary", "note", "legend"]
    text: str
    verdict: str = ""


@dataclass(frozen=True)
class Entry:
    """A finding: its number, the tensor, the mistake, a remark beside that, and labelled lines."""

    number: int
    name: str
    mistake: str
    aside: str
    verdict: str
    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """Rows of a name, a verdict, relative and ulp; one without a verdict is the heading of those below it."""

    rows: tuple[tuple[str, str, float, float], ...]


Block: TypeAlias = Line | Entry | Table


def clean(text: str) -> str:
    """The text on one line, with every character that is not printable, as an escape is, written as in Python."""
    letters = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(text.split()))
    return "".join(letters)


def as_ascii(text: str, encoding: str = "ascii") -> str:
    """The text with what ``encoding`` lacks in ASCII: words for Greek letters and signs, else Python's escapes."""

    def letter(c: str) -> str:
        try:
            c.encode(encoding)
        except UnicodeEncodeError:
            return _ASCII.get(c) or c.encode("ascii", "backslashreplace").decode()
        return c

    return "".join(map(letter, text))


# --- legend -----------------------------------------------------------------------------------------------------------

_HEAD = ("tensor", "verdict", "relative", "ulp")
_SYMBOLS = {  # how each is recognised, and what it means
    "h": (r"\bh( =|/a| has| holds)", "your gradient"),
    "a": (r"\bh( =|/a| has| holds)|= a$", "autograd's"),
    "δ": ("δ", "the upstream gradient (from the loss's side)"),
    "upstream": ("upstream gradient", "the gradient that arrives from the loss's side"),
    "B": (r"\bB\b", "the batch size"),
    "f′": ("f′", "the derivative of the activation f"),
    "z": (r"\bz\b", "the input of the activation"),
    "a in f′": (r"f′\(a\)|in the place of a\b", "the output of f"),
    "p": (r"p − y|\bp \(1 − p\)|p \(g|g p", "the output of the sigmoid or softmax"),
    "y": ("p − y", "the target"),
    "g": (r"\(g −|\bg p|= g\b", "the gradient that arrives"),
    "x̂": ("x̂", "the normalised input"),
    "σ": ("σ", "the standard deviation"),
    "lr": (r"\blr\b", "the learning rate"),
    "m": (r"\blr m|\bm by 1", "the running mean of the gradient"),
    "v": (r"√v|\bv by 1", "the running mean of its square"),
    "λ": ("λ", "the factor of the penalty or decay"),
    "∝": ("∝", "short for “is proportional to”"),
    "[z > 0]": (r"\[z > 0\]", "1 where z > 0 and 0 elsewhere"),
    "probe": (r"\bprobes?\b", "a set of inputs that was tried"),
    "kink": (r"\bkinks?\b", "a point where the derivatives from the left and from the right differ"),
    "relative": (r"\brelative\b", "the largest difference over the largest element of what torch computes"),
    "ulp": (r"\bulp\b", "that difference in units in the last place"),
}


def symbols(blocks: Iterable[Block]) -> dict[str, str]:
    """The symbols and words that need an explanation and stand in the blocks, with what they mean."""
    texts: list[str] = []
    for block in blocks:
        if isinstance(block, Table):
            texts += ["relative and ulp"] if any(row[2] == row[2] for row in block.rows) else []
        elif isinstance(block, Entry):  # after "In NAME: ", and not in a line of code: a name is no symbol
            texts += [text if label else text.partition(": ")[2] for label, text in block.lines if label != "where"]
        elif block.kind == "note":
            texts.append(block.text)
    return {name: what for name, (how, what) in _SYMBOLS.items() if any(re.search(how, text) for text in texts)}


def labelled(label: str, text: str) -> str:
    """A line of a finding."""
    return f"{label}: {text}" if label else text


def sentence(meanings: dict[str, str]) -> list[str]:
    """One sentence that says what each means; none where there is nothing to say."""
    return [", ".join(f"{name} is {what}" for name, what in meanings.items()) + "."] if meanings else []


def _cells(row: tuple[str, str, float, float]) -> tuple[str, ...]:
    name, verdict, relative, ulp = row
    numbers = f"{relative:.1e}" if relative else "0", f"{ulp:.1f}" if ulp < 1e4 else f"{ulp:.0e}"
    signs = {"nan": "", "inf": "∞"}
    return name, verdict, *(signs.get(number, number) for number in numbers)


# --- terminal ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Terminal:
    """The blocks for a console of any width and encoding."""

    blocks: tuple[Block, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[RenderableType]:
        def text(content: str, style: str = "") -> Text:
            return Text(as_ascii(clean(content), options.encoding), style)

        for i, block in enumerate(self.blocks):
            if i and not (isinstance(block, Line) and block.kind == getattr(self.blocks[i - 1], "kind", "")):
                yield Text()
            if isinstance(block, Table):
                yield _grid(block, text)
            elif isinstance(block, Entry):
                name, mistake = f"{block.number}. {block.name}:", text(block.mistake, _look(block.verdict)[0])
                yield Text(" ").join([text(name, "bold"), mistake, text(block.aside)])
                yield from (Padding(text(labelled(*line)), (0, 0, 0, 3), expand=False) for line in block.lines)
            else:
                style = {"title": "bold", "summary": _look(block.verdict)[0]}.get(block.kind, "")
                yield text(block.text, style)


def _grid(table: Table, text: Callable[..., Text]) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for i, name in enumerate(_HEAD):
        grid.add_column(name, justify="right" if i > 1 else "left", no_wrap=i > 1, overflow="fold")
    indent = 0 if all(verdict for _, verdict, *_ in table.rows) else 2
    for name, verdict, *numbers in map(_cells, table.rows):
        first = Padding(text(name), (0, 0, 0, indent)) if verdict else text(name, "bold")
        grid.add_row(first, text(verdict, _look(verdict)[0]), *map(text, numbers))
    return grid


def _look(verdict: str) -> tuple[str, str]:
    return _STYLES.get(verdict, ("magenta", "unchecked"))


# --- Markdown ---------------------------------------------------------------------------------------------------------


def markdown(blocks: Iterable[Block]) -> str:
    """The blocks in GitHub's Markdown, to paste into an issue."""
    return "\n\n".join(map(_paragraph, blocks)) + "\n"


def _paragraph(block: Block) -> str:
    if isinstance(block, Table):
        lines = [f"| {' | '.join(_HEAD)} |", "| --- | --- | ---: | ---: |"]
        for name, verdict, *numbers in map(_cells, block.rows):
            first = _escaped(name, in_table=True)
            lines.append(f"| {' | '.join([first if verdict else f'**{first}**', verdict, *numbers])} |")
        return "\n".join(lines)
    if isinstance(block, Entry):
        number = f"{block.number}. "
        said = (labelled(label, (_code if label in CODE else _escaped)(text)) for label, text in block.lines)
        head = f"{number}**{_escaped(block.name)}**: {_code(block.mistake)} {_escaped(block.aside)}"
        return "\n".join([head.rstrip(), *(" " * len(number) + f"- {line}" for line in said)])
    return f"**{_escaped(block.text)}**" if block.kind == "title" else _escaped(block.text)


def _escaped(text: str, in_table: bool = False) -> str:
    """Text that Markdown shows as it is."""
    text = clean(text)
    if re.search(r"@|\$|://|www\.|:[\w+-]+:|#\d", text):  # links, formulas, people, emojis: no backslash stops those
        return _code(text, in_table)
    text = re.sub(r"([\\`*\[\]<>|&~])", r"\\\1", text)
    text = re.sub(r"(?<![^\W_])_+|_+(?![^\W_])", lambda run: "\\_" * len(run[0]), text)  # not those inside a word
    return re.sub(r"^(\d+(?=[.)](?:\s|$))|(?=[-+#=]))", r"\1\\", text)  # what would begin a heading or a list


def _code(text: str, in_table: bool = False) -> str:
    """Text as code, between more backticks than it holds."""
    text = clean(text) or " "
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    if in_table:  # a table sees its pipes before the code; a backslash before one would take its escape away
        text = text.replace("\\|", "\\ |").replace("|", "\\|")
    return f"{fence} {text} {fence}" if "`" in (text[0], text[-1]) else f"{fence}{text}{fence}"


# --- HTML -------------------------------------------------------------------------------------------------------------

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --text: #1d1d1f; --page: #fff; --soft: #f4f4f6; --line: #d5d5da; }}
.wrong {{ color: #b3261e; }} .aside {{ color: #7a5200; }} .right {{ color: #1a6b2d; }} .unchecked {{ color: #6b3fa0; }}
@media (prefers-color-scheme: dark) {{
:root {{ --text: #e8e8ea; --page: #17171a; --soft: #242429; --line: #44444c; }}
.wrong {{ color: #ff8a80; }} .aside {{ color: #f2c14e; }} .right {{ color: #7fd18b; }} .unchecked {{ color: #cba6ff; }}
}}
body {{ max-width: 50rem; margin: auto; padding: 1rem; overflow-wrap: anywhere; font: 1rem/1.5 system-ui, sans-serif;
  color: var(--text); background: var(--page); }}
h1 {{ font-size: 1.4rem; }} h2 {{ font-size: 1.1rem; margin: 0; }} .summary {{ font-weight: 600; }}
section {{ border-left: .25rem solid; padding: .5rem 1rem; margin: 1rem 0; background: var(--soft); }}
section p {{ color: var(--text); margin: .25rem 0; }} table {{ width: 100%; border-collapse: collapse; }}
code, td.number {{ font: .9em/1.5 ui-monospace, monospace; }}
th, td {{ text-align: left; vertical-align: top; padding: .2rem .4rem .2rem 0; border-bottom: 1px solid var(--line); }}
.number {{ text-align: right; white-space: nowrap; }} td + td, thead th {{ overflow-wrap: normal; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def page(title: str, blocks: Iterable[Block]) -> str:
    """The blocks as a page of its own: no scripts, no links, nothing to load."""
    return _PAGE.format(title=_plain(title), body="\n".join(map(_element, blocks)))


def _element(block: Block) -> str:
    if isinstance(block, Table):
        head = "".join(f'<th scope="col"{_NUMBER * (i > 1)}>{name}</th>' for i, name in enumerate(_HEAD))
        rows = "\n".join(_row(*map(_plain, _cells(row))) for row in block.rows)
        return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"
    look = _look(block.verdict)[1]
    if isinstance(block, Entry):
        texts = ((label, f"<code>{_plain(t)}</code>" if label in CODE else _plain(t)) for label, t in block.lines)
        lines = "".join(f"<p>{f'<b>{label}:</b> ' * bool(label)}{text}</p>\n" for label, text in texts)
        heading = _plain(f"{block.number}. {block.name}: {block.mistake} {block.aside}")
        return f'<section class="{look}">\n<h2>{heading}</h2>\n{lines}</section>'
    if block.kind == "title":
        return f"<h1>{_plain(block.text)}</h1>"
    return f'<p class="{f"summary {look}" if block.kind == "summary" else block.kind}">{_plain(block.text)}</p>'


_NUMBER = ' class="number"'


def _row(name: str, verdict: str, *numbers: str) -> str:
    if not verdict:
        return f'<tr><th colspan="{2 + len(numbers)}" scope="colgroup">{name}</th></tr>'
    cells = "".join(f"<td{_NUMBER}>{number}</td>" for number in numbers)
    return f'<tr><td>{name}</td><td class="{_look(verdict)[1]}">{verdict}</td>{cells}</tr>'


def _plain(text: str) -> str:
    return html.escape(clean(text))
