"""Edits of one function: each kind makes the right source of a wrong one, and what may not be edited is not."""

import ast
import textwrap
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from tests.verify.backwards import BACKWARDS
from tests.verify.watching import function_in, seen_in
from torch_impl.verify.repair.edits import Edit, Seen, edited_text, edits

R = np.random.default_rng(0).standard_normal
X, Y, A, B = R((3, 4)), R((3, 4)), np.tanh(R((3, 4))), R((4, 5))
P = np.abs(A)


def found(source: str, *args: Any, called: str = "", name: str = "f") -> tuple[str, ast.Module, list[Edit]]:
    """The text, its tree and the edits of its function, which ran with ``args``."""
    text = textwrap.dedent(source).lstrip("\n")
    tree = ast.parse(text)

    def run(names: dict[str, Any]) -> None:
        with suppress(ValueError):  # shapes that don't fit, which are a mistake too
            names[name](*args)

    seen = seen_in(tree, name, run, called)
    return text, tree, list(edits(function_in(tree, name), seen))


ONE_LINE = [  # kind, arguments, the wrong value, the right one, the values of the arguments
    ("operator", "x, y", "x + y", "x - y", (X, Y)),
    ("operator", "x, y", "x * y", "x / y", (X, Y)),
    ("operator", "x, y", "x*y", "x/y", (X, Y)),
    ("operator", "x, b", "x * b", "x @ b", (X[:, :3], Y[:, :3])),
    ("grouping", "x, y", "x / y * 2", "x / (y * 2)", (X, Y)),
    ("grouping", "v, eps", "x / (np.sqrt(v) + eps)", "x / (np.sqrt(v + eps))", (P, 0.1)),
    ("operands", "x, y", "x - y", "y - x", (X, Y)),
    ("operands", "x, b", "b @ x", "x @ b", (X[:, :3], Y[:, :3])),
    ("operands", "x, y", "(x + y) * y", "x + y", (X, Y)),
    ("operands", "x, b", "x @ b", "b.T @ x.T", (X, B)),
    ("sign", "x, y", "x * y", "-(x * y)", (X, Y)),
    ("sign", "x, y", "-x * y", "x * y", (X, Y)),
    ("sign", "x", "np.exp(x)", "np.exp(-x)", (X,)),
    ("name", "x, y", "x * x", "x * y", (X, Y)),
    ("name", "cache", 'cache["a1"] * 2', "cache['a2'] * 2", ({"a1": X, "a2": Y},)),
    ("index", "cache", "cache[0] * 2", "cache[1] * 2", ((X, Y),)),
    ("transpose", "x, y", "x @ y", "x.T @ y", (X, Y)),
    ("transpose", "x, y", "x.T @ y", "x @ y", (X[:, :3], Y[:, :3])),
    ("transpose", "x, y", "x @ y", "x @ y.swapaxes(-1, -2)", (R((2, 3, 4)), R((2, 3, 4)))),
    ("reversal", "x, y", "x * y", "x[::-1] * y", (X, Y)),
    ("reversal", "w, x", "w * x", "w[:, :, ::-1, ::-1] * x", (R((2, 2, 3, 3)), R((2, 2, 3, 3)))),
    ("reversal", "w", "w[::-1, ::-1] * 2", "w * 2", (X,)),
    ("call", "w", "np.flip(w) * 2", "w * 2", (X,)),
    ("axis", "x", "x.sum(axis=1)", "x.sum(axis=0)", (X,)),
    ("axis", "x", "np.sum(x, 1)", "np.sum(x, 0)", (X,)),
    ("axis", "x", "x - x.sum(axis=1).max()", "x - x.sum(axis=1, keepdims=True).max()", (X,)),
    ("axis", "x", "x.sum(axis=0)", "x.sum()", (X,)),
    ("axis", "x", "x.sum()", "x.sum(axis=0)", (X,)),
    ("axis", "x", "x.sum(axis=0)", "x.sum(axis=(0, 2, 3))", (R((2, 3, 2, 2)),)),
    ("reduction", "x", "x.mean(axis=0)", "x.sum(axis=0)", (X,)),
    ("reduction", "x", "np.sum(x)", "np.max(x)", (X,)),
    ("function", "x", "np.abs(x)", "np.sign(x)", (X,)),
    ("function", "x", "np.maximum(x, 0)", "np.minimum(x, 0)", (X,)),
    ("constant", "x", "3 * x", "2 * x", (X,)),
    ("constant", "x", "x * 1", "x * -1", (X,)),
    ("constant", "x", "x / 2", "x / len(x)", (X,)),
    ("index", "x", "x / x.shape[1]", "x / x.shape[0]", (X,)),
    ("constant", "x", "x / x.shape[1]", "x / x.size", (X,)),
    ("factor", "x, a", "x", "x * (1 - a * a)", (X, A)),
    ("factor", "x, a", "x ** 2", "x ** 2 * (1 - a ** 2)", (X, A)),
    ("factor", "x, a", "x", "x * (a * (1 - a))", (X, P)),
    ("factor", "x, z", "x", "x * (z > 0)", (X, Y)),
    ("factor", "x", "x", "x / len(x)", (X,)),
    ("factor", "x", "x", "2 * x", (X,)),
    ("factor", "x, d", "x", "x / np.sqrt(d)", (X, 5)),
    ("factor", "x, z", "x", "x * np.exp(z)", (X, Y)),
    ("factor", "x, y, b", "x @ b", "(x * y) @ b", (X, Y, B)),
    ("term", "x, y", "x", "x + y", (X, Y)),
    ("term", "x, y, b", "y", "y + x @ b", (X, R((3, 5)), B)),
    ("term", "x, a", "x * a", "x * (1 - a)", (X, A)),
    ("term", "dw, w, decay", "dw", "dw + decay * w", (X, Y, 0.1)),
    ("wrap", "x", "x * 2", "(x * 2).sum(axis=0)", (X,)),
    ("wrap", "x, y", "x * 2", "(x * 2).reshape(y.shape)", (X, Y.T)),
    ("call", "x", "x.sum(axis=0)", "x", (X,)),
    ("template", "p, d", "p * d", "p * (d - (d * p).sum(axis=-1, keepdims=True))", (P, X)),
    ("template", "p, d", "d * p * (1 - p)", "p * (d - (d * p).sum(axis=-1, keepdims=True))", (P, X)),
    ("template", "d", "d", "d - d.mean(axis=0)", (X,)),
    ("returned", "x, y", "x, y", "y, x", (X, Y)),
    ("returned", "x, y", '{"dx": x, "dy": y}', '{"dx": y, "dy": x}', (X, Y)),
    ("arguments", "x, y", "np.outer(x, y)", "np.outer(y, x)", (X[0], Y[0])),
    ("arguments", "x, y", "np.where(x > 0, x, y)", "np.where(x > 0, y, x)", (X, Y)),
    ("comparison", "x", "x * (x > 0)", "x * (x >= 0)", (X,)),
    ("comparison", "x", "x * (x > 0)", "x * (x < 0)", (X,)),
    ("mask", "x, m", "x * m", "x * ~m", (X, Y > 0)),
    ("index", "x, t", "x[t]", "x[t - 1]", (X, 2)),
    ("index", "x, i, s", "x[i:i + 2]", "x[i * s : i * s + 2]", (np.arange(9.0), 2, 3)),
    ("constant", "x", "x * math.sqrt(9)", "x * math.sqrt(8)", (X,)),
    ("shape", "x, v", "x * v", "x * v[:, None]", (X[:, :3], X[:, 0])),
]


