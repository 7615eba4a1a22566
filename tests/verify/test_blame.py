"""Each line of a wrong backward has its verdict, and the first wrong one is told."""

import contextlib
import inspect
import io

import numpy as np
import pytest

from tests.verify import nets
from torch_impl.verify import Model, verify_function, verify_network
from torch_impl.verify.limits import limited

pytestmark = pytest.mark.usefixtures("searching")


def drawn(**shapes):
    rng = np.random.default_rng(3)
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


TWO_LAYERS = drawn(x=(4, 3), W1=(3, 5), b1=(5,), W2=(5, 2), b2=(2,))
X = drawn(x=(4, 3))["x"]


def marks(report, function=""):
    """The verdicts of one function's lines, by their text without comments; those that have one."""
    listings = [a for section in report.sections for a in section.listings if a.function.endswith(function)]
    return {line.text.split("#")[0].strip(): line.mark for line in listings[0].lines if line.mark}


def mended_lines(report):
    """What each finding's edit puts in place of what, without comments."""
    diffs = [f.repair.diff.splitlines() for f in report.findings if f.repair is not None]
    return [
        [
            line[0] + line[1:].split("#")[0].strip()
            for line in diff
            if line[0] in "+-" and line[:3] not in ("+++", "---")
        ]
        for diff in diffs
    ]


def test_every_line_of_a_network_says_what_its_value_is():
    report = verify_function(nets.two_layers, nets.two_layers_wrong, TWO_LAYERS)
    assert marks(report) == {
        "dz2 = dout * (1 - a2**2)": "✓ ∂L/∂z2",
        "dW2 = a1.T @ dz2": "✓ ∂L/∂W2",
        "db2 = dz2.sum(axis=0)": "✓ ∂L/∂b2",
        "da1 = dz2 @ W2.T": "✓ ∂L/∂a1",
        "dz1 = da1 * sigmoid(a1)": "✗ first wrong; should be ∂L/∂z1",
        "dW1 = x.T @ dz1": "affected",
        "db1 = dz1.sum(axis=0)": "affected",
        "dx = dz1 @ W1.T": "affected",
        "return dx, dW1, db1, dW2, db2": "affected",
    }


def test_a_loop_through_time_is_right_up_to_the_step_at_which_it_goes_wrong():
    inputs = drawn(x=(4, 4, 3), Wx=(3, 6), Wh=(6, 6), h0=(4, 6))
    report = verify_function(nets.rnn, nets.rnn_wrong, inputs)
    said = marks(report)
    assert said["dh = dhs[t]"].startswith("✗ first wrong; right at t = 3, wrong from t = 2 on")
    assert mended_lines(report) == [["-dh = dhs[t]", "+dh = dhs[t] + dh_next"]]


def test_a_loss_and_its_gradients_in_one_function_are_told_apart():
    inputs = drawn(w=(3,), b=(), x=(6, 3)) | {"y": np.array([0.0, 1, 1, 0, 1, 0])}
    report = verify_function(nets.logistic, None, inputs, targets=("x", "y"))
    said = marks(report, "logistic")
    assert said["dz = (y - p) / len(y)"].startswith("✗ first wrong")
    assert said["dw = x.T @ dz"] == said["db = dz.sum()"] == "affected"
    assert not any("p = sigmoid" in text for text in said if "✗" in said[text])


def test_an_objects_backward_is_listed_and_mended():
    report = verify_network(nets.Net(np.random.default_rng(0)), x=X)
    said = marks(report, "backward")
    assert said["dh = dout @ self.W2.T"] == "✓ ∂L/∂h"
    assert said["dz = dh * (1 - self.h)"].startswith("✗ first wrong")
    assert len(mended_lines(report)) == 1


def test_three_faults_are_each_blamed_and_mended():
    report = verify_function(nets.two_layers, nets.two_layers_three_faults, TWO_LAYERS)
    wrong = [text for text, mark in marks(report).items() if "✗" in mark]
    assert wrong == ["db2 = dz2.mean(axis=0)", "dz1 = da1 * a1 * (1 + a1)", "dx = -dz1 @ W1.T"]
    edits = [f.repair for f in report.findings if f.repair is not None]
    assert len(edits) == 3
    last = max(edits, key=lambda edit: edit.mends_all)
    for right in ("db2 = dz2.sum(axis=0)", "(1 - a1)", "dx = dz1 @ W1.T"):
        assert right in last.after[last.after.index("def two_layers_three_faults") :]


