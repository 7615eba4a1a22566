"""The text of a file after an edit: what the edit does not touch stays as the author wrote it, to the character."""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from torch_impl.verify.repair.build import SYMBOLS
from torch_impl.verify.repair.records import Edit

_ATOM = 20
_LEVELS = {
    "|": 7, "^": 8, "&": 9, "<<": 10, ">>": 10, "+": 11, "-": 11, "*": 12, "/": 12, "//": 12, "%": 12, "@": 12,
}  # fmt: skip
Splice = tuple[int, int, str]


def edited_text(text: str, tree: ast.Module, edit: Edit) -> str:
    """The whole text after ``edit``; ``tree`` is ``ast.parse(text)``, and is left as it was.

    The new text is proven: it parses to the edited tree. ValueError if no text can be found that does.
    """
    source = _Source(text, tree)
    with edit.applied():
        wanted = ast.dump(tree)
    for bracketed in (0, 1, 2):
        splices = [s for change in edit.changes for s in source.splices(*change, bracketed)]
        made = _spliced(text, splices)
        if made is not None and _parses_to(made, wanted):
            return made
    for statements in source.around(edit):
        with edit.applied():
            splices = [source.rewritten(s) for s in statements]
        made = _spliced(text, splices)
        if made is not None and _parses_to(made, wanted):
            return made
    raise ValueError(f"no text was found for this edit of line {edit.line}: {edit.said}")


def _parses_to(text: str, wanted: str) -> bool:
    try:
        return ast.dump(ast.parse(text)) == wanted
    except (SyntaxError, ValueError):
        return False


def _spliced(text: str, splices: list[Splice]) -> str | None:
    """The text with each part replaced; None where they overlap."""
    end = len(text)
    for start, stop, new in sorted(splices, reverse=True):
        if stop > end:
            return None
        text, end = text[:start] + new + text[stop:], start
    return text


