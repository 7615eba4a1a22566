"""What a number in a backward pass may be: the gradient at a place of the forward, one of its pieces, a value."""

from __future__ import annotations

import ast
import itertools
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from torch_impl.verify.blame.watch import MOST_COPIED, is_numbers
from torch_impl.verify.tolerances import MEANS
from torch_impl.verify.trace.tape import aten, line, packet_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from torch_impl.verify.blame.watch import Watch
    from torch_impl.verify.observe.observation import Observation
    from torch_impl.verify.trace.tape import Node, Tape

    Array = NDArray[Any]

LONGEST = 24  # characters of an expression that stands for a place without a name
MOST_PIECES = 16  # rows of an array that are known by themselves
Key = tuple[Any, ...]  # what a meaning is, in a form that is the same with every probe


@dataclass(frozen=True, eq=False)
class Meaning:
    """Something that a value can be. ``key`` is the same in every observation of one structure."""

    key: Key
    said: str
    value: Array


class Meanings:
    """Everything that a value of a backward pass can be in one observation, to be looked up by its numbers.

    ``names`` are those of the tape's nodes, by where they stand.
    """

    def __init__(self, observation: Observation, names: Mapping[int, str]) -> None:
        tape = observation.tape
        assert tape is not None  # without one nothing is known of what lies between
        self.tape, self.names = tape, names
        self.factors = _factors(observation)
        self.gradients = list(self._gradients(observation))
        self.scaled: list[Meaning] = []
        self.factors_of_it = [*self._slopes(), *self._values()]  # what a gradient is made of
        self._by_norm: dict[int, dict[int, list[Meaning]]] = {}
        for meaning in [*self.gradients, *self.factors_of_it]:
            self._put(meaning)
            for piece in _pieces(meaning):
                self._put(piece)
        for meaning in self.gradients:
            for summed in _sums(meaning):
                self._put(summed)

    def of(self, value: Any) -> list[Meaning]:
        """What a value equals: exactly, in another shape or order of axes, or times a factor that has a name."""
        v = np.asarray(value, np.float64)
        norm = float(np.linalg.norm(v))
        if v.size == 0 or not math.isfinite(norm) or norm == 0:
            return []
        alike = self._by_norm.get(v.size, {})
        for factor, said in self.factors:
            found = [
                Meaning((*m.key, said), f"{said}{m.said}" if said else m.said, m.value)
                for bucket in _buckets(norm / abs(factor)) for m in alike.get(bucket, ()) if _same(v / factor, m.value)
            ]  # fmt: skip
            if found:
                return found
        return []

    def _put(self, meaning: Meaning) -> None:
        norm = float(np.linalg.norm(meaning.value))
        if meaning.value.size and math.isfinite(norm) and norm > 0:
            self._by_norm.setdefault(meaning.value.size, {}).setdefault(_bucket(norm), []).append(meaning)

    def _gradients(self, observation: Observation) -> Iterator[Meaning]:
        """The gradient that arrives at each node, then what each sends to one of its arguments alone."""
        arrived = self.tape.backward(observation.seeds())
        whole: dict[str, list[tuple[Node, Array]]] = {}  # by name the nodes, and what arrives at them
        for node in self.tape.nodes:
            g = arrived.get(node)
            if not isinstance(g, torch.Tensor):
                continue
            name, value = self._name(node), self.tape.values[node].numpy()
            known = whole.setdefault(name, [])
            # At a copy of a value arrives a part of its gradient.
            at, first = next(
                ((n, g) for n, g in known if np.array_equal(self.tape.values[n].numpy().ravel(), value.ravel())),
                (node, g.numpy()),
            )
            known.append((node, g.numpy()))
            part = at is not node and not _same(g.numpy(), first)
            # ∂L/∂(−z) is a flipped sign as well, and proves nothing right.
            kind = "part" if part or packet_of(node) is aten.neg else "∂"
            yield Meaning((kind, self.tape.index[node]), f"{'part of ' * part}∂L/∂{name}", g.numpy())
            if part and first.shape == g.shape and not self._comes_from(node, at):  # it is computed twice
                yield Meaning(("∂", self.tape.index[node], "in all"), f"∂L/∂{name}", first + g.numpy())
        for node, g in arrived.items():
            if node.op != "call_function" or not isinstance(g, torch.Tensor):
                continue
            for argument, sent in self.tape.vjp(node, g):
                if isinstance(sent, torch.Tensor) and len(self.tape.users(argument)) > 1:
                    key = ("part", self.tape.index[argument], self.tape.index[node])
                    yield Meaning(key, f"∂L/∂{self._name(argument)} through {self._name(node)}", sent.numpy())

    def _comes_from(self, node: Node, other: Node) -> bool:
        todo, seen = [node], set()
        while todo:
            at = todo.pop()
            if at is other:
                return True
            if at not in seen:
                seen.add(at)
                todo += [n for n in at.all_input_nodes if self.tape.index[n] >= self.tape.index[other]]
        return False

    def scaled_by(self, scales: Iterable[str]) -> None:
        """Make ``scaled`` of the gradients times these factors, named as they are said."""
        factor = {said: value for value, said in self.factors}
        self.scaled = [
            Meaning((*m.key, "times", said), f"{said}{m.said}", factor[said] * m.value)
            for said in scales if said in factor
            for m in self.gradients if m.key[0] == "∂"
        ]  # fmt: skip

    def _values(self) -> Iterator[Meaning]:
        for node, value in self.tape.values.items():
            if isinstance(value, torch.Tensor) and value.dtype in (torch.float64, torch.float32):
                yield Meaning(("value", self.tape.index[node]), self._name(node), value.double().numpy())

    def _slopes(self) -> Iterator[Meaning]:
        """f′ of every elementwise function of one node."""
        for v in self.tape.nodes:
            if v not in self.tape.variable or self._is_called_otherwise(v):
                continue
            sources = self.tape.sources(v)
            (u,) = sources if len(sources) == 1 else (v,)
            if u is v or u not in self.tape.variable:
                continue
            slope = self.tape.derivative(u, v).numpy()
            yield Meaning(
                ("slope", self.tape.index[u], self.tape.index[v]), f"∂{self._name(v)}/∂{self._name(u)}", slope
            )

    def _is_called_otherwise(self, node: Node) -> bool:
        """Whether a node is a step on the way to a function's value, which has a name of its own."""
        return self.tape.index[node] not in self.names

    def _name(self, node: Node) -> str:
        name = self.names.get(self.tape.index[node])
        if name is not None:
            name = name.replace("self.", "")
            plain = re.fullmatch(r"[\w.]+(\[[^\]]*\])*", name.partition(" at ")[0])
            return name if plain else f"({name})"
        place = line(node).partition(":")[0]
        return f"({node!r}, {place})" if place else f"({node!r})"


