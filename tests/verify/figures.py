"""What the verifier makes of mutants: found, blamed at the changed line, mended? And tables of that."""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import signal
import time
import traceback
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property, partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.verify.mutating import compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from tests.verify.mutating import Mutation
    from torch_impl.verify import Report
    from torch_impl.verify.listing import Repair

LONGEST = 20  # seconds, for what a mutant computes
EQUAL = 1e-11  # of the largest element: what differs by less is the same in effect


def limited(seconds: float) -> AbstractContextManager[Any]:
    """Inside, every search for a repair ends after so many seconds; with 0 there is none."""
    try:
        from torch_impl.verify.limits import limited as limit
    except ModuleNotFoundError:  # a verifier without repairs has no limit for them
        return contextlib.nullcontext()
    return limit(seconds)


@dataclass(eq=False)
class Owner:
    """Whose function is changed, how that is verified, and what it computes."""

    name: str
    function: Any
    using: Callable[[Any], AbstractContextManager[Any]]  # what has another function in its place, inside
    report: Callable[[Any], Report]
    outcome: Callable[[Any], tuple[list[Any], list[Any]]]  # the forward's values, and the gradients or the steps
    fresh: Callable[[Any], list[Any]]  # those of other inputs, of other sizes, at kinks: what a repair is judged by
    linear: Callable[[Any], bool] = lambda _: True  # in its upstream gradient

    @contextlib.contextmanager
    def running(self, function: Any) -> Iterator[Any]:
        """Inside, the owner has this function, and floating point warns of nothing."""
        with self.using(function) as subject, np.errstate(all="ignore"):
            yield subject

    @cached_property
    def right(self) -> tuple[list[Any], list[Any]]:
        with self.running(self.function) as subject:
            return self.outcome(subject)

    @cached_property
    def right_fresh(self) -> list[Any]:
        with self.running(self.function) as subject:
            return self.fresh(subject)


@dataclass(frozen=True)
class Mutant:
    """One change in the function of an owner."""

    owner: Owner
    mutation: Mutation

    @property
    def name(self) -> str:
        return f"{self.owner.name} | {self.mutation.said} | {self.mutation.line}"


@dataclass(frozen=True)
class Result:
    """What the verifier says of a mutant.

    ``status`` is "raises", "another forward", "equivalent", "found", "MISSED", "FALSE ALARM", or "CRASH" where
    the verifier raised. ``right`` is what the verifier says of the mended function, and ``equal`` whether it computes
    what the function did before it was mutated.
    """

    name: str
    owner: str
    kind: str
    status: str
    mistakes: tuple[str, ...] = ()
    blamed: bool = False
    repaired: bool = False
    equal: bool = False
    right: bool = False
    said: str = ""  # of the lines and of the repair
    seconds: float = 0.0
    linear: bool = True

    @property
    def is_bad(self) -> bool:
        """What must not be: missed, a false alarm, a repair of what is right or that is none."""
        offered = self.repaired and not (self.status == "found" and self.right)
        return self.status in ("MISSED", "FALSE ALARM", "CRASH") or offered


def tried(mutant: Mutant) -> str:
    """What a mutant is, without the verifier: "wrong", "equivalent", "raises" or "another forward"."""
    mutation = mutant.mutation
    with compiled(mutation.text, mutation.function) as function, mutant.owner.running(function) as subject:
        return _tried(mutant.owner, subject)


def _tried(owner: Owner, subject: Any) -> str:
    (right_forward, right), numbers = owner.right, None
    try:
        with _ended(after=LONGEST):
            numbers = owner.outcome(subject)
        forward, outcome = numbers
        if not all(np.allclose(a, b, rtol=1e-12, atol=0) for a, b in zip(forward, right_forward, strict=True)):
            return "another forward"
        return "equivalent" if len(outcome) == len(right) and all(map(_same, outcome, right)) else "wrong"
    except Exception:  # a mutant may raise anything, and return anything
        return "raises"


@contextlib.contextmanager
def _ended(after: int) -> Iterator[None]:
    """Inside, TimeoutError is raised after so many seconds: a mutant's loop may have no end."""

    def end(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(after)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def judge(mutant: Mutant, seconds: float = 0.0) -> Result:
    """What the verifier says of a mutant; it looks so many seconds for each repair."""
    owner, mutation = mutant.owner, mutant.mutation
    result = Result(mutant.name, owner.name, mutation.kind, "")
    with compiled(mutation.text, mutation.function) as function, owner.running(function) as subject:
        status = _tried(owner, subject)
        if status in ("raises", "another forward"):
            return replace(result, status=status)
        start = time.perf_counter()
        try:
            with limited(seconds):
                report = owner.report(subject)
        except Exception as error:  # the fault is the verifier's, and the table of the others is wanted
            place = traceback.extract_tb(error.__traceback__)[-1]
            said = f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})"
            return replace(result, status="CRASH", said=said)
        took, file = time.perf_counter() - start, function.__code__.co_filename
        result = replace(result, linear=owner.linear(subject))
    mistakes = tuple(f.mistake for f in report.findings)
    found = bool(mistakes) or not report.ok
    status = {"equivalent": ("equivalent", "FALSE ALARM"), "wrong": ("MISSED", "found")}[status][found]
    result = replace(result, status=status, mistakes=mistakes, seconds=took)
    repairs = [f.repair for f in report.findings if f.repair is not None]
    wrong = [(a.file, a.first_wrong.number) for s in report.sections for a in s.listings if a.first_wrong]
    lines = [(repair.file, repair.line) for repair in repairs[:1]] or wrong
    result = replace(result, blamed=any(f == file and line in mutation.lines for f, line in lines))
    result = replace(result, said=", ".join(f"line {line} of {Path(f).name}" for f, line in lines))
    if not (repairs and repairs[-1].mends_all):
        return result
    equal, right = mended(owner, mutation, repairs[-1], file)
    said = f"{repairs[-1].said}: {_lines(repairs[-1])}"
    return replace(result, repaired=True, equal=equal, right=right, said=f"{result.said}: {said}")


