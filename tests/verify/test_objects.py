"""Objects are verified as they are: what they are called, what they hold and where their gradients are is found out."""

import copy
import threading
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from torch_impl.verify import Model, verify_network
from torch_impl.verify.units.discovery import object_unit

rng = np.random.default_rng(3)
X, Y = rng.standard_normal((7, 5)), rng.standard_normal((7, 3))
LABELS = rng.integers(0, 3, 7)
W, B = rng.standard_normal((5, 3)), rng.standard_normal(3)


# --- layers -----------------------------------------------------------------------------------------------------------
# Each takes the factor of its gradient of W: 1 is right, 2 is wrong.


class Attributes:
    def __init__(self, factor):
        self.W, self.b, self.factor = W.copy(), B.copy(), factor

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        self.dW, self.db = self.factor * self.x.T @ dout, dout.sum(axis=0)
        return dout @ self.W.T


class Dicts(Attributes):
    def __init__(self, factor):
        self.params, self.grads, self.factor = {"W": W.copy(), "b": B.copy()}, {}, factor

    def forward(self, x):
        self.x = x
        return x @ self.params["W"] + self.params["b"]

    def backward(self, dout):
        self.grads.update(W=self.factor * self.x.T @ dout, b=dout.sum(axis=0))
        return dout @ self.params["W"].T


class Lists(Attributes):
    """In float32, filled in place."""

    def __init__(self, factor):
        self.params = [W.astype(np.float32), B.astype(np.float32)]
        self.grads, self.factor = [np.zeros_like(p) for p in self.params], factor

    def forward(self, x):
        self.x = x
        return x @ self.params[0] + self.params[1]

    def backward(self, dout):
        self.grads[0][...] = self.factor * self.x.T @ dout
        self.grads[1][...] = dout.sum(axis=0)
        return dout @ self.params[0].T


class Parameters(Attributes):
    def __init__(self, factor):
        self.weight, self.bias = (SimpleNamespace(data=a.copy(), grad=None) for a in (W, B))
        self.factor = factor

    def __call__(self, x):
        self.x = x
        return x @ self.weight.data + self.bias.data

    forward = None

    def backward(self, dout):
        self.weight.grad, self.bias.grad = self.factor * self.x.T @ dout, dout.sum(axis=0)
        return dout @ self.weight.data.T


class Returning(Attributes):
    """(dx, dW, db), and a cache that is popped."""

    def __init__(self, factor):
        super().__init__(factor)
        self.stack = []

    def forward(self, x):
        self.stack.append(x)
        return x @ self.W + self.b

    def backward(self, dout):
        x = self.stack[-1]
        return dout @ self.W.T, self.factor * x.T @ dout, dout.sum(axis=0)


class Silent(Attributes):
    """Neither returns anything."""

    def forward(self, inputs, training):
        assert training
        self.inputs = inputs
        self.output = inputs @ self.W + self.b

    def backward(self, dvalues):
        self.dW, self.db = self.factor * self.inputs.T @ dvalues, dvalues.sum(axis=0)
        self.dinputs = dvalues @ self.W.T


class Slots:
    __slots__ = ("W", "W_grad", "b", "b_grad", "factor", "x")

    def __init__(self, factor):
        self.W, self.b, self.factor = W.copy(), B.copy(), factor

    forward = Attributes.forward

    def backward(self, dout):
        self.W_grad, self.b_grad = self.factor * self.x.T @ dout, dout.sum(axis=0)
        return dout @ self.W.T


class Lazy(Attributes):
    """The first forward makes the weights."""

    def __init__(self, factor):
        self.W, self.factor = None, factor

    def forward(self, x):
        if self.W is None:
            self.W, self.b = np.random.default_rng(0).standard_normal((x.shape[1], 3)), np.zeros(3)
        return super().forward(x)


class Initialised(Lazy):
    """initialize makes the weights."""

    forward = Attributes.forward

    def initialize(self, n_in):
        self.W, self.b = np.random.default_rng(0).standard_normal((n_in, 3)), np.zeros(3)


class Updating(Attributes):
    def forward_propagation(self, x):
        return Attributes.forward(self, x)

    forward = None

    def backward_propagation(self, output_error, learning_rate):
        dx = output_error @ self.W.T
        self.W -= self.factor * learning_rate * self.x.T @ output_error
        self.b -= learning_rate * output_error.sum(axis=0)
        return dx

    backward = None


