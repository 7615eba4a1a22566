"""Every edit of one function that could mend its backward, one at a time.

An edit is made of the author's own expressions and of NumPy's names alone, and calls nothing of the user's that did not
run already. What would raise or change no value is left out.
"""

import ast
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from torch_impl.verify.repair import calls, constants, factors, names, operators, slopes, statements
from torch_impl.verify.repair.ground import MISSING, Function, Ground
from torch_impl.verify.repair.records import Candidate, Edit, Seen
from torch_impl.verify.repair.text import edited_text
from torch_impl.verify.repair.values import is_array, quietly, same

__all__ = ["Edit", "Seen", "edited_text", "edits"]

FAMILIES: tuple[Callable[[Ground, ast.expr], Iterator[Candidate]], ...] = (
    operators.operators, operators.operands, operators.signs, operators.transposes, operators.reversals,
    operators.moved_out, names.names, names.keys, names.windows, calls.functions, calls.axes, calls.arguments,
    calls.unwrapped, calls.buffers, calls.broadcast, calls.scaled_numbers, constants.constants, constants.other_sizes,
    constants.ends, slopes.complements, factors.factors, factors.terms, slopes.templates,
)  # fmt: skip
SAME_SHAPE = frozenset(("factor", "term", "template"))
# What shows with other values only: where a comparison's sides are equal, with a second call.
SAME_VALUE = frozenset(("comparison", "copy", "dtype", "range"))
RESHAPED = 0.4  # the cost of a value of another shape


def edits(function: Function, seen: Seen) -> Iterator[Edit]:
    """Every edit of ``function``, in the order of its lines; ``cost`` is the order in which to try them."""
    ground = Ground(function, seen)
    done = set()
    for edit in statements.of_statements(ground):
        (container, place, new), *more = edit.changes
        if not more and isinstance(new, ast.expr):  # what an iteration hands on, which is a term as well
            done.add((id(container), place, ground.key(new)))
        yield edit
    for node in ground.expressions:
        yield from _of_expression(ground, node, done)


def _of_expression(ground: Ground, node: ast.expr, done: set[Any]) -> Iterator[Edit]:
    families: tuple[Callable[[Ground, ast.expr], Iterator[Candidate]], ...] = FAMILIES
    if factors.is_value(ground, node):
        families = (*families, calls.wrapped)
    if isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Store):
        families = (calls.arguments,)
    best: dict[Any, Candidate] = {}
    now = ground.key(node)
    with quietly():
        for family in families:
            for candidate in family(ground, node):
                made = ground.key(candidate.new)
                if made != now and (made not in best or candidate.cost < best[made].cost):
                    best[made] = candidate
        fitting = [(candidate, _fits(ground, node, candidate)) for candidate in best.values()]
    container, place = ground.place[node]
    for candidate, more in fitting:
        if more is not None and (id(container), place, ground.key(candidate.new)) not in done:
            change = ((container, place, candidate.new),)
            yield Edit(candidate.kind, candidate.said, round(candidate.cost + more, 3), node.lineno, change)


def _fits(ground: Ground, node: ast.expr, candidate: Candidate) -> float | None:
    """What the edit costs in addition, by the values that were seen; None for one that raises or changes nothing."""
    old = ground.value(node)
    if isinstance(getattr(node, "ctx", None), ast.Store):
        return 0.0
    try:
        new = ground.worth(candidate.new, node)
        if new is MISSING or old is MISSING:
            return 0.0
        if same(old, new) and candidate.kind not in SAME_VALUE:
            return None
        if np.shape(old) == np.shape(new) if is_array(old) or is_array(new) else True:
            return 0.0
        return None if candidate.kind in SAME_SHAPE and is_array(old) else _reshaped(ground, node, new)
    except Exception:  # the code would raise the same
        return None


def _reshaped(ground: Ground, node: ast.expr, value: Any) -> float | None:
    """The cost of a value of another shape, as far as that goes in its statement; raises what the code would raise."""
    parent = ground.parent[node]
    while isinstance(parent, ast.expr) and not isinstance(parent, ast.Lambda | ast.Tuple | ast.Dict | ast.List):
        old = ground.value(parent)
        value = ground.worth(parent, parent, {node: value})
        if value is MISSING or old is MISSING:
            return RESHAPED
        if same(old, value):
            return None
        if np.shape(old) == np.shape(value):
            return 0.0
        node, parent = parent, ground.parent[parent]
    target = parent.target if isinstance(parent, ast.AugAssign) else None
    if isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Subscript):
        target = parent.targets[0]
    if target is not None:
        shape = np.shape(_held(ground, target, parent))
        np.broadcast_to(np.empty(np.shape(value)), shape) if shape else None
    return RESHAPED


def _held(ground: Ground, target: ast.expr, at: ast.AST) -> Any:
    """What a target holds before it is assigned; nothing where that is not known, or a key of a dict."""
    if isinstance(target, ast.Subscript) and not is_array(ground.worth(target.value, at)):
        return None
    held = ground.worth(target, at)
    return held if is_array(held) else None