class Updating:
    """A layer that takes a step in its own backward."""

    def __init__(self):
        self.W = np.random.default_rng(0).standard_normal((3, 2))

    def forward(self, x):
        self.x = x
        return np.tanh(x @ self.W)

    def backward(self, dout):
        z = self.x @ self.W
        dz = dout * (1 - np.tanh(z) ** 2)
        dx = -dz @ self.W.T
        self.W -= 0.1 * self.x.T @ dz
        return dx


def test_a_method_that_updates_its_weights_is_watched_like_any_other():
    layer = Updating()
    before = layer.W.copy()
    report = verify_network(Model(layer, weights=("W",), lr=0.1), x=X)
    said = marks(report, "backward")
    assert said["dz = dout * (1 - np.tanh(z) ** 2)"].startswith("✓ ∂L/∂")
    assert said["dx = -dz @ self.W.T"].startswith("✗ first wrong")
    assert mended_lines(report) == [["-dx = -dz @ self.W.T", "+dx = dz @ self.W.T"]]
    assert np.array_equal(layer.W, before)


def leaf_backward(dout, z):
    return dout * (1 + np.tanh(z) ** 2)  # 1 - tanh²


def tanh_layer(x, W):
    z = x @ W
    return np.tanh(z), (x, W, z)


def calls_a_wrong_helper(dout, cache):
    x, W, z = cache
    dz = leaf_backward(dout, z)
    dW = x.T @ dz
    return dz @ W.T, dW


def test_a_wrong_helper_is_blamed_where_it_is_wrong():
    report = verify_function(tanh_layer, calls_a_wrong_helper, drawn(x=(4, 3), W=(3, 2)))
    assert "should be ∂L/∂z" in marks(report, "leaf_backward")["return dout * (1 + np.tanh(z) ** 2)"]
    assert not any("✗" in mark for mark in marks(report, "calls_a_wrong_helper").values())
    (lines,) = mended_lines(report)
    assert lines[1].startswith("+return dout * (1 - np.tanh(z)")


def prints(dout, cache):
    x, W, z = cache
    dz = dout * (1 + np.tanh(z) ** 2)
    print("backward", dz.shape)
    return dz @ W.T, x.T @ dz


def test_what_a_backward_prints_is_not_printed_for_every_edit():
    inputs = drawn(x=(4, 3), W=(3, 2))
    with contextlib.redirect_stdout(io.StringIO()) as told:
        report = verify_function(tanh_layer, prints, inputs)
    tried = told.getvalue().count("backward")
    assert mended_lines(report)
    with contextlib.redirect_stdout(io.StringIO()) as told, limited(0):
        verify_function(tanh_layer, prints, inputs)
    assert tried <= told.getvalue().count("backward") + 3


CALLS = []


def interrupted(dout, cache):
    x, W, z = cache
    CALLS.append(1)
    if len(CALLS) > 45:
        raise KeyboardInterrupt
    dz = dout * (1 + np.tanh(z) ** 2)
    return dz @ W.T, x.T @ dz


def test_ctrl_c_leaves_every_function_as_it_was():
    code, names = interrupted.__code__, set(vars(inspect.getmodule(interrupted)))
    signature = inspect.signature(interrupted)
    with pytest.raises(KeyboardInterrupt):
        verify_function(tanh_layer, interrupted, drawn(x=(4, 3), W=(3, 2)))
    assert interrupted.__code__ is code
    assert tanh_layer.__code__.co_name == "tanh_layer"
    assert set(vars(inspect.getmodule(interrupted))) == names
    assert inspect.signature(interrupted) == signature
    assert not hasattr(interrupted, "__signature__")


def test_a_fault_in_another_file_is_blamed_there(tmp_path, monkeypatch):
    files = {  # the call lies between the first line of the wrong statement and the line of it that is edited
        "slopes_of_mine": "def slope(a):\n    return (\n        1\n\n\n        - a\n    )\n",
        "layer_of_mine": "import numpy as np\nfrom slopes_of_mine import slope\n\ndef backward(dout, a):\n"
        "    return dout * slope(a)\n\ndef forward(x):\n    a = np.tanh(x)\n    return a, a\n",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    import layer_of_mine

    report = verify_function(layer_of_mine.forward, layer_of_mine.backward, drawn(x=(4, 3)))
    (edit,) = (f.repair for f in report.findings)
    wrong = {a.function: [x.text.strip() for x in a.lines if x.verdict == "wrong"] for a in report.sections[0].listings}
    home = "slope" if edit.file.endswith("slopes_of_mine.py") else "backward"
    assert [function for function, lines in wrong.items() if lines] == [home]
    assert len(wrong[home]) == 1