class Adam:
    """What it does to a gradient can't be undone."""

    def __init__(self):
        self.learning_rate, self.m = 0.001, 0.0

    def update(self, w, g):
        self.m = 0.9 * self.m + 0.1 * g
        return w - self.learning_rate * np.sign(self.m)


class Optimised(Attributes):
    """An optimizer for each weight steps in backward."""

    def __init__(self, factor):
        super().__init__(factor)
        self.W_opt, self.b_opt = Adam(), Adam()

    def backward(self, dout):
        before = self.W
        self.W = self.W_opt.update(self.W, self.factor * self.x.T @ dout)
        self.b = self.b_opt.update(self.b, dout.sum(axis=0))
        return dout @ before.T


class Stepping(Attributes):
    """Keeps a state between calls, and running statistics that it moves in place."""

    def __init__(self, factor):
        super().__init__(factor)
        self.h, self.running_mean = np.ones(3), np.zeros(3)

    def forward(self, x):
        self.before, self.x = self.h, x
        y = x @ self.W + self.b + self.before
        self.running_mean *= 0.9
        self.running_mean += 0.1 * y.mean(axis=0)
        self.h = y.mean(axis=0)
        return y


class Noisy(Attributes):
    """Holds a generator, a lock, and a bias that is a plain number."""

    def __init__(self, factor):
        super().__init__(factor)
        self.b, self.rng, self.lock = 0.5, np.random.default_rng(0), threading.Lock()

    def forward(self, x):
        self.x, self.mask = x, (self.rng.random((len(x), 3)) > 0.5) * 2.0
        return (x @ self.W + self.b) * self.mask

    def backward(self, dout):
        dout = dout * self.mask
        self.dW, self.db = self.factor * self.x.T @ dout, dout.sum()
        return dout @ self.W.T


LAYERS = [
    Attributes, Dicts, Lists, Parameters, Returning, Silent, Slots, Lazy, Initialised, Updating, Optimised, Stepping,
    Noisy,
]  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_is_verified_as_it_is(layer):
    report = verify_network(layer(1), x=X)
    assert report.ok, str(report)
    assert report.findings == (), str(report)
    assert len(report.sections[0].checks) == 3, str(report)  # dx, dW, db


@pytest.mark.parametrize("layer", LAYERS)
def test_the_same_layer_with_a_wrong_gradient_is_found(layer):
    report = verify_network(layer(2), x=X)
    assert [f.mistake for f in report.findings] == ["constant-factor"], str(report)
    assert len(report.findings[0].tensors) == 1


@pytest.mark.parametrize("layer", LAYERS)
def test_the_object_stays_as_it_was(layer):
    obj = layer(1)
    before = {n: copy.deepcopy(getattr(obj, n)) for n in _attributes(obj) if n not in ("lock", "rng")}
    state = obj.rng.bit_generator.state if layer is Noisy else None
    verify_network(obj, x=X)
    assert {n for n in _attributes(obj) if n not in ("lock", "rng")} == before.keys()
    assert all(repr(getattr(obj, n)) == repr(value) or "object at" in repr(value) for n, value in before.items())
    assert state is None or obj.rng.bit_generator.state == state


def _attributes(obj):
    return [n for n in getattr(obj, "__slots__", ()) if hasattr(obj, n)] + list(getattr(obj, "__dict__", {}))


def test_an_object_stays_as_it_was_when_its_code_raises():
    class Raising(Attributes):
        def backward(self, dout):
            self.W[...] = 0
            raise RuntimeError("not written yet")

    layer = Raising(1)
    report = verify_network(layer, x=X)
    assert report.verdict == "could not be checked"
    assert "not written yet" in str(report)
    assert (layer.W == W).all()
    assert not hasattr(layer, "x")


def test_an_embedding_takes_integers():
    class Embedding:
        def __init__(self, exponent):
            self.table, self.exponent = rng.standard_normal((9, 3)), exponent

        def forward(self, ids):
            self.ids = ids
            return self.table[ids]

        def backward(self, dout):
            self.table_grad = np.zeros_like(self.table)
            if self.exponent == 1:
                np.add.at(self.table_grad, self.ids, dout)
            else:
                self.table_grad[self.ids] += dout

    ids = np.array([1, 3, 3, 8])
    assert verify_network(Embedding(1), x=ids).ok
    assert not verify_network(Embedding(2), x=ids).ok  # repeated rows are counted once


