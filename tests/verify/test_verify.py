"""What the three ways in promise, beside naming faults."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

import scratch
from scratch import MSE, Adam, BatchNorm, CrossEntropy, Linear, Network, ReLU, Tanh
from scratch.activations import Activation
from tests.torch_impl.trainings import NORMED, SEQUENCES
from tests.verify.correct import CASES, CORRECT, random_network
from torch_impl.verify import Model, check, verify_function, verify_layer, verify_loss, verify_network, verify_optimizer
from torch_impl.verify.observe.observation import Observation


def affine_forward(x, w, b):
    return x @ w + b, (x, w)


def affine_backward(dout, cache):
    x, w = cache
    return dout @ w.T, x.T @ dout, dout.sum(axis=0)


@pytest.fixture
def affine(rng):
    return {"x": rng.standard_normal((7, 5)), "w": rng.standard_normal((5, 3)), "b": rng.standard_normal(3)}


# --- right is right ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "run"), [*CASES, *CORRECT.items()], ids=lambda p: p if isinstance(p, str) else "")
def test_correct_code_gets_no_finding(name, run):
    report = run()
    assert report.ok, str(report)
    assert report.findings == (), str(report)


@pytest.mark.parametrize("seed", range(8))
def test_a_random_network_gets_no_finding(seed):
    report = random_network(seed)
    assert report.ok, str(report)
    assert report.findings == (), str(report)


def test_what_is_handed_over_stays_as_it_is(affine):
    before = {name: a.copy() for name, a in affine.items()}
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    verify_function(affine_forward, affine_backward, **affine)
    assert all((affine[name] == before[name]).all() for name in affine)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_the_same_seed_gives_the_same_report(affine):
    first, second = (verify_function(affine_forward, affine_backward, seed=3, **affine) for _ in range(2))
    assert first.sections == second.sections


# --- nothing is overlooked --------------------------------------------------------------------------------------------


def test_one_wrong_element_of_two_thousand_is_found_with_its_index(rng):
    def backward(dout, cache):
        dx, dw, db = affine_backward(dout, cache)
        dw[33, 17] *= 1.002
        return dx, dw, db

    inputs = {"x": rng.standard_normal((9, 50)), "w": rng.standard_normal((50, 40)), "b": rng.standard_normal(40)}
    report = verify_function(affine_forward, backward, **inputs)
    (finding,) = report.findings
    assert (finding.tensor, finding.mistake) == ("dw", "unknown")
    assert "only element (33, 17)" in finding.evidence
    (check,) = [c for c in report.sections[0].checks if c.verdict == "wrong"]
    assert (check.tensor, check.worst, check.wrong_elements) == ("dw", (33, 17), 1)


def test_a_backward_that_knows_one_batch_size_alone_is_found():
    class Seven(Linear):
        def backward(self, dy, cache, dW, db, need_dx=True):
            return super().backward(dy.reshape(7, self.n_out), cache, dW, db, need_dx)

    report = verify_layer(Seven(5, 3), (7, 5))
    assert not report.ok
    assert "backward raises with the probe “another batch size”" in report.findings[0].explanation


def test_a_gradient_that_is_not_wholly_written_is_found():
    class Partial(Linear):
        def backward(self, dy, cache, dW, db, need_dx=True):
            x, W = cache
            dW[:-1] = (dy.T @ x)[:-1]
            db[:] = dy.sum(axis=0)
            return dy @ W

    report = verify_layer(Partial(5, 3), (7, 5))
    assert not report.ok
    assert any("index [2, 0] keeps what was there" in f.evidence for f in report.findings)


def test_a_backward_that_remembers_is_found():
    calls = []

    class Drifting(Linear):
        def backward(self, dy, cache, dW, db, need_dx=True):
            calls.append(1)
            return super().backward(dy, cache, dW, db, need_dx) * (1 if len(calls) == 1 else 2)

    report = verify_layer(Drifting(5, 3), (7, 5))
    assert ["a second call gives another gradient" in f.explanation for f in report.findings] == [True]


def test_a_forward_that_overwrites_what_an_earlier_one_keeps_is_found():
    kept = {}

    class Stale(Linear):
        def forward(self, x, W, b):
            y, kept["cache"] = super().forward(x, W, b)
            return y, None

        def backward(self, dy, cache, dW, db, need_dx=True):
            return super().backward(dy, kept["cache"], dW, db, need_dx)

    report = verify_layer(Stale(5, 3), (7, 5))
    assert ["overwrites what an earlier one keeps" in f.explanation for f in report.findings] == [True]


def test_one_cache_for_all_calls_is_right_and_said(affine):
    kept = {}

    def forward(x, w, b):
        kept["x"], kept["w"] = x, w
        return x @ w + b

    report = verify_function(forward, lambda dout: affine_backward(dout, (kept["x"], kept["w"])), **affine)
    assert (report.verdict, [f.mistake for f in report.findings]) == ("right, but", ["aliasing"])
    assert "overwrites what an earlier one keeps" in report.findings[0].explanation


class LeakyWithoutSlope(scratch.LeakyReLU):
    def backward(self, dy, cache):
        return dy * (cache > 0)


class TransposingLinear(Linear):
    def backward(self, dy, cache, dW, db, need_dx=True):
        dx = super().backward(dy, cache, dW, db, need_dx)
        dW[:] = dW.T.reshape(dW.shape)
        return dx


class UnaveragedMSE(MSE):
    def value_and_grad(self, logits, y):
        value, dlogits = super().value_and_grad(logits, y)
        return value, dlogits * len(logits)


def test_three_faults_at_once_each_in_its_place(rng):
    network = Network((TransposingLinear(5, 9), LeakyWithoutSlope(0.1), Linear(9, 3)))
    report = verify_network(network, UnaveragedMSE(), x=rng.standard_normal((7, 5)), y=rng.standard_normal((7, 3)))
    assert [(f.mistake, f.where.split(",")[0]) for f in report.findings] == [
        ("missing-batch-mean", "loss"),
        ("leaky-slope-lost", "layer 1"),
        ("transposed", "layer 0"),
    ]
    assert report.first_divergence == "the whole network: boundaries: ∂ logits"


def test_two_faults_in_one_function(affine):
    def forward(x, w, b):
        z = x @ w + b
        return np.tanh(z), (x, w, z)

    def backward(dout, cache):
        x, w, z = cache
        dz = 2 * dout * (1 - np.tanh(z) ** 2)
        return dz @ w.T, x.T @ dz, dz.mean(axis=0)

    report = verify_function(forward, backward, **affine)
    assert {f.mistake for f in report.findings} == {"constant-factor", "bias-not-summed"}


def test_the_line_of_the_fault_is_given(affine):
    def forward(x, w, b):
        z = x @ w + b
        return np.tanh(z), (x, w)

    report = verify_function(forward, affine_backward, **affine)
    assert [f.mistake for f in report.findings] == ["activation-derivative-missing"]
    assert "return np.tanh(z), (x, w)" in report.findings[0].where


def test_an_upstream_gradient_of_ones_would_hide_this(rng):
    def forward(z):
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        return p, p

    # For dout = 1 the gradient of a softmax is p (1 − Σ p) = 0, and this would be right.
    report = verify_function(forward, lambda dout, p: np.zeros_like(p), z=rng.standard_normal((7, 5)))
    assert "zero everywhere" in report.findings[0].explanation


def test_ties_beside_kinks_are_no_fault(rng):
    def forward(x):
        h = np.where(x > 0, x, 0.1 * x)
        return h.max(axis=1), (x, h.argmax(axis=1))

    def backward(dout, cache):
        x, largest = cache
        dh = np.zeros_like(x)
        dh[np.arange(len(x)), largest] = dout  # the first of equals; autograd gives each a share
        return dh * np.where(x > 0, 1, 0.1)

    report = verify_function(forward, backward, x=rng.standard_normal((7, 5)))
    assert report.ok, str(report)
    assert report.findings == ()


def _changes_the_cache(dout, cache):
    gradients = affine_backward(dout, cache)
    cache[0][...] *= 2
    return gradients


def _changes_the_upstream_gradient(dout, cache):
    gradients = affine_backward(dout, cache)
    dout *= 2
    return gradients


@pytest.mark.parametrize(
    ("backward", "changed"), [(_changes_the_cache, "x"), (_changes_the_upstream_gradient, "the upstream gradient")]
)
def test_what_backward_changes_in_place_is_found(affine, backward, changed):
    (finding,) = verify_function(affine_forward, backward, **affine).findings
    assert (finding.tensor, finding.mistake) == (changed, "aliasing")


def test_what_one_batch_size_cannot_tell_apart_is_a_tie(rng):
    def forward(x):
        assert len(x) == 7  # no other size can be tried
        return x * x, x

    report = verify_function(forward, lambda dout, x: 2 * dout * x * 7, x=rng.standard_normal((7, 5)))
    (finding,) = report.findings
    assert (finding.mistake, finding.confidence, finding.ties) == ("missing-batch-mean", "tie", ("constant-factor",))
    assert "(or constant-factor" in str(report)


# --- the reference ----------------------------------------------------------------------------------------------------


def test_a_forward_unlike_its_reference_is_said_and_is_the_reference_from_there_on(affine):
    report = verify_function(affine_forward, affine_backward, reference=lambda x, w, b: x @ w - b, **affine)
    assert [f.tensor for f in report.findings] == ["out"]
    assert "own forward is the reference" in " ".join(report.notes)
    assert {c.tensor: c.verdict for c in report.sections[0].checks} == {
        "out": "wrong", "dx": "right", "dw": "right", "db": "right",
    }  # fmt: skip


def test_a_forward_that_cannot_be_traced_is_judged_by_differences_and_that_is_said(affine):
    def forward(x, w, b):
        z = x @ w + b
        return z + float(z.sum()), (x, w)  # a float has no gradient

    def backward(dout, cache):
        return affine_backward(dout + dout.sum(), cache)

    report = verify_function(forward, backward, **affine)
    assert report.ok, str(report)
    assert "central differences" in report.notes[0]
    wrong = verify_function(forward, lambda d, c: tuple(-g for g in backward(d, c)), **affine)
    assert {f.mistake for f in wrong.findings} == {"wrong-sign"}


def test_a_layer_beside_a_module_and_beside_its_own_forward():
    class MyLinear(Linear):
        pass

    assert verify_layer(MyLinear(5, 3), (7, 5), reference=torch.nn.Linear(5, 3)).ok
    assert verify_layer(MyLinear(5, 3), (7, 5)).ok

    @dataclass(frozen=True)
    class Cube(Activation):
        def forward(self, x):
            return x**3, x

        def backward(self, dy, cache):
            return dy * 3 * cache**2

    assert verify_layer(Cube(), (7, 5)).ok
    assert verify_layer(Cube(), (7, 5), reference=lambda x: x**3, dtype="float32").ok
    assert not verify_layer(Cube(), (7, 5), reference=lambda x: x**2).ok


# --- objects ----------------------------------------------------------------------------------------------------------


class Net:
    def __init__(self, rng):
        self.layers = [{"W": rng.standard_normal((5, 4))}, {"W": rng.standard_normal((4, 3))}]

    def loss(self, x, y):
        self.x, self.h = x, np.tanh(x @ self.layers[0]["W"])
        self.r = self.h @ self.layers[1]["W"] - y
        return (self.r**2).mean()

    def backward(self):
        d = 2 * self.r / self.r.size
        self.layers[1]["dW"] = self.h.T @ d
        self.layers[0]["dW"] = self.x.T @ (d @ self.layers[1]["W"].T * (1 - self.h**2))

    def step(self, lr):
        self.backward()
        for layer in self.layers:
            layer["W"] -= lr * layer["dW"]


def test_an_object_that_fills_gradients_and_one_that_updates_itself(rng):
    data = {"x": rng.standard_normal((7, 5)), "y": rng.standard_normal((7, 3))}
    paths = {"layers.0.W": "layers.0.dW", "layers.1.W": "layers.1.dW"}
    filling = Model(Net(rng), lambda n, x, y: n.loss(x, y), lambda n, x, y: n.backward(), gradients=paths)
    assert verify_network(filling, **data).ok
    updating = Model(Net(rng), lambda n, x, y: n.loss(x, y), lambda n, x, y: n.step(0.1), weights=tuple(paths), lr=0.1)
    assert verify_network(updating, **data).ok
    wrong = Model(Net(rng), lambda n, x, y: n.loss(x, y), lambda n, x, y: n.step(0.2), weights=tuple(paths), lr=0.1)
    assert {f.mistake for f in verify_network(wrong, **data).findings} == {"constant-factor"}


def test_a_forgotten_gradient_is_not_right_and_none_says_that_it_is_constant(affine):
    forgotten = verify_function(affine_forward, lambda dout, c: affine_backward(dout, c)[:2], **affine)
    assert forgotten.verdict == "could not be checked"
    assert "backward returned no gradient for it" in str(forgotten)
    constant = verify_function(affine_forward, lambda dout, c: (*affine_backward(dout, c)[:2], None), **affine)
    assert constant.ok
    assert "returned None for b, which counts as constant" in constant.notes[0]
    zero = verify_function(affine_forward, lambda dout, c: (*affine_backward(dout, c)[:2], np.zeros(3)), **affine)
    assert "zero everywhere, as if it had been forgotten" in zero.findings[0].explanation


def test_a_size_written_as_a_number_is_found_and_said(affine):
    def backward(dout, cache):
        return *affine_backward(dout, cache)[:2], sum(dout[i] for i in range(7))

    (finding,) = verify_function(affine_forward, backward, **affine).findings
    assert "right with the inputs as given, wrong with other sizes (x (9, 7)" in finding.explanation


def test_randomness_that_cannot_be_repeated_is_said(rng):
    x, generator = rng.standard_normal((7, 5)), np.random.default_rng(0)

    def forward(x):
        mask = generator.random(x.shape) > 0.5
        return x * mask, mask

    report = verify_function(forward, lambda dout, mask: dout * mask, x=x)
    assert report.verdict == "could not be checked"
    assert "other outputs when it is called again" in report.sections[0].checks[0].note

    def handed_over(x, rng):
        mask = rng.random(x.shape) > 0.5
        return x * mask, mask

    assert verify_function(handed_over, lambda dout, mask: dout * mask, x=x, rng=generator).ok

    def seeded(x):
        mask = np.random.default_rng(0).random(x.shape) > 0.5
        return x * mask, mask

    assert verify_function(seeded, lambda dout, mask: dout * mask, x=x).ok


def test_several_outputs_come_one_after_another(rng):
    def forward(x):
        return x * x, x.sum(axis=1), x

    def backward(dsquare, dsum, x):
        return 2 * x * dsquare + dsum[:, None]

    x = rng.standard_normal((7, 5))
    assert verify_function(forward, backward, x=x).ok
    assert verify_function(lambda x: ([x, 2 * x], x), lambda d, c: d[0] + 2 * d[1], x=x).ok  # a list of them


def test_a_number_and_code_in_float32_can_be_verified(rng):
    assert verify_function(lambda x: (x * x, x), lambda dout, x: 2 * x * dout, x=np.array(2.0)).ok

    def forward(x, w):
        x, w = x.astype(np.float32), w.astype(np.float32)
        return x @ w, (x, w)

    def backward(dout, cache):
        return dout @ cache[1].T, cache[0].T @ dout

    report = verify_function(forward, backward, x=rng.standard_normal((7, 5)), w=rng.standard_normal((5, 3)))
    assert report.ok, str(report)


def test_an_optimizer_that_does_not_change_w_in_place_could_not_be_checked():
    report = verify_optimizer(lambda w, g, slots, lr, t: w - lr * g, reference=scratch.SGD(0.1))
    assert report.verdict == "could not be checked"
    assert "is to change w in place" in report.sections[0].checks[0].note


# --- trouble ----------------------------------------------------------------------------------------------------------


def test_an_exception_in_the_users_code_is_reported_with_its_place(affine):
    def backward(dout, cache):
        return dout @ cache[1], None, None  # w is not transposed: the shapes do not fit

    report = verify_function(affine_forward, backward, **affine)
    (finding,) = report.findings  # with square arrays it runs, and shows what it is
    assert finding.mistake == "transposed"
    assert "backward raised ValueError" in finding.evidence
    assert "return dout @ cache[1], None, None" in finding.evidence


def test_a_gradient_of_another_shape_is_wrong_not_broadcast(affine):
    def backward(dout, cache):
        dx, dw, db = affine_backward(dout, cache)
        return dx, dw, db[None]

    report = verify_function(affine_forward, backward, **affine)
    (check,) = [c for c in report.sections[0].checks if c.verdict != "right"]
    assert (check.tensor, check.note) == ("db", "has shape (1, 3), expected (3,)")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.ones(3)}, "input is 'y', expected one of 'x', 'w', 'b'"),
        ({"b": None}, "forward takes x, w, b"),
        ({"x": np.zeros((0, 5))}, r"x has shape \(0, 5\), expected at least one element"),
        ({"x": np.full((7, 5), np.nan)}, r"x holds nan at index \(0, 0\)"),
    ],
)
def test_wrong_inputs_are_named(affine, change, message):
    inputs = affine | change
    if change.get("b", 0) is None:
        del inputs["b"]
    with pytest.raises(ValueError, match=message):
        verify_function(affine_forward, affine_backward, **inputs)


def test_styles_that_do_not_fit_are_named(affine):
    with pytest.raises(ValueError, match="backward takes dout, p, q, r, s, t and forward returned a tuple of 2"):
        verify_function(affine_forward, lambda dout, p, q, r, s, t: None, **affine)
    with pytest.raises(ValueError, match="backward is None and forward returned a tuple of 2"):
        verify_function(affine_forward, None, **affine)
    with pytest.raises(TypeError, match="x is an array of int64; expected at least one NumPy array of floats"):
        verify_function(lambda x: x, lambda dout, x: dout, x=np.arange(3))
    with pytest.raises(TypeError, match="backward is a int"):
        verify_function(affine_forward, 3, **affine)


def test_code_that_only_raises_could_not_be_checked(affine):
    def backward(dout, cache):
        raise RuntimeError("not written yet")

    report = verify_function(affine_forward, backward, **affine)
    assert report.verdict == "could not be checked"
    assert "backward raised RuntimeError: not written yet" in report.sections[0].checks[0].note


def test_other_entry_points_name_what_is_wrong(rng):
    x = rng.standard_normal((7, 5))
    with pytest.raises(TypeError, match="layer is a int"):
        verify_layer(3, (7, 5))
    with pytest.raises(ValueError, match=r"x_shape is \(\)"):
        verify_layer(ReLU(), ())
    with pytest.raises(ValueError, match=r"x_shape\[1\] is 0"):
        verify_layer(ReLU(), (7, 0))
    with pytest.raises(ValueError, match="dtype is 'float16'"):
        verify_layer(ReLU(), (7, 5), dtype="float16")
    with pytest.raises(TypeError, match="loss is a NoneType"):
        verify_network(Network((Tanh(),)), x=x, y=x)
    with pytest.raises(TypeError, match="network is a int"):
        verify_network(3, MSE(), x=x, y=x)
    with pytest.raises(ValueError, match=r"x has shape \(7, 5\), expected \(batch, 4\)"):
        verify_network(Network((Linear(4, 3),)), MSE(), x=x, y=x)
    with pytest.raises(TypeError, match="logits is a list"):
        verify_loss(MSE(), [1.0], x)
    with pytest.raises(TypeError, match="no counterpart of function is known"):
        verify_optimizer(lambda w, g, slots, lr, t: None)
    with pytest.raises(ValueError, match="seed is -1, expected at least 0"):
        verify_optimizer(Adam(), seed=-1)
    with pytest.raises(TypeError, match=r"seed is 0\.5, expected an integer"):
        verify_optimizer(Adam(), seed=0.5)
    with pytest.raises(ValueError, match="lr of optimizer is 0, expected a learning rate above 0"):
        verify_optimizer(Adam(0.0), Adam(0.1))
    with pytest.raises(ValueError, match="lr of reference is 0, expected a learning rate above 0"):
        verify_optimizer(lambda w, g, slots, lr, t: None, Adam(0.0))
    with pytest.raises(TypeError, match="the weight 'W' is a int"):
        Model(type("M", (), {"W": 3})(), None, None, gradients={"W": "dW"})
    m = type("M", (), {})()
    m.W = np.ones(3)
    with pytest.raises(ValueError, match="there is no weight 'V'; the M has W"):
        Model(m, None, None, gradients={"V": "dV"})
    with pytest.raises(ValueError, match="either gradients"):
        Model(m, gradients={"W": "dW"}, weights=("W",))
    with pytest.raises(TypeError, match="network is a NoneType"):
        Model(None)


def test_the_optimizer_of_a_network_is_verified_with_it(rng):
    class Ascending(Adam):
        def update(self, w, g, slots, lr, t):
            super().update(w, -g, slots, lr, t)

    x = rng.standard_normal((7, 5))
    network, y = Network((Linear(5, 3),)), rng.integers(0, 3, 7)
    report = verify_network(network, CrossEntropy(), x=x, y=y, optimizer=Ascending())
    assert [f.mistake for f in report.findings] == ["wrong-sign"]


@dataclass(frozen=True)
class Hasty(Linear):
    """Forgets its bias where it needs no dx."""

    def backward(self, dy, cache, dW, db, need_dx=True):
        dx = super().backward(dy, cache, dW, db, need_dx)
        if not need_dx:
            db[...] = 0
        return dx


class Refusing(Linear):
    def backward(self, dy, cache, dW, db, need_dx=True):
        assert need_dx
        return super().backward(dy, cache, dW, db)


def test_a_layer_is_verified_as_the_first_one_is_called_in_training():
    report = verify_layer(Hasty(5, 3), (7, 5))
    assert report.verdict == "wrong"
    explained = report.findings[0].explanation
    assert "with need_dx=False, as the first layer is called in training, dbias is another" in explained
    assert verify_layer(Refusing(5, 3), (7, 5)).verdict == "could not be checked"
    assert verify_layer(Linear(5, 3), (7, 5)).ok


class Frozen(BatchNorm):
    """Takes the batch's statistics in evaluation too."""

    def forward(self, x, *arrays, training=None):
        return super().forward(x, *arrays, training=np.random.default_rng(0))


