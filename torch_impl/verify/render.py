"""What a report holds for a reader, whatever its form: texts, rows, code, and the symbols that need an explanation.

Names and code come from the user. In no form do they act as markup: all text passes ``clean`` or ``printable``, and
what its form (``terminal.py``, ``markdown.py``, ``page.py``) needs beside that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch_impl.verify.heat import Heat
    from torch_impl.verify.listing import Listing

Row = tuple[str, str, str, str]  # as in HEAD; one without a verdict is the heading of those below it
HEAD = ("tensor", "verdict", "relative", "ulp")
DIFF = "diff: "  # the label of a unified diff, which has lines
CODE = (
    "where: ",
    "first wrong: ",
    "formula: ",
    "numbers: ",
)  # labels of code and numbers; the others are those of sentences
SYMBOLS = {  # how each is recognised, and what it means
    "h": (r"\bh (=|is|has|holds)|\|h − a\|", "your gradient"),
    "a": (r"\bh (=|has|holds)|= a$|\|h − a\|", "autograd's"),
    "δ": ("δ", "the upstream gradient (from the loss's side)"),
    "upstream": ("upstream gradient", "the gradient that arrives from the loss's side"),
    "dy": (r"\bdy\b", "the gradient that arrives at y"),
    "B": (r"\bB\b", "the batch size"),
    "f′": ("f′", "the derivative of the activation f"),
    "z": (r"\bz\b", "the input of the activation"),
    "y in f′": (r"f′\(y\)|f′ = .*\by\b", "the output of f"),
    "p": (r"p − y|\bp \(1 − p\)|\bp \(g|\bg p\b", "the output of the sigmoid or softmax"),
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
    "∂": (r"(?<!/)∂(?!L/)", "short for “the gradient of the loss with respect to”"),
    "∝": ("∝", "short for “is proportional to”"),
    "[z > 0]": (r"\[z > 0\]", "1 where z > 0 and 0 elsewhere"),
    "probe": (r"\bprobes?\b", "a set of inputs that was tried"),
    "kink": (r"\bkinks?\b", "a point where the derivatives from the left and from the right differ"),
    "∂L/∂z": ("∂L/∂", "the gradient of the loss with respect to z"),
    "✓": ("^✓", "a value that equals what stands beside it"),
    "✗": ("^✗", "the first value that is wrong"),
    "“affected”": ("^affected", "a value that something wrong went into"),
    "“matches nothing”": ("^matches nothing", "a value that equals no gradient that is known"),
    "relative": (r"\brelative\b", "the largest difference over the largest element of what torch computes"),
    "ulp": (r"\bulp\b", "that difference in units in the last place"),
}


def symbols(text: str) -> list[tuple[str, str]]:
    """The symbols and words that need an explanation and stand in the text, each with what it is."""
    return [(name, what) for name, (how, what) in SYMBOLS.items() if re.search(how, text, re.MULTILINE)]


def legend(text: str) -> list[str]:
    """The symbols of the text in a sentence; none for none."""
    said = [f"{name} is {what}" for name, what in symbols(text)]
    return [", ".join(said) + "."] if said else []


def printable(text: str) -> str:
    """The text with every character that is neither printable nor a tab, as an escape is, written as in Python."""
    return "".join(c if c.isprintable() or c == "\t" else ascii(c)[1:-1] for c in text)


def clean(text: str) -> str:
    """The text on one line, printable."""
    return printable(" ".join(text.split()))


_ASCII = {
    "′": "'", "“": '"', "”": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "−": "-", "·": "*", "…": "...", "×": "x",
    "←": "<-", "→": "->", "≥": ">=", "≤": "<=", "≠": "!=", "≈": "~=", "±": "+-", "∝": "~", "∞": "inf", "√": "sqrt",
    "²": "^2", "³": "^3", "ᵀ": "^T", "ᵗ": "^t", "₁": "1", "₂": "2", "½": "1/2", "\u0302": "_hat", "∂": "d", "Σ": "sum",
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "d", "ε": "eps", "λ": "lambda", "μ": "mu", "σ": "sigma",
    "✓": "ok", "✗": "x",
}  # fmt: skip


def as_ascii(text: str, encoding: str = "ascii") -> str:
    """The text with what ``encoding`` lacks in ASCII: words for Greek letters and signs, else Python's escapes."""

    return "".join(c if c.encode(encoding, "ignore") else _ASCII.get(c) or ascii(c)[1:-1] for c in text)


class Found(Protocol):
    """A finding: its heading, and labels with texts below it."""

    @property
    def tensor(self) -> str: ...
    @property
    def mistake(self) -> str: ...
    @property
    def verdict(self) -> str: ...
    @property
    def lines(self) -> list[tuple[str, str]]: ...


@dataclass(frozen=True)
class Contents:
    """A report as its forms show it; ``words`` is all that may hold symbols that need an explanation."""

    title: str
    verdict: str
    summary: str
    findings: Sequence[Found]
    listings: Sequence[tuple[str, Listing]]
    heats: Sequence[Heat]
    rows: Sequence[Row]
    notes: Sequence[str]
    words: str