@pytest.mark.parametrize(("kind", "arguments", "wrong", "right", "values"), ONE_LINE)
def test_edit_of_a_value(kind: str, arguments: str, wrong: str, right: str, values: tuple[Any, ...]) -> None:
    first = "x = v" if arguments == "v, eps" else "pass"
    source = f"import math, numpy as np\n\ndef f({arguments}):\n    {first}\n    return {{}}  # its value\n"
    text, tree, all_edits = found(source.replace("{}", wrong), *values)
    texts = {edited_text(text, tree, e): e.kind for e in all_edits if e.line == 5}
    assert texts.get(source.replace("{}", right)) == kind


BLOCKS = [  # kind, arguments, the wrong body, the right one, the values of the arguments
    ("assignment", "x, n", "d = np.zeros(3)\nfor i in range(n):\n    d = x[i]\nreturn d",
     "d = np.zeros(3)\nfor i in range(n):\n    d += x[i]\nreturn d", (R((2, 3)), 2)),
    ("assignment", "x, y", "x += y\nreturn x", "x = y\nreturn x", (X, Y)),
    ("assignment", "x, y", "x += y\nreturn x", "x = x + y\nreturn x", (X, Y)),
    ("assignment", "d, i, v", "d[i] += v\nreturn d", "np.add.at(d, i, v)\nreturn d", (X, np.array([0, 0]), X[:2])),
    ("operator", "w, g", "w += 0.1 * g\nreturn w", "w -= 0.1 * g\nreturn w", (X, Y)),
    ("dtype", "x", "d = np.zeros(3, int)\nreturn d + x", "d = np.zeros(3)\nreturn d + x", (X[0, :3],)),
    ("dtype", "x", "d = np.zeros_like(x)\nreturn d", "d = np.zeros_like(x, dtype=float)\nreturn d", (np.arange(3),)),
    ("copy", "dout", "dx = dout\ndx *= 2\nreturn dx", "dx = dout.copy()\ndx *= 2\nreturn dx", (X,)),
    ("elements", "cache", "x, y = cache\nreturn x", "y, x = cache\nreturn x", ((X, Y),)),
    ("statement", "x", "y = x\nx = x * 2  # twice\nx = x + y\nreturn x",
     "y = x\nx = x + y\nx = x * 2  # twice\nreturn x", (X,)),
    ("statement", "x, y", "x = x * 2\n# why\nx = x + y\nreturn x", "# why\nx = x + y\nreturn x", (X, Y)),
    ("indentation", "x", "s = 0\nfor v in x:\n    s = s + v\n    s = s * 2\nreturn s",
     "s = 0\nfor v in x:\n    s = s + v\ns = s * 2\nreturn s", (X,)),
    ("indentation", "x", "s = 0\nfor v in x:\n    s = s + v\ns = s * 2\nreturn s",
     "s = 0\nfor v in x:\n    s = s + v\n    s = s * 2\nreturn s", (X,)),
    ("range", "x", "s = 0\nfor t in range(len(x)):\n    s = s * 2 + x[t]\nreturn s",
     "s = 0\nfor t in reversed(range(len(x))):\n    s = s * 2 + x[t]\nreturn s", (X,)),
    ("operands", "x", "s = 0\nfor t in range(len(x) - 1):\n    s = s + x[t]\nreturn s",
     "s = 0\nfor t in range(len(x)):\n    s = s + x[t]\nreturn s", (X,)),
    ("carry", "x, W", "dh_next = np.zeros(4)\nfor t in range(3):\n    dh = x[t]\n    dh_next = dh @ W\nreturn dh_next",
     "dh_next = np.zeros(4)\nfor t in range(3):\n    dh = x[t] + dh_next\n    dh_next = dh @ W\nreturn dh_next",
     (X, R((4, 4)))),
    ("carry", "x, W", "for t in range(3):\n    dh = x[t]\n    dh_next = dh @ W\nreturn dh_next",
     "dh_next = 0\nfor t in range(3):\n    dh = x[t] + dh_next\n    dh_next = dh @ W\nreturn dh_next",
     (X, R((4, 4)))),
    ("carry", "x, W", "dh_next = 0\nfor t in range(3):\n    dz = 2 * (x[t] + dh_next)\nreturn dz",
     "dh_next = 0\nfor t in range(3):\n    dz = 2 * (x[t] + dh_next)\n    dh_next = dz @ W.T\nreturn dz",
     (X, R((4, 4)))),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "arguments", "wrong", "right", "values"), BLOCKS)