class Constant(BatchNorm):
    """Treats the batch's statistics as constants."""

    def backward(self, dy, cache, *grads):
        return super().backward(dy, (*cache[:3], None), *grads)


def test_a_layer_that_differs_in_training_is_verified_in_both_modes():
    right = verify_layer(BatchNorm(5), (7, 5, 3))
    assert right.ok
    assert [s.name for s in right.sections] == [str(BatchNorm(5)), f"{BatchNorm(5)}, in evaluation"]
    for wrong, where in ((Constant(5), 0), (Frozen(5), 1)):
        sections = verify_layer(wrong, (7, 5)).sections
        verdicts = [{check.verdict for check in section.checks} for section in sections]
        assert "wrong" in verdicts[where]
        assert "wrong" not in verdicts[1 - where]


def test_networks_of_nested_layers_and_of_integers_are_verified(rng):
    for network, shape in ((NORMED, (7, 5)), (SEQUENCES, (7, 3))):
        x = rng.integers(0, 11, shape) if network.integer_input else rng.standard_normal(shape)
        report = verify_network(network, CrossEntropy(), x=x, y=rng.integers(0, 3, 7))
        assert report.ok, str(report)


class Biased(BatchNorm):
    """Moves the running variance by the biased one."""

    def track(self, cache, running_mean, running_var):
        mean, var, _ = cache[3]
        super().track((*cache[:3], (mean, var, 1e9)), running_mean, running_var)