def mended(owner: Owner, mutation: Mutation, repair: Repair, file: str) -> tuple[bool, bool]:
    """Whether the mended function computes with fresh inputs what the original does, and whether it is verified.

    A repair of another file than that of the mutant is neither.
    """
    if repair.file != file:
        return False, False
    expected = owner.right_fresh
    with compiled(repair.after, mutation.function) as function, owner.running(function) as subject:
        try:
            fresh = owner.fresh(subject)
        except Exception:  # so may what is offered for a repair
            return False, False
        if len(fresh) == len(expected) and all(map(_near, fresh, expected)):
            return True, True
        with limited(0):
            report = owner.report(subject)
        return False, report.ok  # another convention at a kink is right too, and is not equal


def _lines(repair: Repair) -> str:
    """The lines that a repair puts in the place of others."""
    changed = (line for line in repair.diff.splitlines() if line.startswith(("+", "-")))
    return "  ".join(" ".join(line.split()) for line in changed if not line.startswith(("+++", "---")))


def _same(a: Any, b: Any) -> bool:
    return np.shape(a) == np.shape(b) and bool(np.allclose(a, b, rtol=1e-11, atol=1e-15))


def _near(a: Any, b: Any) -> bool:
    """Equal to rounding, beside the largest element."""
    if np.shape(a) != np.shape(b):
        return False
    scale = float(np.max(np.abs(b), initial=0, where=np.isfinite(b)))
    return bool(np.allclose(a, b, rtol=0, atol=EQUAL * scale, equal_nan=True))


# --- many of them, in a table -----------------------------------------------------------------------------------------


def parser(description: str) -> argparse.ArgumentParser:
    """What the scripts take alike."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("words", nargs="*", metavar="WORD", help="those alone whose name has one of these in it")
    made.add_argument("--seconds", type=float, default=20.0, help="the limit of each search for a repair; 0: no search")
    made.add_argument("--one-in", type=int, default=1, metavar="N", help="every Nth mutant alone")
    made.add_argument("--jobs", type=int, default=1, metavar="K", help="processes")
    made.add_argument("--list", action="store_true", help="also print what is not blamed, or not repaired")
    return made


_MUTANTS: list[Mutant] = []  # those of a run: what forked processes are told is an index


def judge_all(mutants: Sequence[Mutant], seconds: float, jobs: int) -> Iterator[Result]:
    """The results in the order of the mutants, with a line of progress."""
    _MUTANTS[:] = mutants
    return in_order(partial(_judge_one, seconds), len(mutants), jobs)


def in_order(one: Callable[[int], Any], count: int, jobs: int) -> Iterator[Any]:
    """``one(i)`` for each i, made by several processes where there are several jobs, with a line of progress."""
    console = Console(stderr=True)
    told = partial(track, total=count, console=console, transient=True, disable=not console.is_terminal)
    if jobs == 1:
        yield from told(map(one, range(count)))
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from told(pool.imap(one, range(count)))


def _judge_one(seconds: float, i: int) -> Result:
    return judge(_MUTANTS[i], seconds)


def table_by(column: str, results: Sequence[Result]) -> Table:
    """The wrong mutants by their "kind" or "owner": how many are found, blamed, repaired, equal; the seconds of one."""
    table = Table(title=f"Wrong mutants, by {column}", title_justify="left")
    for header in ("", "wrong", "found", "blamed", "repaired", "right", "equal", "median s", "95 % s", "raise"):
        table.add_column(header, justify="right" if header else "left")
    wrong = [r for r in results if r.status in ("found", "MISSED", "CRASH")]
    raised = Counter(getattr(r, column) for r in results if r.status == "raises")
    groups = (
        sorted({getattr(r, column) for r in wrong}) if column == "kind" else [*dict.fromkeys(r.owner for r in wrong)]
    )
    for group in [*groups, "all"]:
        mine = [r for r in wrong if group in (getattr(r, column), "all")]
        seconds = [r.seconds for r in mine]
        found, blamed, repaired, right, equal = (
            sum(map(counted, mine)) for counted in (_found, *map(attrgetter, ("blamed", "repaired", "right", "equal")))
        )
        counts = [*(f"{n} ({n / len(mine):.0%})" for n in (found, blamed, repaired)), str(right), str(equal)]
        times = [f"{np.quantile(seconds, q):.2f}" for q in (0.5, 0.95)]
        raises = sum(raised.values()) if group == "all" else raised[group]
        table.add_row(group, str(len(mine)), *counts, *times, str(raises), end_section=group == groups[-1])
    return table


def _found(result: Result) -> bool:
    return result.status == "found"


def print_lists(console: Console, results: Sequence[Result], everything: bool) -> None:
    """What must not be, the repairs that are right and not equal; on request all that is not blamed or not repaired."""
    wrong = [r for r in results if r.status == "found"]
    lists = {
        "bad": [r for r in results if r.is_bad],
        "right by autograd, and not equal": [r for r in wrong if r.right and not r.equal],
        "not blamed": [r for r in wrong if not r.blamed] if everything else [],
        "blamed, not repaired": [r for r in wrong if r.blamed and not r.repaired] if everything else [],
    }
    for title, listed in lists.items():
        for r in listed:
            status = f"{title}{f' ({r.status})' * (title == 'bad')}"
            console.print(f"{status}: {r.name}  {r.mistakes}  {r.said}", soft_wrap=True, markup=False)