def names_of(tape: Tape, forward: Watch) -> dict[int, str]:
    """What the user's forward calls the nodes of the tape, by where they stand: by their numbers.

    An expression without a name is called as it is written.
    """
    found: dict[int, str] = {tape.index[leaf]: name for name, leaf in tape.leaves.items()}
    known: dict[tuple[Any, ...], list[tuple[int, Array]]] = {}
    for node in tape.nodes:
        value = tape.values.get(node)
        if isinstance(value, torch.Tensor) and value.is_floating_point() and node not in tape.leaves.values():
            known.setdefault(tuple(value.shape), []).append((tape.index[node], value.double().numpy()))
    for name, value in _forward_values(forward):
        v = np.asarray(value, np.float64)
        for index, array in known.get(v.shape, ()):
            if index not in found and _same(v, array):
                found[index] = name
    # What an expression is in the last round of a loop, it is in those before.
    alike = {(n.place, str(n.target)): found[tape.index[n]] for n in tape.nodes if n.place and tape.index[n] in found}
    for node in tape.nodes:
        if node.place and (node.place, str(node.target)) in alike:
            found.setdefault(tape.index[node], alike[node.place, str(node.target)])
    return found


def _forward_values(forward: Watch) -> Iterator[tuple[str, Any]]:
    """What the forward computes, by names: those of the outermost function first, then expressions as they stand."""
    depth = {node: i for i, f in enumerate(forward.functions) for node in ast.walk(f.node)}
    often = {step.node for step in forward.steps if step.count}
    named = [step for step in forward.steps if not isinstance(step.node, ast.Return)]
    for step in sorted(named, key=lambda step: depth[step.node]):
        for name, value in step.values.items():
            at = (
                "".join(f" at {k} = {v}" for k, v in step.loop.items())
                if step.node in often and "[" not in name
                else ""
            )
            yield name + at, value
    for node, value in sorted(forward.values.items(), key=lambda item: depth[item[0]]):
        text = ast.unparse(node)
        if is_numbers(value) and len(text) <= LONGEST:
            yield text, value