def test_further_arguments_of_forward_are_given_by_name():
    class Cell:
        def __init__(self, factor):
            self.U, self.factor = rng.standard_normal((4, 4)), factor

        def forward(self, x, h):
            self.h, self.y = h, np.tanh(x + h @ self.U)
            return self.y

        def backward(self, dy):
            da = dy * (1 - self.y**2)
            self.dU = self.h.T @ da
            return da, self.factor * da @ self.U.T

    inputs = {"x": rng.standard_normal((3, 4)), "h": rng.standard_normal((3, 4))}
    assert verify_network(Cell(1), **inputs).ok
    assert not verify_network(Cell(2), **inputs).ok


# --- activations and losses -------------------------------------------------------------------------------------------


class Sigmoid:
    """gradient takes x; it is no backward."""

    def __call__(self, x):
        return 1 / (1 + np.exp(-x))

    def gradient(self, x):
        return self(x) * (1 - self(x))


class WrongSigmoid(Sigmoid):
    def gradient(self, x):
        return self(x)


class Static:
    @staticmethod
    def forward(x):
        return np.tanh(x)

    @staticmethod
    def backward(dout, out):
        return dout * (1 - out**2)


class WrongStatic(Static):
    @staticmethod
    def backward(dout, out):
        return dout * (1 - out)


class Cube:
    """As torch's functions are written."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, dout):
        (x,) = ctx.saved_tensors
        return 3 * dout * x**2


class WrongCube(Cube):
    @staticmethod
    def backward(ctx, dout):
        (x,) = ctx.saved_tensors
        return dout * x**2


@pytest.mark.parametrize(
    ("right", "wrong"),
    [(Sigmoid(), WrongSigmoid()), (Static, WrongStatic), (Cube, WrongCube)],
    ids=["f′", "static", "ctx"],
)
def test_what_has_no_weights_is_verified(right, wrong):
    assert verify_network(right, x=X).ok
    assert not verify_network(wrong, x=X).ok


class Squares:
    """loss(y, y_pred): the targets come first."""

    def loss(self, y, y_pred):
        return 0.5 * np.power(y - y_pred, 2)

    def gradient(self, y, y_pred):
        return -(y - y_pred)


class WrongSquares(Squares):
    def gradient(self, y, y_pred):
        return y - y_pred


class SoftmaxWithLoss:
    def __init__(self, divided=True):
        self.divided = divided

    def forward(self, x, t):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        self.p, self.t = e / e.sum(axis=1, keepdims=True), t
        return -np.log(self.p[np.arange(len(t)), t]).mean()

    def backward(self, dout=1):
        d = self.p.copy()
        d[np.arange(len(d)), self.t] -= 1
        return dout * d / (len(d) if self.divided else 1)


def test_a_loss_as_an_object_is_verified():
    assert verify_network(Squares(), x=X, y=np.tanh(X)).ok
    assert {f.mistake for f in verify_network(WrongSquares(), x=X, y=np.tanh(X)).findings} == {"wrong-sign"}
    assert verify_network(SoftmaxWithLoss(), x=Y, y=LABELS).ok
    assert not verify_network(SoftmaxWithLoss(divided=False), x=Y, y=LABELS).ok


# --- networks ---------------------------------------------------------------------------------------------------------


class TwoLayers:
    """params and the layers share their arrays; what the layers find is copied into a dict."""

    def __init__(self, factor=1):
        self.params = {"W1": rng.standard_normal((5, 4)), "W2": rng.standard_normal((4, 3))}
        self.layers = [Attributes(factor), Attributes(1)]
        for i, layer in enumerate(self.layers, 1):
            layer.W, layer.b = self.params[f"W{i}"], np.zeros(layer.W.shape[1] + (i == 1))
        self.last = SoftmaxWithLoss()

    def predict(self, x):
        return self.layers[1].forward(np.tanh(self.layers[0].forward(x)))

    def loss(self, x, t):
        return self.last.forward(self.predict(x), t)

    def gradient(self, x, t):
        self.loss(x, t)
        dh = self.layers[1].backward(self.last.backward())
        self.layers[0].backward(dh * (1 - self.layers[1].x ** 2))
        return {f"W{i}": layer.dW for i, layer in enumerate(self.layers, 1)}


def test_a_wrong_layer_is_found_where_a_dict_and_layers_share_weights():
    assert verify_network(TwoLayers(), x=X, y=LABELS).ok
    (finding,) = verify_network(TwoLayers(2), x=X, y=LABELS).findings
    assert (finding.tensor, finding.mistake) == ("dparams.W1", "constant-factor")


class Regression:
    """The loss stands beside it."""

    def __init__(self, factor=1):
        self.layer = Attributes(factor)

    def forward(self, x):
        return np.tanh(self.layer.forward(x))

    def backward(self, dout):
        return self.layer.backward(dout * (1 - np.tanh(self.layer.x @ self.layer.W + self.layer.b) ** 2))


class MSE:
    def __call__(self, y_pred, y_true):
        return np.mean((y_pred - y_true) ** 2)

    def backward(self, y_pred, y_true):
        return 2 * (y_pred - y_true) / y_pred.size


class WrongMSE(MSE):
    def backward(self, y_pred, y_true):
        return 2 * (y_pred - y_true) / len(y_pred)


def with_gradient(p, y):
    return ((p - y) ** 2).mean(), 2 * (p - y) / p.size


@pytest.mark.parametrize(
    "loss", [MSE(), with_gradient, lambda p, y: ((p - y) ** 2).mean()], ids=["object", "both", "value"]
)
def test_a_network_and_a_loss_beside_it(loss):
    assert verify_network(Regression(), loss, x=X, y=Y).ok
    assert not verify_network(Regression(2), loss, x=X, y=Y).ok


def test_a_wrong_loss_beside_a_right_network_is_found():
    assert not verify_network(Regression(), WrongMSE(), x=X, y=Y).ok


class SelfTraining:
    """train_step updates; with ``early`` the second layer's weights change before they are gone back through."""

    def __init__(self, early=False):
        self.W1, self.W2, self.early = rng.standard_normal((5, 4)), rng.standard_normal((4, 3)), early

    def loss(self, x, y):
        return (((np.tanh(x @ self.W1)) @ self.W2 - y) ** 2).sum()

    def train_step(self, x, y, lr):
        h = np.tanh(x @ self.W1)
        d = 2 * (h @ self.W2 - y)
        before = self.W2.copy()
        self.W2 -= lr * h.T @ d
        dh = d @ (self.W2 if self.early else before).T
        self.W1 -= lr * x.T @ (dh * (1 - h**2))


