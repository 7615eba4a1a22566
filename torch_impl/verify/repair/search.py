"""Edits of the user's backward, one after another, until one makes the whole of it right with every probe.

The nearest to the first wrong line come first, and of those the ones that read most like a slip. Where no edit mends
everything, the one that mends most is kept, and the search goes on from there: two faults are mended in turn.
"""

from __future__ import annotations

import ast
import contextlib
from bisect import bisect_right
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

from torch_impl.verify.blame.verdicts import by_distance
from torch_impl.verify.listing import Repair
from torch_impl.verify.repair.edits import Seen, edits
from torch_impl.verify.repair.text import edited_text
from torch_impl.verify.source.functions import File, Function, definitions
from torch_impl.verify.source.running import replaced

if TYPE_CHECKING:
    from torch_impl.verify.blame.verdicts import Blame
    from torch_impl.verify.blame.watch import Watch
    from torch_impl.verify.limits import Limit
    from torch_impl.verify.repair.edits import Edit

OF_STATE = ("assignment", "copy", "statement")  # kinds of edits that may mend what is wrong beside right numbers
FURTHER = 0.7  # what a statement more between an edit and the first wrong line costs, in the units of an edit's cost
MOST_FAR = 8  # statements, from which on an edit is not tried later still


class Case(Protocol):
    """What is to be mended, and how it is judged as the code runs at the moment."""

    name: str
    wrong: list[str]

    def title(self, name: str) -> str:
        """What a report calls one of ``wrong``."""

    def mended(self, todo: list[str]) -> list[str]:
        """Which of ``todo`` seem right now, at a glance; none where anything else is not."""

    def judged(self) -> tuple[bool, list[str]]:
        """The whole check once more: whether all is right, and which tensors are wrong."""

    def blamed(self, functions: list[Function], todo: list[str], limit: Limit) -> Blame:
        """Where ``todo`` went wrong, with the functions as they are now."""

    def watched(self, functions: list[Function]) -> Watch:
        """One run of the functions as they are now."""


@dataclass(eq=False)
class Mended:
    """An edit, the function in which it is made, and what is right with it."""

    function: Function
    edit: Edit
    names: list[str]


def repairs(case: Case, found: Blame, limit: Limit) -> tuple[list[Repair], Watch | None]:
    """The edits that mend the case one after another, and the watch of a run with all; None where none was found."""
    made: list[Repair] = []
    todo, functions = list(case.wrong), found.functions
    with contextlib.ExitStack() as stack:
        while not limit.over:
            best = _best(case, found, todo, limit)
            if best is None:
                break
            file = best.function.file
            text = edited_text(file.text, file.tree, best.edit)
            todo = [n for n in todo if n not in best.names]
            tensors = tuple(map(case.title, best.names))
            made.append(Repair(file.name, best.edit.line, best.edit.said, file.text, text, tensors, not todo))
            functions = _moved(functions, file, text)
            stack.enter_context(replaced({f: f.compiled() for f in functions}))
            if not todo:
                break
            found = case.blamed(functions, todo, limit.part(0.3))
        return made, case.watched(functions) if made else None


def _best(case: Case, found: Blame, todo: list[str], limit: Limit) -> Mended | None:
    """The first edit that mends everything; else of those that mend something the one that mends most.

    Where several faults are known, what mends all that one of them made wrong is enough.
    """
    best: Mended | None = None
    several = [set(fault.tensors) for fault in found.faults if fault.tensors] if len(found.faults) > 1 else []
    for tried, (_, function, edit) in enumerate(_ordered(found)):
        if limit.over:
            break
        if not todo and edit.kind not in OF_STATE:
            continue
        if tried % 50 == 0:
            so_far = f"{tried:,} tried, {limit.spent:.0f} s of {limit.seconds:g}"
            limit.progress(f"{case.name}: looking for an edit that mends it: {so_far}")
        with edit.applied():
            names = _with_edit(case, function, todo, 0 if best is None else len(best.names))
        if names is not None:
            best = Mended(function, edit, names)
            if len(names) == len(todo) or any(tensors <= set(names) for tensors in several):
                break
    return best


def _with_edit(case: Case, function: Function, todo: list[str], more_than: int) -> list[str] | None:
    """What of ``todo`` is right with the tree as it stands; None where that is not ``more_than`` so many.

    ``todo`` is empty where numbers are right and something else is not: then the whole is right, or it is None.
    """
    try:
        with replaced({function: function.compiled()}):
            names = case.mended(todo)
            if todo and len(names) <= more_than:
                return None
            ok, wrong = case.judged()
    except Exception:  # an edit may make code raise anything; it is none that mends
        return None
    if ok:
        return list(todo)
    names = [n for n in names if n not in wrong]
    return names if len(names) > more_than and wrong and set(wrong) <= set(todo) else None


def _ordered(found: Blame) -> list[tuple[float, Function, Edit]]:
    called = frozenset(f.functions[0].__name__ for f in (*found.functions, *found.forward))
    listed = []
    for function in found.functions:
        seen = Seen(found.watch.values, found.watch.scope, called, written=_constants(found, function))
        far = by_distance(found, function)
        lines = sorted(far)
        for edit in edits(function.node, seen):
            at = bisect_right(lines, edit.line)
            price = edit.cost + FURTHER * min(far[lines[at - 1]] if at else MOST_FAR, MOST_FAR)
            listed.append((price, function, edit))
    # Where nothing is known of the first wrong line, the last ones come first: they are what the steps are made of.
    known = bool(found.faults)
    return sorted(listed, key=lambda each: (each[0],) if known else (round(each[0], 1), -each[2].line))


def _constants(found: Blame, function: Function) -> tuple[ast.expr, ...]:
    """What the forward makes of constants alone, where its modules are at hand in this function too."""

    def plain(node: ast.AST) -> bool:
        if isinstance(node, ast.Name | ast.Constant):
            return node.id in known if isinstance(node, ast.Name) else isinstance(node.value, int | float)
        return isinstance(node, ast.BinOp | ast.UnaryOp | ast.Call | ast.Attribute) or not isinstance(node, ast.expr)

    known = {name for name, value in function.functions[0].__globals__.items() if isinstance(value, ModuleType)}
    written: dict[str, ast.expr] = {}
    for node in (n for f in (*found.forward, *found.functions) for n in ast.walk(f.node)):
        alone = isinstance(node, ast.Constant) and type(node.value) is float
        if alone or (isinstance(node, ast.BinOp | ast.Call | ast.Attribute) and all(plain(n) for n in ast.walk(node))):
            assert isinstance(node, ast.expr)
            written.setdefault(ast.unparse(node), node)
    return tuple(written.values())


def _moved(functions: list[Function], file: File, text: str) -> list[Function]:
    """The same functions in a file whose text has changed."""
    after = File(file.name, text, ast.parse(text))
    old, new = ([*definitions(each.tree)] for each in (file, after))
    return [
        replace(f, file=after, path=new[[path[-1] for path in old].index(f.node)]) if f.file is file else f
        for f in functions
    ]
