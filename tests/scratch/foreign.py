"""A stand-in for CuPy: arrays that behave as arrays on a GPU do, and graphs that replay what was captured.

The arrays answer NumPy's protocols, so ``np.exp(x)`` works; but no NumPy array mixes with them, and nothing of them
reaches the host (``float(x)``, ``if x``) while a graph is captured. A graph repeats the very operations that were
captured, on the same memory: what a captured step read from the host stays as it was then.
"""

import sys
import types
from contextlib import contextmanager

import numpy as np

graphs = []  # every graph that was captured
_tape = None  # the operations of the graph that is being captured


class Foreign:
    """An array on the device."""

    device = types.SimpleNamespace(id=0)

    def __init__(self, a):
        self.a = a

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        value = getattr(self.a, name)
        if callable(value):
            return lambda *args, **kwargs: done(value, *args, **kwargs)
        return Foreign(value) if isinstance(value, np.ndarray) else value

    def __array__(self, *args, **kwargs):
        raise TypeError("a device's array is not converted in silence")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        return done(getattr(ufunc, method), *inputs, **kwargs)

    def __array_function__(self, function, types, args, kwargs):
        return done(function, *args, **{key: value for key, value in kwargs.items() if key != "like"})

    def __len__(self):
        return len(self.a)

    def __bool__(self):
        return bool(on_host(self))

    def __float__(self):
        return float(on_host(self))


def _operator(name):
    return lambda self, *others: done(getattr(self.a, name), *others)


OPERATORS = "add sub mul truediv pow radd rsub rmul rtruediv rpow iadd isub imul itruediv lt le gt ge eq ne neg"
for _name in [*OPERATORS.split(), "getitem", "setitem"]:
    setattr(Foreign, f"__{_name}__", _operator(f"__{_name}__"))


def done(function, *args, **kwargs):
    """What the function makes of the arrays behind these; noted, if a graph is being captured."""
    args, kwargs = behind(args), behind(kwargs)
    result = function(*args, **kwargs)
    if isinstance(result, np.generic):
        result = np.array(result)  # a place that a replay can write to
    if _tape is not None:
        _tape.append((function, args, kwargs, result))
    return Foreign(result) if isinstance(result, np.ndarray) else result


def behind(value):
    if isinstance(value, Foreign):
        return value.a
    if isinstance(value, tuple | list):
        return type(value)(behind(v) for v in value)
    if isinstance(value, dict):
        return {key: behind(v) for key, v in value.items()}
    if isinstance(value, np.ndarray):
        raise TypeError("a NumPy array among those of the device")
    return value


def on_host(array):
    if _tape is not None:
        raise RuntimeError("the host was given an array while a graph was captured")
    return array.a


class Graph:
    """The operations, the arrays that they read and those that they wrote."""

    def __init__(self, operations):
        self.operations, self.launches = operations, 0

    def launch(self):
        self.launches += 1
        if self.launches == 1:  # a GPU runs nothing while it captures; this did
            return
        for function, args, kwargs, result in self.operations:
            again = function(*args, **kwargs)
            if isinstance(result, np.ndarray) and not np.may_share_memory(again, result):
                result[...] = again


class Stream:
    current = None
    null = types.SimpleNamespace(synchronize=lambda: None)

    def __init__(self, non_blocking=False):
        assert non_blocking, "the legacy stream cannot be captured"

    def __enter__(self):
        Stream.current = self
        return self

    def __exit__(self, *error):
        Stream.current = None

    def synchronize(self):
        pass

    def begin_capture(self):
        global _tape
        _tape = []

    def end_capture(self):
        global _tape
        graphs.append(Graph(_tape))
        _tape = None
        return graphs[-1]


def cupy():
    """A module to stand in sys.modules for CuPy."""
    module = types.ModuleType("cupy")
    module.asarray = lambda a: a if isinstance(a, Foreign) else Foreign(np.array(a))
    module.asnumpy = lambda a: np.array(on_host(a))
    module.add = types.SimpleNamespace(at=lambda a, rows, values: done(np.add.at, a, rows, values))
    module.zeros = lambda *args: Foreign(np.zeros(*args))
    module.cuda = types.SimpleNamespace(
        Device=lambda number: _nothing(),
        Stream=Stream,
        get_current_stream=lambda: Stream.current,
        MemoryPool=lambda: types.SimpleNamespace(malloc=None),
        using_allocator=lambda malloc: _nothing(),
        runtime=types.SimpleNamespace(getDeviceCount=lambda: 1, CUDARuntimeError=RuntimeError),
    )
    return module


@contextmanager
def _nothing():
    yield


def install(monkeypatch):
    """Let scratch find this where it looks for CuPy."""
    compute = {"type": "COMPUTE_TYPE_FP32"}
    products = types.SimpleNamespace(
        get_compute_type=lambda dtype: compute["type"],
        set_compute_type=lambda dtype, kind: compute.update(type=kind),
        **{f"COMPUTE_TYPE_{name}": f"COMPUTE_TYPE_{name}" for name in ("FP32", "TF32", "BF16")},
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy())
    monkeypatch.setitem(sys.modules, "cupy._core._routines_linalg", products)
    graphs.clear()