def test_edit_of_statements(kind: str, arguments: str, wrong: str, right: str, values: tuple[Any, ...]) -> None:
    def whole(body: str) -> str:
        return f"import numpy as np\n\ndef f({arguments}):\n" + textwrap.indent(body, "    ") + "\n"

    text, tree, all_edits = found(whole(wrong), *values)
    texts = {edited_text(text, tree, e): e.kind for e in all_edits}
    assert texts.get(whole(right)) == kind


# --- whole functions --------------------------------------------------------------------------------------------------


def edits_of(of: str) -> tuple[str, ast.Module, Seen, list[Edit]]:
    """The text, its tree, what was seen, and the edits of one of the backwards."""
    backward = BACKWARDS[of]
    tree = ast.parse(backward.source)
    seen = seen_in(tree, backward.function, backward.run, backward.called)
    return backward.source, tree, seen, list(edits(function_in(tree, backward.function), seen))


@pytest.mark.parametrize("of", BACKWARDS)
def test_each_edit_leaves_the_tree_as_it_was(of: str) -> None:
    _, tree, _, all_edits = edits_of(of)
    before, places = ast.dump(tree), _places(tree)
    for edit in all_edits:
        with pytest.raises(KeyError), edit.applied():
            raise KeyError
        assert _places(tree) == places, edit.said
    for edit in all_edits[::23]:
        with edit.applied():
            compile(tree, "<edited>", "exec")
            assert ast.dump(tree) != before
        assert ast.dump(tree) == before


def _places(tree: ast.AST) -> list[tuple[ast.AST, int]]:
    return [(node, getattr(node, "lineno", 0)) for node in ast.walk(tree)]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("of", BACKWARDS)