class Untracked(BatchNorm):
    track = None


def test_running_statistics_are_verified():
    report = verify_layer(Biased(5), (7, 5))
    assert report.verdict == "wrong"
    assert "after a training step running_var is not torch's" in report.findings[0].explanation
    assert verify_layer(Untracked(5), (7, 5)).verdict == "could not be checked"


# --- differences ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_small_gradients_beside_a_large_value_are_not_judged_by_the_rounding_of_differences(seed):
    def loss(x):
        return 3.0 + 1e-9 * float(np.sum(x**2)) + 1e-9 * np.sum(x), 1e-9 * (2 * x + 1)  # a float leaves the tape

    report = verify_function(loss, None, x=np.random.default_rng(seed).standard_normal((2, 5)), seed=seed)
    assert any("central differences" in note for note in report.notes)
    assert report.ok, str(report)


def test_a_fault_with_one_probe_alone_is_no_transpose(rng):
    def forward(x):
        return float(x.sum()) + x @ x, x  # differences again

    def backward(dout, x):
        dx = dout @ x.T + x.T @ dout + dout.sum()
        return dx if abs(x).max() < 30 else dx * 1.5

    report = verify_function(forward, backward, x=rng.standard_normal((5, 5)))
    assert [f.mistake for f in report.findings] == ["unknown"]


