"""What an edit is, and what was seen of the function that is edited."""

import ast
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Seen:
    """What was seen while the function ran once; a node that ran several times is as it was the last time."""

    values: Mapping[ast.expr, Any]  # by expression
    scope: Mapping[ast.stmt, Mapping[str, Any]]  # the local variables right before each statement
    called: frozenset[str] = frozenset()  # dotted names of the user's functions that ran: no others may be called
    numpy: str | None = None  # the name of NumPy in the file, where the function itself does not use it
    written: tuple[ast.expr, ...] = ()  # what other functions make of constants alone


@dataclass(frozen=True, eq=False)
class Edit:
    """One edit of a tree: each change is (container, key, new), a list or a node's fields, where in it, and what.

    ``cost`` is low for a slip that a person makes, and for code that a person would write.
    """

    kind: str
    said: str
    cost: float
    line: int
    changes: tuple[tuple[Any, Any, Any], ...]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Make the changes in the tree, and undo them on exit."""
        old: list[Any] = []
        located: list[ast.AST] = []
        try:
            for container, key, new in self.changes:
                old.append(container[key])
                located += _locate(new, container[key])
                container[key] = new
            yield
        finally:
            for (container, key, _), was in reversed(list(zip(self.changes, old, strict=False))):
                container[key] = was
            for node in located:  # another edit may hold the same node at another line
                for field in ("lineno", "col_offset", "end_lineno", "end_col_offset"):
                    delattr(node, field)


def _locate(new: Any, old: Any) -> list[ast.AST]:
    """Give every node that has no place in the source that of what it replaces; returns those nodes."""
    if isinstance(new, list):
        places = [node for node in new if hasattr(node, "lineno")] or old
        before = [max((p for p in places if p in new[:i]), key=new.index, default=places[0]) for i in range(len(new))]
        return [node for item, place in zip(new, before, strict=True) for node in _locate(item, place)]
    found: list[ast.AST] = []
    for node in ast.walk(new):
        if "lineno" in node._attributes and not hasattr(node, "lineno"):
            found.append(ast.copy_location(node, old))
    return found


class Candidate(NamedTuple):
    """Another expression in the place of one that stands there."""

    kind: str
    cost: float
    said: str
    new: ast.expr