def test_the_text_of_each_edit_is_the_edited_tree(of: str, newline: str) -> None:
    # Every edit of a kind has the same way of being written: 40 of each, and all of the kinds that have fewer.
    text, tree, _, all_edits = edits_of(of)
    text = text.replace("\n", newline)
    lines = text.splitlines()
    for edit in of_each_kind(all_edits, 40 if newline == "\n" else 4):
        made = edited_text(text, tree, edit)
        with edit.applied():
            assert ast.dump(ast.parse(made)) == ast.dump(tree), edit.said
        assert made.count("\r") == (made.count("\n") if "\r" in newline else 0)
        if edit.kind not in ("statement", "indentation", "carry"):
            kept = sum(line in made.splitlines() for line in lines)
            assert kept >= len(lines) - 5, edit.said  # a statement over five lines is the longest


def of_each_kind(all_edits: list[Edit], most: int) -> list[Edit]:
    by_kind: dict[str, list[Edit]] = {}
    for edit in all_edits:
        by_kind.setdefault(edit.kind, []).append(edit)
    return [e for several in by_kind.values() for e in several[:: max(1, len(several) // most)]]


@pytest.mark.parametrize("of", BACKWARDS)
def test_edits_are_neither_few_nor_too_many_nor_made_twice(of: str) -> None:
    _, tree, _, all_edits = edits_of(of)
    lines = len(ast.unparse(function_in(tree, BACKWARDS[of].function)).splitlines())
    assert 20 * lines < len(all_edits) < 300 * lines
    changed = [(id(c), k, ast.dump(n)) for e in all_edits for c, k, n in e.changes if isinstance(n, ast.AST)]
    assert len(set(changed)) == len(changed)  # no edit is made twice


# --- what may not be edited -------------------------------------------------------------------------------------------

GUARDED = '''
import numpy as np
import os

def helper(x):
    return x * 2

def never_ran(x):
    return x * 3

@staticmethod
def decorated(x: int = 1 + 1) -> "a" + "b":
    return x

def f(x, y: 3 * 4, log=print, eps=1e-3 + 1) -> 5 * 6:
    """A text: 7 * 8."""
    import os.path as path
    n, word = 0, "kept " + "as it is"
    while n < 3 - 1:
        n = n + 1
        y = y * 1.5
    assert len(x) > 0 - 1, "no " + "rows"
    if len(x) < 0:
        raise ValueError("x" * 9)
    if x.size < 0:
        os.remove("x" + "y")
        never_ran(x * y)
    print(x * 11)
    log(x * 12)
    np.random.default_rng(13 + 1)
    np.savetxt(os.devnull, x * 14)
    exec("x" + "")
    word.join([word + "z"])
    z = helper(x * y)
    return z - y
'''


def test_nothing_is_edited_that_has_effects_or_is_no_gradient() -> None:
    text, tree, all_edits = found(GUARDED, X, Y, called="helper")
    original = text.splitlines()
    may_change = {"    z = helper(x * y)", "    return z - y", "        y = y * 1.5"}
    for edit in all_edits:
        made = edited_text(text, tree, edit).splitlines()
        assert {line for line in original if line not in made} <= may_change, edit.said
    assert {"operator", "name", "factor"} <= {e.kind for e in all_edits}
    assert not [e for e in all_edits if "never_ran" in e.said]


# --- texts ------------------------------------------------------------------------------------------------------------

ODD_TEXTS = [  # source, words of the edit, the new source
    ("def f(x, y): return x - y", "`+` for `-`", "def f(x, y): return x + y"),
    ("f = lambda x, y: x - y", "`+` for `-`", "f = lambda x, y: x + y"),
    ("def f(x, y):\n\tz = x; w = z - y; return w\n", "`+` for `-`", "def f(x, y):\n\tz = x; w = z + y; return w\n"),
    (
        "def f(x, y):\r\n  return (x  -  # é\r\n     y)\r\n",
        "`+` for `-`",
        "def f(x, y):\r\n  return (x  +  # é\r\n     y)\r\n",
    ),
    ("def f(x, y):\n  é = x; return é-y", "`+` for `-`", "def f(x, y):\n  é = x; return é+y"),
    ("def f(x, y):\n  return 2*(x +\n    y)\n", "`2 *` left out", None),
    ("def f(x, y):\n  return (x+y)*2", "`* 2` left out", "def f(x, y):\n  return x+y"),
    ("def f(x, y):\n  return x+y", "the operands", None),
    ("def f(x, y):\n  return (x+y).T*2", "`.T` taken out", "def f(x, y):\n  return (x+y)*2"),
]


@pytest.mark.parametrize(("source", "said", "right"), ODD_TEXTS)
def test_the_authors_text_stays_as_it_was(source: str, said: str, right: str | None) -> None:
    text, tree, all_edits = found(source, X[:, :3], Y[:, :3])
    for edit in all_edits:
        assert edited_text(text, tree, edit) != text  # and is proven by the function itself
    if right is not None:
        assert right in [edited_text(text, tree, e) for e in all_edits if said in e.said]
