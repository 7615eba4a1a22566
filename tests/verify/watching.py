"""What an edit needs to have seen: a function runs once, each expression and each statement watched."""

import ast
import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from torch_impl.verify.repair.edits import Seen


def function_in(tree: ast.AST, name: str) -> Any:
    """The function or method called ``name``, or the lambda assigned to it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda) and ast.unparse(node.targets[0]) == name:
            return node.value
    raise LookupError(name)


def seen_in(tree: ast.Module, name: str, run: Callable[[dict[str, Any]], Any], called: str = "") -> Seen:
    """What happens in the function while ``run`` runs; it is given the file's names."""
    function = function_in(tree, name)
    nodes = list(ast.walk(function))
    watched = copy.deepcopy(tree)
    twins = list(ast.walk(function_in(watched, name)))
    values: dict[Any, Any] = {}
    scope: dict[Any, Any] = {}

    def see(i: int, value: Any) -> Any:
        values[nodes[i]] = value.copy() if isinstance(value, np.ndarray) else value
        return value

    def enter(i: int, variables: dict[str, Any]) -> None:
        scope[nodes[i]] = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in variables.items()}

    _watch(function_in(watched, name), {id(n): i for i, n in enumerate(twins)})
    names: dict[str, Any] = {"_see": see, "_enter": enter}
    exec(compile(ast.fix_missing_locations(watched), "<watched>", "exec"), names)
    run(names)
    return Seen(values, scope, frozenset(called.split()))


def _watch(function: Any, number: dict[int, int]) -> None:
    class Watch(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> Any:
            i = number.get(id(node))
            if isinstance(node, ast.JoinedStr | ast.arguments):
                return node
            new = self.generic_visit(node)
            if i is None:
                return new
            if isinstance(node, ast.expr) and not isinstance(node, ast.Slice | ast.Starred):
                if not isinstance(getattr(node, "ctx", ast.Load()), ast.Load) or _has_slice(node):
                    return new
                return ast.Call(ast.Name("_see", ast.Load()), [ast.Constant(i), new], [])
            if isinstance(node, ast.stmt) and node is not function:
                variables = ast.Call(ast.Name("locals", ast.Load()), [], [])
                call = ast.Call(ast.Name("_enter", ast.Load()), [ast.Constant(i), variables], [])
                return [ast.Expr(call), new]
            return new

    Watch().visit(function)


def _has_slice(node: ast.AST) -> bool:
    return isinstance(node, ast.Tuple) and any(isinstance(n, ast.Slice) for n in node.elts)
