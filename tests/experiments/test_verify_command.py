"""python -m experiments verify: what it finds in a file, what it prints and writes, how it ends."""

import decimal
import json
import locale
import os
import random
import re
import signal
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.__main__ import main
from torch_impl import verify
from torch_impl.verify import Report, Section, TensorCheck

PAIR = """
import numpy as np

def affine_forward(x, w, b):
    return x @ w + b, (x, w)

def affine_backward(dout, cache):
    x, w = cache
    return dout @ w.T, x.T @ dout, dout.SUM(axis=0)
"""
SAMPLES = """
def sample_inputs(rng):
    return {"x": rng.standard_normal((7, 5)), "w": rng.standard_normal((5, 3)), "b": rng.standard_normal(3)}
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return str(path)

    return write


def test_without_a_target_it_verifies_scratch_and_finds_nothing(capsys, tmp_path):
    path = tmp_path / "report.json"
    assert main(["verify", "--json", str(path)]) == 0
    found = re.search(r"RIGHT: (\d+) tensors compared", capsys.readouterr().out)
    assert found
    assert int(found[1]) >= 404  # a new layer adds to them
    report = json.loads(path.read_text())
    assert (report["verdict"], report["findings"]) == ("right", [])


def test_a_right_pair_ends_with_0_and_a_wrong_one_with_1(write, capsys):
    assert main(["verify", write(PAIR.replace("SUM", "sum") + SAMPLES)]) == 0
    assert main(["verify", write(PAIR.replace("SUM", "mean") + SAMPLES)]) == 1
    assert "bias-not-summed" in capsys.readouterr().out


def test_shapes_stand_in_for_sample_inputs(write, capsys):
    path = write(PAIR.replace("SUM", "sum").replace("x, w, b)", "x, florb, b)").replace("x @ w", "x @ florb[1:]"))
    assert main(["verify", path]) == 2
    assert "--shapes x=… florb=… b=…, as in x=7x5" in " ".join(capsys.readouterr().out.split())
    assert main(["verify", write(PAIR.replace("SUM", "sum")) + ":affine", "--shapes", "x=4x6", "w=6x2", "b=2"]) == 0
    assert "guessed" not in capsys.readouterr().out


def test_an_exception_is_reported_with_its_line_and_the_rest_goes_on(write, capsys):
    square = "\ndef square_forward(x):\n    return x * x, x\n\ndef square_backward(dout, x):\n    return 2 * x * dout\n"
    text = PAIR + SAMPLES + square
    assert main(["verify", write(text)]) == 2
    out = "".join(capsys.readouterr().out.replace("│", "").split())  # lines end anywhere in a long path
    assert "AttributeError" in out
    assert "mine.py,line9:returndout@w.T,x.T@dout,dout.SUM(axis=0)" in out
    assert "square" in out


def test_a_file_that_does_not_load_is_reported_with_its_line(write, capsys):
    assert main(["verify", write("import numpy as np\nnp.nothing()\n")]) == 2
    assert "mine.py,line2:np.nothing()" in "".join(capsys.readouterr().out.split())


def test_layers_losses_networks_optimizers_and_models(write, capsys):
    text = """
    import numpy as np
    import scratch
    from torch_impl.verify import Model

    class Doubled(scratch.Tanh):
        def backward(self, dy, cache):
            return 2 * super().backward(dy, cache)

    class Net:
        W = np.ones((5, 3))
        def loss(self, x, y):
            self.r = x @ self.W - y
            return (self.r**2).mean()

    layer = Doubled()
    loss = scratch.MSE()
    network = scratch.mlp((5, 4, 3), scratch.Tanh())
    optimizer = scratch.Adam()
    model = Model(Net(), lambda n, x, y: n.loss(x, y),
                  lambda n, x, y: setattr(n, "dW", x.T @ (2 * n.r / n.r.size)), gradients={"W": "dW"})

    def sample_inputs(rng):
        return {"x": rng.standard_normal((7, 5)), "y": rng.standard_normal((7, 3))}
    """
    path = write(text)
    assert main(["verify", path]) == 1
    assert main(["verify", f"{path}:layer"]) == 1
    out = capsys.readouterr().out
    assert out.count("constant-factor") == 2
    for name in ("loss", "network", "optimizer", "model"):
        assert main(["verify", f"{path}:{name}"]) == 0, name


def test_json_and_html_are_written(write, tmp_path):
    path = write(PAIR.replace("SUM", "mean") + SAMPLES)
    assert main(["verify", path, "--json", str(tmp_path / "r.json"), "--html", str(tmp_path / "r.html")]) == 1
    assert json.loads((tmp_path / "r.json").read_text())["findings"][0]["mistake"] == "bias-not-summed"
    assert "bias-not-summed" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.py"], "target is 'nothing.py', expected a Python file that exists"),
        (["--shapes", "x=3"], "shapes are given without a target"),
        (["{path}:afine"], "NAME is 'afine', expected one of 'affine'; did you mean 'affine'?"),
        (["{path}", "--shapes", "x=7by5"], "shapes holds 'x=7by5', expected NAME=7x5"),
        (["{path}", "--shapes", "x=0x5"], "expected lengths of at least 1"),
        (["{path}", "--shapes", "z=4"], "the name in shapes is 'z', expected one of 'b', 'logits', 'w', 'x', 'y'"),
        (["{path}", "--json", "no/such/folder/r.json"], "expected a file in a folder that exists"),
        (["--seed", "-1"], "seed is -1"),
        (["{path}", "--jsn", "r.json"], "did you mean --json?"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(arguments, message, write, capsys, tmp_path):
    path = write(PAIR.replace("SUM", "sum") + SAMPLES)
    try:
        status = main(["verify", *(a.replace("{path}", path) for a in arguments)])
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".py" and p.name != "__pycache__"] == []


def test_a_file_without_anything_to_verify_is_named(write, capsys):
    assert main(["verify", write("x = 1\n")]) == 2
    assert "holds nothing to verify" in capsys.readouterr().err


# --- what is found ----------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch):
    """What the verifier is asked for, in place of its answers: (the entry point, its arguments)."""
    calls = []

    def stand_in(name):
        def record(*args, **kwargs):
            calls.append((name, args, kwargs))
            return Report("it", (Section("it", (TensorCheck("dx", "right"),)),))

        return record

    for name in ("verify_function", "verify_derivative", "verify_network", "verify_layer"):
        monkeypatch.setattr(verify, name, stand_in(name), raising=False)
    return calls


def shapes_of(call):
    _, args, kwargs = call
    inputs = {**kwargs, **next((a for a in args if isinstance(a, dict)), {})}
    return {n: v.shape for n, v in inputs.items() if isinstance(v, np.ndarray)}


@pytest.mark.parametrize(
    ("forward", "backward", "name"),
    [
        ("affine_forward", "affine_backward", "affine"),
        ("forward", "backward", "forward"),
        ("forward_affine", "backward_affine", "affine"),
        ("affine_fwd", "affine_bwd", "affine"),
        ("affineForward", "affineBackward", "affine"),
        ("conv_forward_naive", "conv_backward_naive", "conv_naive"),
        ("forward_propagation", "backward_propagation", "forward_propagation"),
        ("forward_pass", "backprop", "forward_pass"),
        ("affine", "affine_backward", "affine"),
    ],
)
def test_a_pair_is_found_by_its_names(forward, backward, name, write, asked):
    text = PAIR.replace("affine_forward", forward).replace("affine_backward", backward)
    path = write(text)
    for target in (path, f"{path}:{name}", f"{path}:{forward}", f"{path}:{backward}"):
        assert main(["verify", target]) == 0
        what, args, _ = asked.pop()
        assert (what, args[0].__name__, args[1].__name__) == ("verify_function", forward, backward)
        assert asked == []


@pytest.mark.parametrize(
    "name",
    ["f_derivative", "f_prime", "f_grad", "f_deriv", "d_f", "df", "f_backward", "fPrime", "f_gradient", "grad_f"],
)
def test_a_derivative_is_found_by_its_name(name, write, asked, capsys):
    assert main(["verify", write(f"def f(z):\n    return z * z\n\ndef {name}(z):\n    return 2 * z\n")]) == 0
    ((what, args, _),) = asked
    assert (what, args[0].__name__, args[1].__name__, args[2].shape) == ("verify_derivative", "f", name, (7, 5))
    assert "f: called with z (7, 5), which were guessed" in " ".join(capsys.readouterr().out.split())


def test_a_backward_that_takes_an_upstream_gradient_is_no_derivative(write, asked):
    text = "import numpy as np\ndef relu(Z):\n    return np.maximum(0, Z), Z\n"
    assert main(["verify", write(text + "def relu_backward(dA, cache):\n    return dA * (cache > 0)\n")]) == 0
    assert [what for what, _, _ in asked] == ["verify_function"]


def test_the_derivative_of_a_function_with_an_option_is_taken_with_that_option(write, asked):
    text = "def f(x, alpha):\n    return alpha * x\ndef f_prime(x, alpha):\n    return alpha + 0 * x\n"
    assert main(["verify", write(text)]) == 0
    ((what, (f, f_prime, x), _),) = asked
    assert what == "verify_derivative"
    assert np.array_equal(f(x), f_prime(x) * x)


def test_a_loss_and_its_gradient_in_two_functions(write, asked):
    text = """
    def mse(y_true, y_pred):
        return ((y_true - y_pred) ** 2).mean()
    def mse_prime(y_true, y_pred):
        return 2 * (y_pred - y_true) / y_true.size
    """
    assert main(["verify", write(text)]) == 0
    ((what, (both, backward), given),) = asked
    assert (what, backward, given["targets"]) == ("verify_function", None, ("y_true",))
    value, gradients = both(given["y_true"], given["y_pred"])
    assert np.ndim(value) == 0
    assert {n: g.shape for n, g in gradients.items()} == {"y_pred": (7, 5)}


def test_losses_that_return_their_gradient_are_found_and_helpers_are_not(write, asked):
    text = """
    import numpy as np
    def softmax_loss(x, y):
        p = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
        d = p.copy()
        d[np.arange(len(y)), y] -= 1
        return -np.log(p[np.arange(len(y)), y]).mean(), d / len(y)
    def propagate(w, b, X, Y):
        A = 1 / (1 + np.exp(-(w.T @ X + b)))
        m = X.shape[1]
        cost = -(Y * np.log(A) + (1 - Y) * np.log(1 - A)).sum() / m
        return {"dw": X @ (A - Y).T / m, "db": (A - Y).sum() / m}, cost
    def accuracy(x, y):
        return (x.argmax(axis=1) == y).mean()
    def loss_of_epoch(x):
        return x.mean()
    def cost_curve(history):
        return [1.0, 2.0]
    def _hidden_loss(x):
        return x.sum(), 0 * x
    """
    assert main(["verify", write(text)]) == 0
    assert [call[1][0].__name__ for call in asked] == ["softmax_loss", "propagate"]
    assert shapes_of(asked[0]) == {"x": (7, 5), "y": (7,)}
    assert shapes_of(asked[1]) == {"w": (5, 1), "b": (), "X": (5, 7), "Y": (1, 7)}
    value, gradients = asked[1][1][0](**{n: asked[1][2][n] for n in ("w", "b", "X", "Y")})
    assert (np.ndim(value), set(gradients)) == (0, {"dw", "db"})  # the value comes first, as the verifier wants it


def test_a_loss_of_probabilities_is_called_with_probabilities(write, asked):
    text = """
    import numpy as np
    def bce_loss(p, y):
        p = np.clip(p, 1e-7, 1 - 1e-7)
        return -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean(), (p - y) / (p * (1 - p)) / p.size
    """
    assert main(["verify", write(text)]) == 0
    ((_, _, given),) = asked
    assert given["probabilities"] == ("p",)
    assert 0 < given["p"].min() < given["p"].max() < 1


def test_a_network_of_three_functions(write, asked):
    text = """
    import numpy as np
    def forward(X, parameters):
        A = np.tanh(parameters["W1"] @ X + parameters["b1"])
        AL = 1 / (1 + np.exp(-(parameters["W2"] @ A + parameters["b2"])))
        return AL, (X, A, parameters)
    def compute_cost(AL, Y):
        return -(Y * np.log(AL) + (1 - Y) * np.log(1 - AL)).mean()
    def backward(AL, Y, caches):
        return {}
    """
    assert main(["verify", write(text)]) == 0
    ((what, (forward, backward), given),) = asked
    assert (what, forward.__name__, backward.__name__, given["loss"].__name__) == (
        "verify_function", "forward", "backward", "compute_cost"
    )  # fmt: skip
    assert (given["X"].shape, given["Y"].shape) == ((5, 7), (3, 7))


CLASSES = """
import abc
import numpy as np

