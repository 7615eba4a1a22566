"""A function of the user's in its file: its syntax tree, and the code that the tree makes as it stands now."""

from __future__ import annotations
import __future__

import ast
import functools
import gc
import linecache
import operator
import sys
from dataclasses import dataclass
from types import CodeType, FrameType, FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_FOUNDATIONS = frozenset(sys.stdlib_module_names) | {"numpy", "scipy", "torch"}
_OURS = "torch_impl.verify"
_FUTURES = functools.reduce(operator.or_, (getattr(__future__, n).compiler_flag for n in __future__.all_feature_names))


@dataclass(eq=False)
class File:
    """A file, or a notebook's cell: its whole text, and the tree in which changes are tried."""

    name: str
    text: str
    tree: ast.Module

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


@dataclass(eq=False)
class Function:
    """One definition, and the function objects that run its code: several where a factory made it several times.

    ``path`` are the nodes from the top level of the file down to the definition.
    """

    functions: tuple[FunctionType, ...]
    code: CodeType  # the author's
    file: File
    path: tuple[ast.AST, ...]
    order: int = 0  # among the code objects of one name that begin in one line, as lambdas may

    @property
    def node(self) -> Definition:
        node = self.path[-1]
        assert isinstance(node, Definition)
        return node

    @property
    def name(self) -> str:
        return self.functions[0].__qualname__.rpartition("<locals>.")[2]

    def compiled(self, path: Sequence[ast.AST] | None = None) -> CodeType:
        """The code of the definition at the end of ``path``, by default of the file's tree as it stands.

        Raises
            SyntaxError, ValueError: what the tree says cannot be compiled
        """
        path = self.path if path is None else path
        inner: Any = path[-1]
        for node in reversed(path[:-1]):  # of a class the one method is enough, of a function all its variables count
            if isinstance(node, ast.ClassDef):
                inner = ast.copy_location(ast.ClassDef(node.name, [], [], [inner], []), node)
                if sys.version_info >= (3, 12):
                    inner.type_params = []
            elif isinstance(node, ast.stmt):
                inner = node
        # Python compiles the use of a name otherwise where the file imports it.
        imports = [node for node in self.file.tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        module = ast.fix_missing_locations(ast.Module([*imports, inner], []))
        code = compile(module, self.file.name, "exec", self.code.co_flags & _FUTURES, dont_inherit=True)
        found = [c for c in _codes_in(code) if _defines(path[-1], c)]
        return found[self.order]

    def with_code(self, code: CodeType, function: FunctionType) -> FunctionType:
        """One of the functions with other code, everything else as it is.

        Raises
            KeyError: the code needs a variable of an enclosing function that this one does not hold
        """
        cells = dict(zip(self.code.co_freevars, function.__closure__ or (), strict=True))
        closure = tuple(cells[name] for name in code.co_freevars)
        new = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, closure)
        new.__kwdefaults__ = function.__kwdefaults__
        return new


class Sources:
    """The files that have been read, so that functions of one file share its tree."""

    def __init__(self) -> None:
        self.files: dict[str, File | None] = {}

    def called_in(self, run: Callable[[], Any]) -> list[Function]:
        """The user's functions that ``run`` calls and whose source is to be had, in the order of their first call.

        They are what is neither Python's own, nor an installed library's, nor this verifier's.
        """
        found: dict[ast.AST, Function] = {}
        for code, functions in _called_in(run).items():
            function = self._find(code, functions)
            if function is not None:
                found[function.node] = function
        # What is defined within another one of them is part of that one, and made anew with each of its calls.
        return [f for f in found.values() if not any(node in found for node in f.path[:-1])]

    def _find(self, code: CodeType, functions: tuple[FunctionType, ...]) -> Function | None:
        name = code.co_filename
        if name not in self.files:
            self.files[name] = _read(name, functions[0].__globals__)
        file = self.files[name]
        for path in definitions(file.tree) if file is not None else ():
            if not _defines(path[-1], code):
                continue
            assert file is not None  # or it had no definitions
            function = Function(functions, code, file, path)
            try:
                while not _alike(function.compiled(), code):  # the file has changed since, or another lambda is meant
                    function.order += 1
            except IndexError:
                continue
            return function
        return None


def _called_in(run: Callable[[], Any]) -> dict[CodeType, tuple[FunctionType, ...]]:
    codes: dict[CodeType, None] = {}
    callbacks = {getattr(each, "__code__", None) for each in gc.callbacks}  # they may be called at any time

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code not in codes and frame.f_code not in callbacks and _is_theirs(frame):
            codes[frame.f_code] = None

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(before if callable(before) else None)  # cProfile's own cannot be put back
    owners: dict[CodeType, list[FunctionType]] = {code: [] for code in codes}
    for each in gc.get_referrers(*codes):
        if isinstance(each, FunctionType) and each.__code__ in owners:
            owners[each.__code__].append(each)
    return {code: tuple(functions) for code, functions in owners.items() if functions}


def _is_theirs(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", ""))
    inside = module == _OURS or module.startswith(f"{_OURS}.")
    installed = "site-packages" in frame.f_code.co_filename
    return not inside and not installed and module.partition(".")[0] not in _FOUNDATIONS


def _read(name: str, namespace: dict[str, Any]) -> File | None:
    text = "".join(linecache.getlines(name, namespace))
    try:
        return File(name, text, ast.parse(text)) if text else None
    except (SyntaxError, ValueError):  # a notebook's magic, a template, a file that has changed since
        return None


def definitions(tree: ast.Module) -> Iterator[tuple[ast.AST, ...]]:
    """The path of every definition in a file."""
    todo: list[tuple[ast.AST, ...]] = [(statement,) for statement in reversed(tree.body)]
    while todo:
        path = todo.pop()
        if isinstance(path[-1], Definition):
            yield path
        todo += [(*path, child) for child in reversed([*ast.iter_child_nodes(path[-1])])]


def _codes_in(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes_in(constant)


def _defines(node: ast.AST, code: CodeType) -> bool:
    """Whether code of this name, beginning in this line, may be that of the definition."""
    if isinstance(node, ast.Lambda):
        return code.co_name == "<lambda>" and code.co_firstlineno == node.lineno
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    first = min(n.lineno for n in (node, *node.decorator_list))
    return code.co_name == node.name and code.co_firstlineno == first


def _alike(a: CodeType, b: CodeType) -> bool:
    """Whether two code objects do the same; what is defined within them is code of its own."""

    def constants(code: CodeType) -> list[Any]:
        return [c for c in code.co_consts if not isinstance(c, CodeType)]

    names = (a.co_names, a.co_varnames, a.co_freevars) == (b.co_names, b.co_varnames, b.co_freevars)
    return names and a.co_code == b.co_code and repr(constants(a)) == repr(constants(b))