class _Source:
    """A text and its tree: where each node stands in it."""

    def __init__(self, text: str, tree: ast.Module) -> None:
        self.text, self.tree = text, tree
        self.lines = re.split(r"(?<=\n)|(?<=\r)(?!\n)", text)
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line))
        self.newline = "\r\n" if "\r\n" in text else "\n"
        self.parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}

    def __contains__(self, node: ast.AST) -> bool:
        return node in self.parents and hasattr(node, "end_lineno") and not self._in_f_string(node)

    def _in_f_string(self, node: ast.AST) -> bool:
        return any(isinstance(n, ast.JoinedStr) for n in self._outwards(node))

    def _outwards(self, node: ast.AST) -> Iterator[ast.AST]:
        while node in self.parents:
            node = self.parents[node]
            yield node

    def _at(self, line: int, column: int) -> int:
        """Columns count bytes of UTF-8."""
        return self.starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())

    def span(self, node: Any) -> tuple[int, int]:
        first = min([node, *getattr(node, "decorator_list", [])], key=lambda n: n.lineno)
        start = self._at(first.lineno, first.col_offset) - (first is not node)  # the @ of a decorator
        return start, self._at(node.end_lineno, node.end_col_offset)

    def segment(self, node: ast.AST) -> str:
        start, end = self.span(node)
        return self.text[start:end]

    # --- expressions --------------------------------------------------------------------------------------------------

    def splices(self, container: Any, key: Any, new: Any, bracketed: int) -> Iterator[Splice]:
        """What to replace by what; ``bracketed``: 1 puts the new expression in brackets, 2 its parts too."""
        old = container[key]
        if isinstance(new, list):
            yield from self._block(old, new)
        elif isinstance(new, ast.stmt):
            yield (*self.span(old), self._statement(new, bracketed))
        else:
            shown = self._operator_alone(old, new) if not bracketed else None
            shown = shown or self.shown(new, 0, bracketed > 1)
            yield (*self.span(old), f"({shown})" if bracketed else shown)

    def _operator_alone(self, old: ast.AST, new: ast.AST) -> str | None:
        """Another operator between the same operands: all else stays."""
        match old, new:
            case ast.BinOp(), ast.BinOp() if old.left is new.left and old.right is new.right:
                a, b, was, now = old.left, old.right, old.op, new.op
            case ast.Compare(), ast.Compare() if old.left is new.left and old.comparators[0] is new.comparators[0]:
                a, b, was, now = old.left, old.comparators[0], old.ops[0], new.ops[0]  # type: ignore[assignment]
            case _:
                return None
        (start, a_end), (b_start, end) = self.span(a), self.span(b)
        gap = self.text[a_end:b_start]
        if gap.count(SYMBOLS[type(was)]) != 1:
            return None
        whole = self.span(old)
        made = gap.replace(SYMBOLS[type(was)], SYMBOLS[type(now)])
        return self.text[whole[0] : a_end] + made + self.text[b_start : whole[1]] if start <= a_end <= end else None

    def shown(self, node: Any, level: int, brackets: bool = False) -> str:
        """An expression as text: parts that stand in the file as they stand there; brackets by precedence."""
        if node in self:
            text = self.segment(node)
            wide = isinstance(node, ast.Tuple) and not text.startswith("(")
            own = -1 if wide and level >= 0 and level > 0 else precedence(node)
            return f"({text})" if own < level or (brackets and own < _ATOM) else text
        own = precedence(node)
        text = self._made(node, own, brackets)
        return f"({text})" if own < level else text

    def _made(self, node: Any, own: int, brackets: bool) -> str:
        def show(part: Any, level: int = 0) -> str:
            return self.shown(part, level, brackets)

        match node:
            case ast.BinOp():
                symbol = SYMBOLS[type(node.op)]
                left, right = (own + 1, own - 1) if symbol == "**" else (own, own + 1)
                return f"{show(node.left, left)} {symbol} {show(node.right, right)}"
            case ast.UnaryOp():
                return f"{SYMBOLS[type(node.op)]}{show(node.operand, own)}"
            case ast.Compare(ops=[op]):
                return f"{show(node.left, own + 1)} {SYMBOLS[type(op)]} {show(node.comparators[0], own + 1)}"
            case ast.Attribute():
                number = isinstance(node.value, ast.Constant)
                return f"{show(node.value, _ATOM + number)}.{node.attr}"
            case ast.Call():
                keywords = [f"{k.arg}={show(k.value, 1)}" if k.arg else f"**{show(k.value, 1)}" for k in node.keywords]
                return f"{show(node.func, _ATOM)}({', '.join([*(show(a, 1) for a in node.args), *keywords])})"
            case ast.Subscript():
                return (
                    f"{show(node.value, _ATOM)}[{show(node.slice).removesuffix(')').removeprefix('(')}]"
                    if isinstance(node.slice, ast.Tuple) and node.slice not in self
                    else f"{show(node.value, _ATOM)}[{show(node.slice)}]"
                )
            case ast.Slice():
                ends = [show(part, 1) if part else "" for part in (node.lower, node.upper)]
                spaced = any(isinstance(part, ast.BinOp) for part in (node.lower, node.upper))
                middle = (" : " if spaced else ":").join(ends)
                return middle + (f":{show(node.step, 1)}" if node.step else "")
            case ast.Tuple():
                inside = ", ".join(show(e, 1) for e in node.elts)
                return f"({inside}{',' * (len(node.elts) == 1)})"
            case ast.List():
                return f"[{', '.join(show(e, 1) for e in node.elts)}]"
            case ast.Dict():
                pairs = zip(node.keys, node.values, strict=True)
                return "{" + ", ".join(f"{show(k, 1)}: {show(v, 1)}" if k else f"**{show(v)}" for k, v in pairs) + "}"
        return ast.unparse(node)

    # --- statements ---------------------------------------------------------------------------------------------------

    def _statement(self, new: Any, bracketed: int = 0) -> str:
        """A statement in the place of another."""

        def show(node: ast.expr) -> str:
            return self.shown(node, 1 if bracketed else 0, bracketed > 1)

        match new:
            case _ if new in self:
                return self.segment(new)
            case ast.Assign(targets=[target]):
                return f"{show(target)} = {show(new.value)}"
            case ast.AugAssign():
                return f"{show(new.target)} {SYMBOLS[type(new.op)]}= {show(new.value)}"
            case ast.Expr():
                return show(new.value)
        return ast.unparse(new)

    def alone(self, statement: ast.stmt) -> bool:
        """Whether nothing but comments stands on its lines besides."""
        start, end = self.span(statement)
        before = self.text[self.starts[self._first(statement) - 1] : start]
        after = self.text[end : self.starts[statement.end_lineno or 0]]
        return not before.strip() and (not after.strip() or after.strip().startswith("#"))

    @staticmethod
    def _first(statement: Any) -> int:
        return min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", []))])

    def chunk(self, statement: ast.stmt) -> tuple[int, int]:
        """Its whole lines with the comment at the end, without the last line's break."""
        last = self.lines[(statement.end_lineno or 0) - 1]
        end = self.starts[(statement.end_lineno or 0) - 1] + len(last.rstrip("\r\n"))
        return self.starts[self._first(statement) - 1], end

    def _indent(self, statement: ast.stmt) -> str:
        line = self.lines[self._first(statement) - 1]
        return line[: len(line) - len(line.lstrip())]

    def _block(self, old: list[ast.stmt], new: list[ast.stmt]) -> Iterator[Splice]:
        """Statements exchanged, moved, put in or taken out."""
        if len(old) == len(new) and not all(map(self.alone, old)):
            yield from ((*self.span(a), self._statement(b)) for a, b in zip(old, new, strict=True) if a is not b)
            return
        first = 0
        while first < min(len(old), len(new)) and old[first] is new[first]:
            first += 1
        last = 0
        while last < min(len(old), len(new)) - first and old[-1 - last] is new[-1 - last]:
            last += 1
        gone, come = old[first : len(old) - last], new[first : len(new) - last]
        if not gone:  # put in before what follows, or after what is there
            anchor, after = (old[first - 1], True) if first else (old[0], False)
            start, end = self.chunk(anchor)
            at = end if after else start
            lines = [self._lines(s, anchor) for s in come]
            yield (at, at, "".join(f"{self.newline}{t}" if after else f"{t}{self.newline}" for t in lines))
            return
        if not come:
            start, end = self.chunk(gone[0])[0], self.starts[gone[-1].end_lineno or 0]
            yield (start, end, "")
            return
        spans = [self.chunk(s) for s in gone]
        gaps = [self.text[a[1] : b[0]] for a, b in pairwise(spans)]
        made = self._lines(come[0], gone[0])
        for i, statement in enumerate(come[1:]):
            made += (gaps[i] if i < len(gaps) else self.newline) + self._lines(statement, gone[0])
        yield (spans[0][0], spans[-1][1], made)

    def _lines(self, statement: ast.stmt, beside: ast.stmt) -> str:
        """The lines of a statement, as deep as the one beside it."""
        indent = self._indent(beside)
        if statement not in self:
            return indent + self._statement(statement)
        start, end = self.chunk(statement)
        own = self._indent(statement)
        lines = self.text[start:end].split("\n")
        return "\n".join(indent + line.removeprefix(own) if line.strip() else line for line in lines)

    # --- the last resort ----------------------------------------------------------------------------------------------

    def around(self, edit: Edit) -> Iterator[list[ast.stmt]]:
        """The statements to write anew: those that hold the changes, and further and further outwards."""
        holders = [self._holders(*change) for change in edit.changes]
        for depth in range(max(map(len, holders))):
            chosen = dict.fromkeys(h[min(depth, len(h) - 1)] for h in holders)
            outer = [s for s in chosen if not any(o in chosen for o in self._outwards(s))]
            yield outer

    def _holders(self, container: Any, key: Any, new: Any) -> list[ast.stmt]:
        held = container[key][0] if isinstance(container[key], list) else container[key]
        chain = [held, *self._outwards(held)]
        if isinstance(new, list | ast.stmt):
            chain = chain[1:]
        return [n for n in chain if isinstance(n, ast.stmt) and self.alone(n)]

    def rewritten(self, statement: ast.stmt) -> Splice:
        """A statement written anew as it is now, as deep as it was."""
        start, end = self.span(statement)
        indent = self._indent(statement)
        lines = ast.unparse(statement).splitlines()
        return start, end, (self.newline + indent).join(lines)


def precedence(node: ast.AST) -> int:
    """How tightly an expression binds; an atom binds most."""
    match node:
        case ast.Tuple() | ast.NamedExpr() | ast.Yield() | ast.YieldFrom():
            return 0 if not isinstance(node, ast.Tuple) else _ATOM
        case ast.Lambda() | ast.IfExp() | ast.Starred():
            return 1
        case ast.BoolOp():
            return 3 if isinstance(node.op, ast.Or) else 4
        case ast.UnaryOp():
            return 5 if isinstance(node.op, ast.Not) else 13
        case ast.Compare():
            return 6
        case ast.BinOp():
            return 14 if isinstance(node.op, ast.Pow) else _LEVELS[SYMBOLS[type(node.op)]]
        case ast.Await():
            return 15
    return _ATOM