class Base:
    def forward(self, x):
        raise NotImplementedError
    def backward(self, d):
        raise NotImplementedError

class Empty:
    def forward(self, x):
        pass
    def backward(self, d):
        pass

class Abstract(abc.ABC):
    @abc.abstractmethod
    def forward(self, x): ...
    @abc.abstractmethod
    def backward(self, d): ...

class _Hidden(Base):
    pass

class Trainer:
    def __init__(self, batch_size): pass
    def loss(self, x, y):
        return x.sum(), "easily"
"""


def test_bases_of_other_classes_are_skipped(write, asked, capsys):
    assert main(["verify", write(CLASSES)]) == 2
    assert "holds nothing to verify" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("class C:\n    def forward(self, x): return x * 2\n    def backward(self, d): return d * 2", {"x": (7, 5)}),
        ("class C:\n    def __call__(self, x): return x * 2\n    def gradient(self, x): return 2", {"x": (7, 5)}),
        (
            """class C:
            def __init__(self, n_in, n_out): self.W = np.ones((n_in, n_out))
            def forward_pass(self, x): return x @ self.W
            def backward_pass(self, d): return d @ self.W.T""",
            {"x": (7, 5)},
        ),
        (
            """class C:
            def __init__(self, input_size, output_size): self.W = np.ones((output_size, input_size))
            def forward_propagation(self, x): return self.W @ x
            def backward_propagation(self, d, lr): return self.W.T @ d""",
            {"x": (5, 7)},
        ),
        (
            """class C:
            def __init__(self, W, b): self.W, self.b = W, b
            def forward(self, x): return x @ self.W + self.b
            def backward(self, d): return d @ self.W.T""",
            {"x": (7, 5)},
        ),
        (
            """class C:
            def __init__(self, in_channels, out_channels, kernel_size):
                self.W = np.ones((out_channels, in_channels, kernel_size, kernel_size))
            def forward(self, x): return np.einsum("nchw,fcij->nfhw", x, self.W)
            def backward(self, d): return d""",
            {"x": (2, 3, 7, 7)},
        ),
        (
            """class C:
            def forward(self, y_pred, y_true): return ((y_pred - y_true) ** 2).mean()
            def backward(self): return 0""",
            {"x": (7, 5), "y": (7, 5)},
        ),
        (
            """class C:
            def __init__(self, layer_sizes):
                self.W = [np.ones(s) for s in zip(layer_sizes, layer_sizes[1:])]
            def forward(self, x):
                for W in self.W: x = x @ W
                return x
            def backprop(self, x, y): return []""",
            {"x": (7, 5), "y": (7, 3)},
        ),
        (
            """class C:
            def __init__(self, x, y): self.input, self.y, self.W = x, y, np.ones((x.shape[1], y.shape[1]))
            def feedforward(self): self.output = self.input @ self.W
            def backprop(self): self.W = self.W - self.input.T @ (self.output - self.y)""",
            {"x": (7, 5), "y": (7, 1)},
        ),
        (
            """class C:
            def __init__(self, input_size, output_size): self.params = {"W": np.ones((input_size, output_size))}
            def loss(self, X, y=None, reg=0.0):
                r = X @ self.params["W"] - y
                return (r**2).mean(), {"W": 2 * X.T @ r / r.size}""",
            {"x": (7, 5), "y": (7, 3)},
        ),
    ],
)  # fmt: skip
def test_a_class_is_constructed_and_called(text, shapes, write, asked, capsys):
    path = write("import numpy as np\n" + textwrap.dedent(text.replace("\n        ", "\n")) + "\n")
    for target in (path, f"{path}:C"):
        assert main(["verify", target]) == 0, capsys.readouterr()
        what, (instance,), _ = asked[-1]
        assert (what, type(instance).__name__, shapes_of(asked.pop())) == ("verify_network", "C", shapes)
        assert asked == []


def test_an_instance_is_verified_in_place_of_its_class_and_its_arrays_say_how_wide_its_input_is(write, asked):
    text = """
    import numpy as np
    class Dense:
        def __init__(self, W): self.W = W
        def forward(self, x): return x @ self.W
        def backward(self, d): return d @ self.W.T
    mine = Dense(np.ones((11, 2)))
    """
    path = write(text)
    assert main(["verify", path]) == 0
    ((what, (instance,), _),) = asked
    assert (what, instance.W.shape, shapes_of(asked[0])) == ("verify_network", (11, 2), {"x": (7, 11)})
    assert main(["verify", f"{path}:Dense"]) == 0
    assert asked[1][1][0].W.shape == (5, 3)


def test_what_cannot_be_constructed_is_said_with_what_to_give(write, asked, capsys):
    text = "class Odd:\n    def __init__(self, florb): pass\n    def forward(self, x): return x\n"
    assert main(["verify", write(text + "    def backward(self, d): return d\n")]) == 2
    out = " ".join(capsys.readouterr().out.split())
    assert "no florb to construct it with; expected a module-level instance, as in odd = Odd(florb=…)" in out


def test_what_is_imported_does_not_count(write, asked, capsys):
    write(PAIR + "def f(x):\n    return x\ndef f_prime(x):\n    return 1 + 0 * x\n", "helper.py")
    assert main(["verify", write("from helper import *\nfrom scratch import Linear, MSE\n")]) == 2
    assert "holds nothing to verify" in capsys.readouterr().err


def test_a_homework_file_works_without_a_word_about_shapes(write, capsys):
    text = (
        PAIR.replace("SUM", "sum")
        + """