def test_an_object_that_trains_itself_is_verified_by_its_step():
    assert verify_network(SelfTraining(), x=X, y=Y).ok
    report = verify_network(SelfTraining(early=True), x=X, y=Y)
    assert "updated-weights" in {f.mistake for f in report.findings}, str(report)


class Holding:
    """Data and weights in the object; nothing takes an argument."""

    def __init__(self, sign=1):
        self.input, self.y, self.W, self.lr, self.sign = X.copy(), Y.copy(), W.copy(), 0.1, sign

    def feedforward(self):
        self.output = np.tanh(self.input @ self.W)

    def backprop(self):
        d = 2 * (self.output - self.y) * (1 - self.output**2)
        self.W -= self.sign * self.lr * self.input.T @ d


def test_an_object_that_holds_its_data_is_verified():
    def loss(output, y):
        return ((output - y) ** 2).sum()

    assert verify_network(Holding(), loss, x=X, y=Y).ok
    assert {f.mistake for f in verify_network(Holding(-1), loss, x=X, y=Y).findings} == {"wrong-sign"}


MODULE = """
import numpy as np
W = np.linspace(-1, 1, 15).reshape(5, 3)
state = {}

def forward(x):
    state["x"] = x
    return x @ W

def backward(dout):
    global dW
    dW = FACTOR * state["x"].T @ dout
    return dout @ W.T
"""


def test_a_module_with_weights_in_its_globals_is_verified_and_left_alone():
    for factor, ok in ((1, True), (2, False)):
        module = ModuleType("net")
        exec(MODULE, module.__dict__)
        module.FACTOR = factor
        assert verify_network(module, x=X).ok is ok
        assert module.state == {}
        assert not hasattr(module, "dW")


def test_weights_of_the_class_are_verified_and_left_alone():
    class Shared:
        W = W.copy()

        def __init__(self, factor=1):
            self.factor = factor

        def loss(self, x, y):
            return ((x @ self.W - y) ** 2).sum()

        def train_step(self, x, y, lr):
            self.W = self.W - lr * self.factor * x.T @ (2 * (x @ self.W - y))

    for factor, ok in ((1, True), (2, False)):
        net = Shared(factor)
        assert verify_network(net, x=X, y=Y).ok is ok
        assert vars(net) == {"factor": factor}
        assert (Shared.W == W).all()