@pytest.mark.parametrize("w", [np.eye(5), np.zeros((5, 5)), np.ones((5, 5))], ids=["identity", "zeros", "ones"])
def test_weights_as_a_training_may_begin_with_hide_no_transpose(w, rng):
    def forward(x, w):
        return x @ w, (x, w)

    def backward(dout, cache):
        x, w = cache
        return dout @ w, x.T @ dout  # w.T is meant

    assert not verify_function(forward, backward, x=rng.standard_normal((7, 5)), w=w).ok


def test_a_gradient_of_nan_is_said_to_be_one(affine):
    def backward(dout, cache):
        dx, dw, db = affine_backward(dout, cache)
        return dx, dw, db / 0 * 0

    (finding,) = verify_function(affine_forward, backward, **affine).findings
    assert (finding.tensor, finding.mistake) == ("db", "unknown")
    assert "the gradient holds NaN, and autograd's is finite" in finding.explanation


@pytest.mark.parametrize(("side", "apart"), [("below", ["x"]), ("", [])])
def test_a_tensor_that_differs_at_kinks_alone_is_not_blamed_beside_a_wrong_one(side, apart, monkeypatch):
    right, other = np.ones(3), np.zeros(3)

    def observed(probe, x, w):
        tolerance = {"x": 1e-9, "w": 1e-9}
        return Observation(probe, None, {}, (), {"x": x, "w": w}, {"x": right, "w": right}, tolerance, {})

    asked = []
    monkeypatch.setattr(
        check, "by_convention", lambda _, observations, *__: (asked.append(observations), (side, []))[1]
    )
    seen = check.Seen(None, [], [], [], [observed("as given", right, other), observed("other values", other, other)])
    assert check._apart_at_kinks(None, seen, ["x", "w"], None) == apart
    assert [list(o.auto) for o in asked[0]] == [["x"], ["x"]]


def test_a_guard_of_the_loss_that_the_gradient_leaves_out_is_a_remark_and_a_larger_one_a_fault(rng):
    def loss(z, t, eps):
        p = 1 / (1 + np.exp(-z))
        picked = np.where(t == 1, p, 1 - p)
        return -np.sum(np.log(picked + eps)), p - t

    inputs = {"z": rng.standard_normal(8), "t": rng.integers(0, 2, 8)}
    small, large = (verify_function(lambda z, t, e=e: loss(z, t, e), None, inputs) for e in (1e-7, 1e-2))
    assert (small.verdict, [f.mistake for f in small.findings]) == ("right, but", ["clipping-mismatch"])
    assert large.verdict == "wrong"
