"""Functions found in their source, run with other code in one thread, and watched: nothing of it stays."""

import ast
import gc
import linecache
import sys
import threading

import numpy as np
import pytest

from tests.verify import nets
from torch_impl.verify.blame.watch import Watch
from torch_impl.verify.source.functions import Sources
from torch_impl.verify.source.running import quiet, replaced


def scaled(k):
    def inner(x):
        return x * k

    return inner


triple = scaled(3)


class Counter:
    """A method with a private name, super() and a keyword."""

    def __init__(self):
        self.__by = 2

    def up(self, x, *, twice=False):
        super().__init__()
        times = (lambda n: n + 1)(1) if twice else 1
        return triple(x) + times * self.__by


@pytest.fixture
def up():
    counter = Counter()
    (found,) = (f for f in Sources().called_in(lambda: counter.up(1)) if f.name == "Counter.up")
    return found, counter


def added_for_subtracted(function):
    for node in ast.walk(function.node):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            node.op = ast.Sub()
    return function.compiled()


def test_functions_are_found_where_they_are_defined():
    counter = Counter()
    found = Sources().called_in(lambda: (counter.up(1, twice=True), np.linalg.norm(np.ones(3))))
    assert [f.name for f in found if f.name != "<lambda>"] == ["Counter.up", "inner"]  # the lambda is the run itself
    assert {f.file.name for f in found} == {__file__}


def test_what_the_garbage_collector_calls_meanwhile_is_not_the_users():
    def tells(phase, info):
        pass

    gc.callbacks.append(tells)
    try:
        found = Sources().called_in(lambda: (gc.collect(), triple(1)))
    finally:
        gc.callbacks.remove(tells)
    assert [f.name for f in found if f.name != "<lambda>"] == ["inner"]


def test_other_code_runs_inside_in_this_thread_alone(up):
    function, counter = up
    elsewhere = []
    with replaced({function: added_for_subtracted(function)}):
        assert counter.up(1) == 1
        thread = threading.Thread(target=lambda: elsewhere.append(counter.up(1, twice=True)))
        thread.start()
        thread.join()
        with replaced({function: function.code}):
            pass
        assert counter.up(1) == 1
    assert elsewhere == [7]
    assert counter.up(1) == 5


def test_nothing_stays_after_an_exception(up):
    function, _ = up
    before, names = function.code, set(globals())
    with pytest.raises(KeyboardInterrupt), replaced({function: added_for_subtracted(function)}):
        raise KeyboardInterrupt
    assert Counter.up.__code__ is before
    assert set(globals()) == names
    assert Counter.up.__dict__ == {}


def test_a_function_whose_file_has_changed_since_has_no_source(tmp_path, monkeypatch):
    file = tmp_path / "changing.py"
    file.write_text("def f(x):\n    return x + 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import changing

    file.write_text("def f(x):\n    return x + 2\n")
    assert not any(f.name == "f" for f in Sources().called_in(lambda: changing.f(1)))
    file.write_text("def f(x):\n    return x + 1\n")
    linecache.clearcache()
    assert any(f.name == "f" for f in Sources().called_in(lambda: changing.f(1)))


def test_every_statement_is_watched_in_the_order_in_which_it_runs():
    x, w, b = np.ones((4, 2)), np.ones((2, 3)), np.ones(3)
    cache = nets.dense(x, w, b)[1]
    functions = Sources().called_in(lambda: nets.dense_backward_in_a_loop(np.ones((4, 3)), cache))
    watch = Watch(functions)
    with watch.watching():
        watched = nets.dense_backward_in_a_loop(np.ones((4, 3)), cache)
    for a, e in zip(watched, nets.dense_backward_in_a_loop(np.ones((4, 3)), cache), strict=True):
        np.testing.assert_array_equal(a, e)
    rounds = [(step.loop, step.count) for step in watch.steps if "dw" in step.values and step.loop]
    assert rounds == [({"i": i}, i) for i in range(4)]
    last = [step for step in watch.steps if "dw" in step.values][-1]
    np.testing.assert_array_equal(last.values["dw"], watched[1])
    assert not any("__watch" in name for name in vars(nets))


def test_what_one_thread_drops_another_prints(capsys):
    def other():
        print("heard")

    before = sys.stdout
    with quiet(), quiet():
        print("dropped")
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    print("heard again")
    assert sys.stdout is before
    assert capsys.readouterr().out == "heard\nheard again\n"