def _factors(observation: Observation) -> list[tuple[float, str]]:
    """The factors that a value may differ by from what it is, and how they are said; 1 first."""
    found = [(1.0, ""), (-1.0, "−"), (2.0, "2 "), (0.5, "½ "), (-2.0, "−2 ")]
    sizes: dict[int, str] = {}
    for name, n in observation.sizes.items():
        sizes.setdefault(n, name)
    for outputs in observation.upstream:
        sizes.setdefault(int(np.size(outputs)), "size")
    for n, name in sizes.items():
        if n > 2:
            found += [(float(n), f"{name} · "), (1.0 / n, f"1/{name} · "), (-float(n), f"−{name} · ")]
    return found


def _pieces(meaning: Meaning) -> Iterator[Meaning]:
    """What a loop over the first or the last axis sees of a value in each of its rounds."""
    v, name = meaning.value, meaning.said
    if v.ndim < 2 or v.size > MOST_COPIED:
        return
    for axis, before in ((0, ""), (v.ndim - 1, "..., ")):
        for i in range(v.shape[axis] if v.shape[axis] <= MOST_PIECES else 0):
            yield Meaning((*meaning.key, "piece", axis, i), f"{name}[{before}{i}]", v.take(i, axis))


def _sums(meaning: Meaning) -> Iterator[Meaning]:
    """The sums of a gradient over some of its axes."""
    g = meaning.value
    if not 1 < g.ndim < 5:
        return
    for n in range(1, g.ndim):
        for axes in itertools.combinations(range(g.ndim), n):
            said = f"{meaning.said} summed over axis {' and '.join(map(str, axes))}"
            yield Meaning((*meaning.key, "sum", axes), said, g.sum(axis=axes))


def _bucket(norm: float) -> int:
    return round(math.log(norm) * 1e5)


def _buckets(norm: float) -> Sequence[int]:
    b = _bucket(norm)
    return (b, b - 1, b + 1)


def _same(v: Array, known: Array) -> bool:
    """Whether two arrays hold the same numbers, in this shape, in another one or with their axes in another order."""
    tolerance = MEANS * float(np.abs(known).max(initial=0))
    if v.shape == known.shape:
        return bool(np.abs(v - known).max(initial=0) <= tolerance)
    a, b = v.squeeze(), known.squeeze()
    if a.size != b.size:
        return False
    if bool(np.abs(a.ravel() - b.ravel()).max(initial=0) <= tolerance):
        return True
    orders = itertools.permutations(range(b.ndim)) if b.ndim < 5 and b.ndim == a.ndim else ()
    return any(
        b.transpose(order).shape == a.shape and np.abs(a - b.transpose(order)).max(initial=0) <= tolerance
        for order in orders
    )
