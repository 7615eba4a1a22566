"""python -m experiments verify: what it finds in a file, what it prints and writes, how it ends."""

import json
import re
import textwrap

import pytest

from experiments.__main__ import main

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
    path = write(PAIR.replace("SUM", "sum"))
    assert main(["verify", path]) == 2
    assert "--shapes x=… w=… b=…, as in x=7x5" in " ".join(capsys.readouterr().out.split())
    assert main(["verify", f"{path}:affine", "--shapes", "x=7x5", "w=5x3", "b=3"]) == 0


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