def relu_forward(x):
    return np.maximum(0, x), x

def relu_backward(dout, cache):
    return dout * (cache > 0)

def softmax_loss(x, y):
    p = np.exp(x - x.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    loss = -np.log(p[np.arange(len(y)), y]).mean()
    p[np.arange(len(y)), y] -= 1
    return loss, p / len(y)
"""
    )
    assert main(["verify", write(text)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "affine: called with x (7, 5), w (5, 3), b (3,), which were guessed; give others with --shapes" in out
    assert "softmax_loss: called with x (7, 5), y (7,) of classes 0 to 4" in out


@pytest.mark.parametrize(
    ("signature", "body", "shapes"),
    [
        ("x, w, b", "x @ w.T + b", {"x": (7, 5), "w": (3, 5), "b": (3,)}),
        ("X, W, b", "W @ X + b", {"X": (5, 7), "W": (3, 5), "b": (3, 1)}),
        ("x, gamma, beta", "gamma * x + beta", {"x": (7, 5), "gamma": (5,), "beta": (5,)}),
        ("x, W1, b1, W2, b2", "np.tanh(x @ W1 + b1) @ W2 + b2",
         {"x": (7, 5), "W1": (5, 4), "b1": (4,), "W2": (4, 3), "b2": (3,)}),
        ("x, prev_h, Wx, Wh, b", "np.tanh(x @ Wx + prev_h @ Wh + b)",
         {"x": (7, 5), "prev_h": (7, 4), "Wx": (5, 4), "Wh": (4, 4), "b": (4,)}),
        ("x, h0, Wx, Wh, b", "np.tanh(x[:, 0] @ Wx + h0 @ Wh + b)",
         {"x": (2, 6, 5), "h0": (2, 4), "Wx": (5, 4), "Wh": (4, 4), "b": (4,)}),
        ("x, w, b, conv_param", "np.einsum('nchw,fcij->nf', x, w) * conv_param['stride'] + b",
         {"x": (2, 3, 7, 7), "w": (4, 3, 3, 3), "b": (4,)}),
        ("x, pool_param", "x[:, :, ::pool_param['pool_height'], ::pool_param['stride']]", {"x": (2, 3, 7, 7)}),
        ("x, gamma, beta, bn_param", "gamma * x + beta * bn_param['momentum']",
         {"x": (7, 5), "gamma": (5,), "beta": (5,)}),
        ("x, dropout_param", "x * dropout_param['p']", {"x": (7, 5)}),
        ("q, k, v", "q @ k.swapaxes(-1, -2) @ v", {"q": (6, 5), "k": (4, 5), "v": (4, 3)}),
        ("a, b", "a * b", {"a": (7, 5), "b": (7, 5)}),
    ],
)  # fmt: skip
def test_shapes_are_guessed_by_the_names_of_the_arguments(signature, body, shapes, write, asked, capsys):
    text = f"import numpy as np\ndef f_forward({signature}):\n    return {body}, 0\ndef f_backward(d, cache): pass\n"
    assert main(["verify", write(text)]) == 0, capsys.readouterr()
    assert shapes_of(asked[0]) == shapes


def test_a_guess_counts_where_the_backward_pass_fits_it_too(write, asked):
    text = """
    import numpy as np
    def linear_forward(X, w, b):
        return X @ w + b
    def linear_backward(dout, X, w, b):
        return np.outer(dout, w), X.T @ dout, np.sum(dout)
    """
    assert main(["verify", write(text)]) == 0
    assert shapes_of(asked[0]) == {"X": (7, 5), "w": (5,), "b": ()}


def test_no_guess_hides_a_sum_that_is_missing(write, capsys):
    text = PAIR.replace("dout.SUM(axis=0)", "dout")
    assert main(["verify", write(text)]) == 1
    assert "x (7, 5), w (5, 3), b (3,)" in " ".join(capsys.readouterr().out.split())


def test_a_layer_for_one_column_is_called_with_one_and_that_is_said(write, asked, capsys):
    text = """
    import numpy as np
    class Dense:
        def __init__(self, input_size, output_size):
            self.W, self.b = np.ones((output_size, input_size)), np.zeros((output_size, 1))
        def forward(self, x):
            self.x = x
            return self.W @ x + self.b
        def backward(self, d, learning_rate):
            self.b -= learning_rate * d
            return self.W.T @ d
    """
    assert main(["verify", write(text)]) == 0
    assert shapes_of(asked[0]) == {"x": (5, 1)}
    assert "x (5, 1) (its backward pass does not fit x (5, 7))" in " ".join(capsys.readouterr().out.split())


def test_targets_constants_and_probabilities_are_handed_on(write, asked, capsys):
    path = write("def f_forward(x, p, c):\n    return x * p * c, 0\ndef f_backward(d, cache): pass\n")
    shapes = ["--shapes", "x=7x5", "p=7x5", "c=5"]
    assert main(["verify", path, *shapes, "--constant", "c", "--probabilities", "p", "--targets", "x"]) == 0
    given = asked[0][2]
    assert [given[n] for n in ("targets", "constant", "probabilities")] == [("x",), ("c",), ("p",)]
    assert main(["verify", path, *shapes, "--targets", "q"]) == 2
    assert "the name in targets is 'q', expected one of 'c', 'logits', 'p', 'x', 'y'" in capsys.readouterr().err


# --- isolation --------------------------------------------------------------------------------------------------------


SQUARE = """
def square_forward(x):
    {forward}
    return x * x, x

def square_backward(dout, x):
    {backward}
    return 2 * x * dout
"""
ENDS = [
    "sys.exit(0)",
    "raise SystemExit",
    "os._exit(0)",
    "raise KeyboardInterrupt",
    "raise BaseException('over')",
    "quit()",
]


@pytest.mark.parametrize("where", ["import", "forward", "backward"])
@pytest.mark.parametrize("end", ENDS)
def test_no_file_ends_the_verification_with_a_status_of_its_own(end, where, write, capsys):
    parts = {"forward": "pass", "backward": "pass", where: end}
    text = "import os, sys\n" + SQUARE.format(**parts) + (end if where == "import" else "") + "\n"
    assert main(["verify", write(text)]) == 2
    out = "".join(capsys.readouterr().out.split())
    assert "COULDNOTBECHECKED" in out
    assert end.replace(" ", "") in out


@pytest.mark.parametrize("where", ["import", "forward", "backward"])
def test_a_real_ctrl_c_ends_it_with_130_even_where_the_file_swallows_it(where, write, capsys):
    press = "signal.raise_signal(signal.SIGINT)"
    swallowed = f"\ntry:\n    {press}\nexcept BaseException:\n    pass\n"
    parts = {"forward": "pass", "backward": "pass"} | ({where: press} if where != "import" else {})
    text = "import signal\n" + SQUARE.format(**parts) + (swallowed if where == "import" else "")
    before = signal.getsignal(signal.SIGINT)
    assert main(["verify", write(text)]) == 130
    assert signal.getsignal(signal.SIGINT) is before


MESS = """
import decimal, locale, os, random, signal, sys, warnings
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
import helper

np.seterr(all="raise")
np.set_printoptions(precision=1)
np.random.seed(1)
random.seed(1)
torch.manual_seed(1)
torch.set_default_dtype(torch.float64)
torch.set_grad_enabled(False)
torch.set_num_threads(torch.get_num_threads() + 1)
warnings.simplefilter("ignore")
decimal.getcontext().prec = 3
os.environ["MESS"] = "1"
os.environ.pop("HOME", None)
os.chdir("/")
sys.path.append("/nowhere")
arguments = list(sys.argv)
sys.argv = ["mess"]
sys.setrecursionlimit(sys.getrecursionlimit() + 7)
signal.signal(signal.SIGTERM, lambda *_: None)
plt.plot([1, 2])
plt.show()
sys.stdout.close()
sys.stderr.close()
""" + SQUARE.format(forward="np.seterr(all='raise')", backward="os.chdir('/')")


def settings():
    return {
        "folder": Path.cwd(),
        "environment": dict(os.environ),
        "path": list(sys.path),
        "argv": list(sys.argv),
        "modules": {name for name in sys.modules if name in ("mine", "helper", "matplotlib.pyplot")},
        "filters": list(warnings.filters),
        "random": random.getstate(),
        "np.random": str(np.random.get_state()),  # noqa: NPY002  the file may change it
        "np.seterr": np.geterr(),
        "print": np.get_printoptions(),
        "torch": (
            torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(), torch.get_rng_state().tolist(),
        ),
        "decimal": decimal.getcontext().prec,
        "locale": locale.setlocale(locale.LC_ALL),
        "recursion": sys.getrecursionlimit(),
        "signals": [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)],
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "exit": os._exit,
    }  # fmt: skip


def test_what_a_file_changes_is_put_back(write, capsys):
    import matplotlib.pyplot as plt

    write("value = 3\n", "helper.py")
    path, before = write(MESS), settings()
    assert main(["verify", path]) == 0, capsys.readouterr()
    after = settings()
    assert {name: value for name, value in after.items() if value != before[name]} == {}
    assert plt.get_fignums() == []
    print("still open")
    assert "still open" in capsys.readouterr().out


def test_the_file_sees_itself_as_a_program(write, capsys):
    text = """
    import pickle, sys
    from dataclasses import dataclass
    from pathlib import Path
    import helper

    @dataclass
    class Point:
        x: "int"

    assert sys.argv == [__file__], sys.argv
    assert helper.value == 3
    assert pickle.loads(pickle.dumps(Point(1))) == Point(1)
    """
    write("value = 3\n", "helper.py")
    path = write(textwrap.dedent(text) + SQUARE.format(forward="pass", backward="pass"))
    assert main(["verify", path]) == 0, capsys.readouterr()


def test_a_file_named_like_a_module_does_not_take_its_place(write):
    text = SQUARE.format(forward="pass", backward="pass")
    assert main(["verify", write(text, "json.py")]) == 0
    assert sys.modules["json"] is json


def test_a_file_of_a_package_finds_its_neighbours(write, tmp_path, capsys):
    (tmp_path / "homework").mkdir()
    write("", "homework/__init__.py")
    write("TWO = 2\n", "homework/numbers.py")
    text = "from .numbers import TWO\n" + SQUARE.format(forward="pass", backward="assert TWO == 2")
    assert main(["verify", write(text, "homework/layers.py")]) == 0, capsys.readouterr()
    assert not any(name.startswith("homework") for name in sys.modules)


def test_what_the_file_prints_goes_to_standard_error(write, capsys):
    text = "import sys\nprint('loaded')\nsys.stdout.buffer.write(b'bytes')\n"
    path = write(text + SQUARE.format(forward="print('forward')", backward="print('backward')"))
    assert main(["verify", path, "--json", "-"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["verdict"] == "right"
    assert all(word in captured.err for word in ("loaded", "bytes", "forward", "backward"))


def test_a_file_that_asks_for_input_gets_none_and_does_not_wait(write, capsys):
    assert main(["verify", write("n = int(input('How many? '))\n")]) == 2
    out = " ".join(capsys.readouterr().out.split())
    assert "raised EOFError: 'How many? ' asks for input, and there is none while a file is verified" in out
    assert "line 1" in out


def test_the_same_random_numbers_come_for_one_name_and_for_the_whole_file(write, asked):
    text = "import numpy as np\nW = np.random.randn(5, 3)\n" + SQUARE.format(forward="pass", backward="pass")
    path = write(text)
    for target in (path, f"{path}:square"):
        assert main(["verify", target, "--seed", "3"]) == 0
    assert np.array_equal(asked[0][2]["x"], asked[1][2]["x"])