# --- state ------------------------------------------------------------------------------------------------------------


def test_a_second_backward_goes_on_from_the_first():
    class Adding(Attributes):
        def __init__(self):
            super().__init__(1)
            self.dW, self.db = np.ones_like(self.W), np.zeros(3)  # what an earlier backward left

        def backward(self, dout):
            self.dW += self.x.T @ dout
            self.db += dout.sum(axis=0)
            return dout @ self.W.T

    class Popping(Returning):
        def backward(self, dout):
            returned = super().backward(dout)
            self.stack.pop()
            return returned

    unit, inputs = object_unit(Model(Adding()), {"x": X})
    assert unit.stateful
    _, cache = unit.forward(inputs)
    once, twice = (unit.backward((Y,), inputs, cache)["W"] for _ in range(2))
    assert np.allclose(once, X.T @ Y)
    assert np.allclose(twice, 2 * once)
    report = verify_network(Adding(), x=X)
    assert report.ok
    assert [f.mistake for f in report.findings] == ["grads-accumulate"]
    assert verify_network(Popping(1), x=X).findings == ()
    assert not verify_network(Popping(2), x=X).ok
    unit, inputs = object_unit(Model(Popping(1)), {"x": X})
    _, cache = unit.forward(inputs)
    unit.backward((Y,), inputs, cache)
    with pytest.raises(Exception, match="IndexError"):
        unit.backward((Y,), inputs, cache)


# --- trouble ----------------------------------------------------------------------------------------------------------


class Unnamed:
    """Two weights of one shape, and gradients whose names tell nothing."""

    def __init__(self, factor=1):
        self.one, self.two, self.factor = W.copy(), W.copy() + 1, factor

    def forward(self, x):
        self.x = x
        return x @ self.one + np.tanh(x @ self.two)

    def backward(self, up):
        self.first = self.factor * self.x.T @ up
        self.second = self.x.T @ (up * (1 - np.tanh(self.x @ self.two) ** 2))
        return up @ self.one.T + (up * (1 - np.tanh(self.x @ self.two) ** 2)) @ self.two.T


def test_gradients_that_could_be_of_either_weight_are_asked_for():
    with pytest.raises(ValueError, match=r"'one' and of 'two' may be 'first' or 'second'.*Model\(obj, gradients="):
        verify_network(Unnamed(), x=X)
    said = {"one": "first", "two": "second"}
    assert verify_network(Model(Unnamed(), gradients=said), x=X).ok
    assert not verify_network(Model(Unnamed(2), gradients=said), x=X).ok


def test_a_learning_rate_that_cannot_be_found_is_asked_for():
    class Fixed(Attributes):
        def backward(self, dout):
            dx = dout @ self.W.T
            self.W -= 0.1 * self.x.T @ dout
            self.b -= 0.1 * dout.sum(axis=0)
            return dx

    with pytest.raises(ValueError, match=r"not by a learning rate that can be found; say it: Model\(obj, weights="):
        verify_network(Fixed(1), x=X)
    assert verify_network(Model(Fixed(1), weights=("W", "b"), lr=0.1), x=X).ok
    assert not verify_network(Model(Fixed(1), weights=("W", "b"), lr=0.2), x=X).ok


def test_a_step_of_the_gradient_itself_needs_no_learning_rate():
    class Whole(SelfTraining):
        def __init__(self, lr=1):
            super().__init__()
            self.W1, self.W2, self.step_length = 0.1 * self.W1, 0.1 * self.W2, lr

        def train_step(self, x, y):
            super().train_step(x, y, self.step_length)

    assert verify_network(Whole(), x=X, y=Y).ok
    with pytest.raises(ValueError, match="not by a learning rate"):
        verify_network(Whole(2), x=X, y=Y)


def test_constants_that_a_forward_uses_are_told_from_weights():
    class Encoding(Attributes):
        def __init__(self, factor):
            super().__init__(factor)
            self.pe, self.unused = rng.standard_normal(5), W.copy()

        def forward(self, x):
            return super().forward(x + self.pe)

    report = verify_network(Encoding(1), x=X)
    assert report.ok
    assert "pe has no gradient and counts as constant" in " ".join(report.notes)
    assert not verify_network(Encoding(2), x=X).ok


def test_a_weight_that_the_outputs_do_not_depend_on_is_said():
    class Half(Attributes):
        def __init__(self):
            super().__init__(1)
            self.V = W.copy()

        def backward(self, dout):
            self.dV = self.x.T @ dout
            return super().backward(dout)

    assert "V has a gradient, and the outputs do not depend on it" in " ".join(verify_network(Half(), x=X).notes)


def test_numbers_are_weights_where_backward_changes_them():
    class Line:
        def __init__(self, factor=1):
            self.w, self.b, self.learning_rate, self.factor = 0.3, 0.0, 0.01, factor

        def loss(self, x, y):
            return ((self.w * x + self.b - y) ** 2).mean()

        def step(self, x, y):
            d = 2 * (self.w * x + self.b - y) / len(x)
            self.w -= self.learning_rate * (d * x).sum()
            self.b -= self.factor * self.learning_rate * d.sum()

    assert verify_network(Line(), x=X[:, 0], y=Y[:, 0]).ok
    (finding,) = verify_network(Line(2), x=X[:, 0], y=Y[:, 0]).findings
    assert (finding.tensor, finding.mistake) == ("db", "constant-factor")


def test_parameters_that_are_views_of_one_vector_are_verified():
    class Flat(Attributes):
        def __init__(self, factor):
            self.theta, self.grad, self.factor = rng.standard_normal(18), np.zeros(18), factor
            self.W, self.b = self.theta[:15].reshape(5, 3), self.theta[15:]
            self.dW, self.db = self.grad[:15].reshape(5, 3), self.grad[15:]

        def backward(self, dout):
            self.dW[...], self.db[...] = self.factor * self.x.T @ dout, dout.sum(axis=0)
            return dout @ self.W.T

    class Whole(Flat):
        def forward(self, x):
            self.x = x
            return x @ self.theta[:15].reshape(5, 3) + self.theta[15:]

    for layer in (Flat, Whole):
        assert verify_network(layer(1), x=X).ok
        assert not verify_network(layer(2), x=X).ok


def test_a_gradient_of_another_shape_and_exchanged_ones_are_found():
    class Transposed(Attributes):
        def backward(self, dout):
            dx = super().backward(dout)
            self.dW = self.dW.T
            return dx

    class Exchanged(Unnamed):
        def __init__(self, exchanged=False):
            super().__init__()
            self.exchanged = exchanged

        def backward(self, up):
            dx = super().backward(up)
            return (dx, self.second, self.first) if self.exchanged else (dx, self.first, self.second)

    assert {f.tensor for f in verify_network(Transposed(1), x=X).findings} == {"dW"}
    assert verify_network(Exchanged(), x=X).ok
    assert not verify_network(Exchanged(exchanged=True), x=X).ok


def test_a_forgotten_gradient_is_not_right():
    class Forgetting(Attributes):
        def backward(self, dout):
            self.dW = self.x.T @ dout
            return dout @ self.W.T

    report = verify_network(Forgetting(1), x=X)
    assert report.verdict == "could not be checked"
    assert "db" in str(report)


def test_what_cannot_be_verified_is_named():
    with pytest.raises(
        TypeError, match="network is a SimpleNamespace with no methods; expected an object with a method forward"
    ):
        verify_network(SimpleNamespace(W=W), x=X)
    with pytest.raises(TypeError, match="network is the class Attributes"):
        verify_network(Attributes, x=X)
    with pytest.raises(TypeError, match="x is a list, expected a NumPy array"):
        verify_network(Attributes(1), x=[1.0])
    with pytest.raises(TypeError, match="x is an array of integers and no weights were found"):
        verify_network(Static, x=LABELS)
    with pytest.raises(ValueError, match="none of which gives a loss; expected one called loss, or give the loss"):
        verify_network(Regression(), x=X, y=Y)
    with pytest.raises(ValueError, match="forward takes x, t; give the targets as y="):
        verify_network(SoftmaxWithLoss(), x=X)
    with pytest.raises(TypeError, match="loss is a int, expected a function"):
        verify_network(Regression(), 3, x=X, y=Y)


def test_what_a_layer_returns_that_is_no_gradient_of_x_is_refused(rng):
    class Rated:
        def __init__(self):
            self.W = np.random.default_rng(0).standard_normal((4, 3))

        def forward(self, x):
            self.x = x
            return x @ self.W

        def backward(self, dout):
            self.dW = self.x.T @ dout
            return 0.1

    with pytest.raises(
        ValueError, match=r"returned a float, which is no gradient of x, expected one of shape \(7, 4\)"
    ):
        verify_network(Rated(), x=rng.standard_normal((7, 4)))
