"""The list: where each mistake was found, the code that makes it here, and what makes that right."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.verify.found import activations, convolutions, dense, losses, lstms, norms, recurrent, softmaxes
from torch_impl.verify import Model, verify_function, verify_network
from torch_impl.verify.listing import Repair

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch_impl.verify import Report


@dataclass(frozen=True)
class Found:
    """A mistake that somebody published, used and believed, made again in code of our own.

    ``wrong`` says in two sentences what is wrong and how it shows. ``code`` is a forward and its backward, or a class;
    ``helpers`` are functions that they call and that belong to the mistake. ``edits`` are the texts in them to replace,
    each with what makes the gradient right. ``mistake`` is the name that the verifier gives, "unknown" where the
    catalogue has none, and ``unnamed`` says that the rule of that name does not reach this place.
    """

    title: str
    repository: str
    where: str
    wrong: str
    code: tuple[Any, ...]
    inputs: Mapping[str, Any]
    edits: tuple[tuple[str, str], ...]
    mistake: str = "unknown"
    unnamed: bool = False
    helpers: tuple[Callable[..., Any], ...] = ()

    @property
    def shown(self) -> tuple[Any, ...]:
        """The functions that the page shows, in the order of the file."""
        return tuple(sorted({*self.code, *self.helpers}, key=lambda f: inspect.getsourcelines(f)[1]))

    @property
    def path(self) -> Path:
        return Path(sys.modules[self.code[0].__module__].__file__ or "")

    @cached_property
    def report(self) -> Report:
        """What the verifier says of the code."""
        return verified(self.code, self.inputs)

    @cached_property
    def mended(self) -> str:
        """The whole file with the edits made, each of which fits one of the functions that are shown."""
        mended = {source: source for source in map(inspect.getsource, self.shown)}
        for old, new in self.edits:
            (source,) = (source for source, now in mended.items() if now.count(old) == 1)
            mended[source] = mended[source].replace(old, new)
        text = self.path.read_text(encoding="utf-8")
        for source, now in mended.items():
            text = text.replace(source, now)
        return text

    @property
    def by_hand(self) -> Repair:
        """The edits in the form in which the verifier offers its own."""
        return Repair(str(self.path), 0, "", self.path.read_text(encoding="utf-8"), self.mended)

    def mended_report(self) -> Report:
        """What the verifier says of the code with the edits made."""
        module = ModuleType("mended")
        exec(compile(self.mended, "mended.py", "exec"), vars(module))
        return verified(tuple(getattr(module, f.__name__) for f in self.code), self.inputs)


def verified(code: tuple[Any, ...], inputs: Mapping[str, Any]) -> Report:
    if not isinstance(code[0], type):
        return verify_function(code[0], code[1] if len(code) > 1 else None, inputs)
    weights = {name: value for name, value in inputs.items() if name[0] == "W"}
    model = Model(
        code[0](**weights),
        loss=lambda net, x, y: net.loss(x, y),
        backward=lambda net, x, y: net.train_step(x, y, lr=0.1),
        weights=tuple(weights),
        lr=0.1,
    )
    return verify_network(model, x=inputs["x"], y=inputs["y"])


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> Any:
    return scale * np.random.default_rng(20 + seed).standard_normal(shape)


X_W = {"x": normal(5, 4), "W": normal(4, 3, seed=1)}
AFFINE = X_W | {"b": normal(3, seed=2)}
HIDDEN = {"x": normal(7, 4), "W1": normal(4, 6, seed=1), "b1": normal(6, seed=2)}
HIDDEN |= {"W2": normal(6, 3, seed=3), "b2": normal(3, seed=4)}
NORM = {"x": normal(7, 4), "gamma": normal(4, seed=1), "beta": normal(4, seed=2)}
ATTENTION = {"Q": normal(4, 4), "K": normal(4, 4, seed=1), "V": normal(4, 3, seed=2)}
VECTORS = {"x": normal(4, 3), "Wxh": normal(5, 3, seed=1, scale=0.5), "Whh": normal(5, 5, seed=2, scale=0.5)}
LSTM = {"x": normal(3, 4, 2), "W": normal(5, 12, seed=1, scale=0.5)}
LABELS = np.array([0, 2, 1, 1, 0, 2, 2])
ONE_HOT = np.eye(3)[[0, 2, 1, 1, 0]]
P_TIMES_JACOBIAN = "p * (dout - (dout * p).sum(axis=1, keepdims=True))"

FOUND = [
    Found(
        "Softmax, the diagonal alone",
        "eriklindernoren/ML-From-Scratch",
        "the gradient of Softmax",
        "The derivative is p (1 − p), the diagonal of the Jacobian alone, as if softmax acted on each element by "
        "itself. The rows of ∂L/∂z do not add up to zero, and everything before the softmax learns from them.",
        (softmaxes.softmax_forward, softmaxes.softmax_backward_diagonal),
        X_W,
        (("dout * p * (1 - p)", P_TIMES_JACOBIAN),),
        "softmax-diagonal-only",
    ),
    Found(
        "RNN, the gradient of the input",
        "eriklindernoren/ML-From-Scratch",
        "RNN, the gradient that it hands to the layer before it",
        "The gradient of a step's input has the terms of that step alone; those that come back from later steps are "
        "missing. In the fragment the weights' gradients are right, so nothing is wrong where the RNN comes first.",
        (recurrent.rnn_forward, recurrent.rnn_backward_own_steps),
        {"x": normal(3, 4, 2), "h0": normal(3, 5, seed=1)}
        | {"Wx": normal(2, 5, seed=2, scale=0.5), "Wh": normal(5, 5, seed=3, scale=0.5)},
        (("own @ Wx.T", "da @ Wx.T"),),
    ),
    Found(
        "Upsampling, every second entry",
        "eriklindernoren/ML-From-Scratch",
        "UpSampling2D",
        "Each input is copied to a block of 2 by 2 outputs, and its gradient is taken from one of the four instead of "
        "their sum. Where the four are alike, it is too small by a factor of 4, which a learning rate hides.",
        (convolutions.upsampling_forward, convolutions.upsampling_backward),
        {"x": normal(2, 3, 4, 5)},
        (("dout[:, :, ::2, ::2]", "dout.reshape(n, c, h, 2, w, 2).sum(axis=(3, 5))"),),
    ),
    Found(
        "Dense layer, the weights averaged once more",
        "ElefHead/numpy-cnn",
        "FullyConnected",
        "The gradient of the weights is divided by the batch size, which the loss's gradient holds already. Weights "
        "then learn more slowly than biases, by a factor that changes with the batch size.",
        (dense.affine_forward, dense.affine_backward_averaged_weights),
        AFFINE,
        (("x.T @ dout / n", "x.T @ dout"),),
        "batch-mean-twice",
    ),
    Found(
        "Softmax, its derivative at the input",
        "ElefHead/numpy-cnn",
        "Softmax",
        "The derivative is z (1 − z), where p (1 − p) is meant, and that is the Jacobian's diagonal alone. It has no "
        "lower bound, while the derivatives of softmax lie between −¼ and ¼.",
        (softmaxes.softmax_forward, softmaxes.softmax_backward_of_the_input),
        X_W,
        (("dout * z * (1 - z)", P_TIMES_JACOBIAN),),
    ),
    Found(
        "Cross-entropy, its operands exchanged",
        "ElefHead/numpy-cnn",
        "the cross-entropy that goes with its Softmax",
        "The gradient divides the probabilities by the targets instead of the reverse. It has the right sign, and is "
        "small where it should be large: where a probability is far below its target.",
        (losses.cross_entropy, losses.cross_entropy_gradient),
        {"y": losses.softmax(normal(5, 3)), "p": losses.softmax(normal(5, 3, seed=1))},
        (("-p / y", "-y / p"),),
    ),
    Found(
        "RNN, back through Whh as it is",
        "vzhou842/rnn-from-scratch",
        "RNN",
        "The gradient goes from one state to the one before it through Whh instead of its transpose. Whh is square, "
        "so nothing complains, and the last step, which comes first on the way back, is right.",
        (recurrent.last_state_forward, recurrent.last_state_backward),
        VECTORS,
        (("Whh @ da", "Whh.T @ da"),),
        "transposed",
        unnamed=True,
    ),
    Found(
        "A mean loss with the gradients of a sum",
        "dennybritz/nn-from-scratch",
        "the network",
        "The loss is a mean over the samples, its gradients are sums. Every gradient is too large by the number of "
        "samples, and a learning rate that was tuned holds for that number alone.",
        (losses.network_loss,),
        HIDDEN | {"x": normal(7, 4), "y": LABELS},
        (("d[np.arange(n), y] -= 1\n", "d[np.arange(n), y] -= 1\n    d /= n\n"),),
        "missing-batch-mean",
    ),
    Found(
        "Softmax regression, the mean forgotten",
        "pangolulu/neural-network-from-scratch",
        "Softmax",
        "The loss is a mean over the samples, its gradient a sum. It is too large by the number of samples.",
        (losses.softmax_regression,),
        {"x": normal(5, 4), "t": ONE_HOT, "W": normal(4, 3, seed=1)},
        (("dz = p - t", "dz = (p - t) / len(x)"),),
        "missing-batch-mean",
    ),
    Found(
        "ReLU, a mask that is always true",
        "SethHWeidman/DLFS_code (lincoln)",
        "ReLU",
        "The mask asks whether the output is at least 0, and max(z, 0) always is, so the gradient passes as if there "
        "were no activation. Units that are off are trained like those that are on.",
        (activations.relu_forward, activations.relu_backward),
        X_W,
        (("h >= 0", "h > 0"),),
        "activation-derivative-missing",
    ),
    Found(
        "Convolution, the kernel not flipped",
        "SethHWeidman/DLFS_code (lincoln)",
        "Conv2D_Op",
        "The gradient of the input is a convolution with the flipped kernel, and here the kernel is as it was. The "
        "kernel's own gradient is right, so nothing is wrong where such a layer comes first.",
        (convolutions.convolution_forward, convolutions.convolution_backward),
        {"x": normal(4, 5), "k": normal(2, 3, seed=1)},
        (("correlate(padded, k)", "correlate(padded, k[::-1, ::-1])"),),
        "kernel-flipped",
    ),
    Found(
        "Squared error of normalised predictions",
        "SethHWeidman/DLFS_code (lincoln)",
        "MeanSquaredError with normalize=True",
        "The predictions are divided by their sum, and the derivative of that quotient is left out. To scale a row of "
        "predictions does not change the loss, so its gradient should be orthogonal to the row, and is not.",
        (losses.normalised_error, losses.normalised_error_gradient),
        {"p": 1 + np.abs(normal(5, 3)), "y": normal(5, 3, seed=1)},
        (("return dq", "return (dq - (dq * q).sum(axis=1, keepdims=True)) / p.sum(axis=1, keepdims=True)"),),
    ),
    Found(
        "A binary term in a softmax loss",
        "SethHWeidman/DLFS_code (lincoln)",
        "SoftmaxCrossEntropy",
        "The loss has the term (1 − t) log(1 − p) of independent binary outputs beside a softmax, the gradient p − t "
        "is that of the loss without it. p − t would be right for both terms if softmax acted on each output by "
        "itself.",
        (losses.softmax_loss,),
        {"z": normal(5, 3), "t": ONE_HOT},
        (("t * np.log(p) + (1 - t) * np.log(1 - p)", "t * np.log(p)"),),
        "softmax-diagonal-only",
    ),
    Found(
        "Max pooling, height and width exchanged",
        "wiseodd/hipsternet",
        "max pooling",
        "The shape is unpacked as n, d, w, h and used as n, d, h, w. Square images hide it.",
        (convolutions.max_pooling_forward, convolutions.max_pooling_backward),
        {"x": normal(2, 3, 4, 6)},
        (("n, d, w, h = x.shape", "n, d, h, w = x.shape"),),
    ),
    Found(
        "Average pooling, height and width exchanged",
        "wiseodd/hipsternet",
        "average pooling",
        "The same in the other kind of pooling: n, d, w, h for n, d, h, w. Square images hide it.",
        (convolutions.average_pooling_forward, convolutions.average_pooling_backward),
        {"x": normal(2, 3, 4, 6)},
        (("n, d, w, h = x.shape", "n, d, h, w = x.shape"),),
    ),
    Found(
        "LSTM, where the cell's gradient is added",
        "wiseodd/hipsternet",
        "LSTM, at its newest version",
        "The cell that is handed on is the tanh of the sum, and the gradient that comes back through it is added "
        "after the factor tanh′ instead of before. The last step is right; the error grows with every step further "
        "back.",
        (lstms.squashed_states_forward, lstms.squashed_states_backward),
        LSTM,
        (("dh * o * (1 - c_next**2) + dc", "(dh * o + dc) * (1 - c_next**2)"),),
        "carry-lost",
        helpers=(lstms.squashed_step_forward, lstms.squashed_step_backward),
    ),
    Found(
        "Sigmoid, its derivative at the upstream gradient",
        "wiseodd/hipsternet",
        "sigmoid, before commit c1efe40",
        "The derivative is evaluated at the gradient that arrives, and not multiplied by it. It is always positive, "
        "so its sign is wrong wherever the gradient is negative.",
        (activations.sigmoid_forward, activations.sigmoid_backward),
        X_W,
        (("sigmoid_prime(dout)", "dout * sigmoid_prime(z)"),),
        "upstream-ignored",
        helpers=(activations.sigmoid_prime,),
    ),
    Found(
        "Tanh, its derivative at the upstream gradient",
        "wiseodd/hipsternet",
        "tanh, before commit c1efe40",
        "The same with tanh: its derivative of the gradient that arrives, which is never negative.",
        (activations.tanh_forward, activations.tanh_backward_of_the_upstream_gradient),
        X_W,
        (("1 - np.tanh(dout) ** 2", "dout * (1 - np.tanh(z) ** 2)"),),
        "upstream-ignored",
    ),
    Found(
        "Tanh, returned for its derivative",
        "andersbll/nnet",
        "the derivative of tanh",
        "The function that should return the derivative returns tanh itself. The gradient has the wrong sign wherever "
        "the unit's input is negative.",
        (activations.tanh_forward, activations.tanh_backward_with_tanh),
        X_W,
        (("return t\n", "return 1 - t**2\n"),),
        "function-for-derivative",
        helpers=(activations.tanh_prime,),
    ),
    Found(
        "Layer norm, γ outside the sums",
        "AkiRusProd/numpy-transformer",
        "LayerNorm",
        "γ multiplies the result instead of the gradient that goes into the two means. With γ = 1, its first value, "
        "both are the same.",
        (norms.layernorm_forward, norms.layernorm_backward),
        NORM,
        (
            ("mean = dout.mean(", "mean = (dout * gamma).mean("),
            ("along = (dout * x_hat).mean(", "along = (dout * gamma * x_hat).mean("),
            ("gamma * (dout - mean - x_hat * along)", "(dout * gamma - mean - x_hat * along)"),
        ),
        "scale-outside",
    ),
    Found(
        "Attention, divided once more",
        "AkiRusProd/numpy-transformer",
        "attention",
        "The scores' gradient is divided by the batch size as well as by √d, in the fragment by the number of "
        "queries. The gradients of queries and keys are too small by that factor, those of the values are right.",
        (norms.attention_forward, norms.attention_backward_divided),
        ATTENTION,
        (("np.sqrt(Q.shape[1]) / len(Q)", "np.sqrt(Q.shape[1])"),),
        "batch-mean-twice",
    ),
    Found(
        "Attention, the keys' gradient",
        "codiceSpaghetti/numpyGPT",
        "attention",
        "The gradient of the keys is computed transposed. Where there are as many positions as features, it has the "
        "right shape.",
        (norms.attention_forward, norms.attention_backward_keys),
        ATTENTION,
        (("Q.T @ dscores", "dscores.T @ Q"),),
        "transposed",
    ),
    Found(
        "LSTM, the carried gradients not handed on",
        "Kulbear/deep-learning-coursera",
        "LSTM, back through time",
        "The loop computes the gradients of the state and of the cell before each step, and never hands them to the "
        "next turn. Each step is right for itself; what a state did later is lost.",
        (lstms.states_forward, lstms.states_backward),
        LSTM,
        (("        dW += dW_t\n", "        dW += dW_t\n        dh, dc = dh_before, dc_before\n"),),
        "carry-lost",
        helpers=(lstms.step_forward, lstms.step_backward),
    ),
    Found(
        "Max pooling, where the window starts",
        "Kulbear/deep-learning-coursera",
        "pooling with a stride of 2",
        "On the way back the window of output i starts at i instead of i times the stride. The last part of the input "
        "gets no gradient; a stride of 1 hides it.",
        (convolutions.strided_pooling_forward, convolutions.strided_pooling_backward),
        {"x": normal(6, 4), "stride": 2},
        (("start = i\n", "start = i * stride\n"),),
        "window-shifted",
    ),
    Found(
        "Rows of a table, assigned where they repeat",
        "ddbourgin/numpy-ml",
        "pooled embeddings",
        "A row that is used several times keeps the gradient of its last use instead of the sum of all. Rows that are "
        "used once are right.",
        (convolutions.bags_forward, convolutions.bags_backward),
        {"E": normal(6, 4), "ids": np.array([[0, 3, 3], [1, 3, 5]])},
        (("dE[ids] = dout[:, None]", "np.add.at(dE, ids, dout[:, None])"),),
        "duplicate-indices",
    ),
    Found(
        "GELU by tanh, with the derivative of the exact one",
        "ddbourgin/numpy-ml",
        "GELU, its tanh form",
        "The forward is the approximation by tanh, the backward the derivative of the exact GELU. The two differ by "
        "less than 0.001 everywhere, so a check with that tolerance lets it pass.",
        (activations.gelu_forward, activations.gelu_backward),
        {"x": normal(5, 4)},
        (
            (
                "    cdf = 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))\n"
                "    pdf = np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)\n"
                "    slope = cdf + x * pdf\n",
                "    du = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)\n"
                "    slope = 0.5 * (1 + t) + 0.5 * x * (1 - t**2) * du\n",
            ),
        ),
        "function-for-derivative",
    ),
    Found(
        "ELU, a comparison with a sum",
        "borgwang/tinynn",
        "ELU",
        "A comparison binds less tightly than +, so x is compared with a sum and the slope is 0 or 1. Where x is "
        "negative nothing is learnt, as with ReLU.",
        (activations.elu_forward, activations.elu_backward),
        {"x": normal(5, 4), "alpha": 0.7},
        (("x > 0.0 + (x", "(x > 0.0) + (x"),),
        "leaky-slope-lost",
    ),
    Found(
        "Dense layer, averaged once more",
        "SkalskiP/ILearnDeepLearning.py",
        "dense layers",
        "The gradients of weights and biases are divided by the batch size, beside a loss whose gradient is that of a "
        "mean already. They are too small by the batch size.",
        (dense.affine_forward, dense.affine_backward_averaged),
        AFFINE,
        (("x.T @ dout / n", "x.T @ dout"), ("dout.sum(axis=0) / n", "dout.sum(axis=0)")),
        "batch-mean-twice",
    ),
    Found(
        "Convolution, averaged once more",
        "SkalskiP/ILearnDeepLearning.py",
        "convolution layers",
        "The same in the convolution layers: kernel and bias are divided by the batch size, which the loss's gradient "
        "holds already. They are too small by the batch size; the gradient of the input is right.",
        (convolutions.batch_convolution_forward, convolutions.batch_convolution_backward),
        {"x": normal(3, 4, 5), "k": normal(2, 3, seed=1), "b": np.array(0.3)},
        (("dout.sum() / n", "dout.sum()"), ("dk / n", "dk")),
        "bias-not-summed",  # by its formula: averaged over the batch instead of summed, which is the same here
    ),
    Found(
        "Softmax, its derivative left out",
        "SkalskiP/ILearnDeepLearning.py",
        "the Softmax layer",
        "The layer hands the gradient on as it comes. With a cross-entropy that hands p − y to it the pair is right; "
        "by itself, or under another loss, it is not.",
        (softmaxes.softmax_forward, softmaxes.softmax_backward_left_out),
        X_W,
        (("dz = dout", f"dz = {P_TIMES_JACOBIAN}"),),
        "activation-derivative-missing",
    ),
    Found(
        "LSTM, the upstream gradient at every step",
        "revsic/numpy-rnn",
        "LSTM",
        "The loss depends on the last state alone, and its gradient is added at every step. The last step is right; "
        "the earlier ones get what does not belong to them.",
        (lstms.last_state_forward, lstms.last_state_backward),
        LSTM,
        (("dh = dc = np.zeros_like(dout)", "dh, dc = dout, np.zeros_like(dout)"), ("(dh + dout, dc", "(dh, dc")),
        "carry-lost",
        helpers=(lstms.step_backward,),
    ),
    Found(
        "RNN, not carried back in time",
        "qixianbiao/RNN",
        "RNN, issue 2",
        "No gradient goes from a state to the one before it, and the last step is left out of the sum. What a state "
        "does to later ones is lost.",
        (recurrent.all_states_forward, recurrent.all_states_backward),
        VECTORS,
        (
            (
                "    for t in range(len(x) - 1):\n        dh = dout[t]\n",
                "    carried = 0\n    for t in reversed(range(len(x))):\n        dh = dout[t] + carried\n",
            ),
            ("dWhh += np.outer(dt, hs[t])\n", "dWhh += np.outer(dt, hs[t])\n        carried = Whh.T @ dt\n"),
        ),
    ),
    Found(
        "The bias of a hidden layer",
        "arthurdouillard/deepcourse",
        "the bias of a hidden layer, before pull request 9",
        "The bias sums the gradient after the activation instead of the one before it. All other gradients are right, "
        "and where tanh is near 0 this one nearly is.",
        (dense.hidden_forward, dense.hidden_backward),
        HIDDEN,
        (("db1 = dh.sum", "db1 = da.sum"),),
        "leaf-before-activation",
    ),
    Found(
        "Softmax, the upstream gradient not used",
        "RoboticsClubIITJ",
        "softmax",
        "The Jacobian is summed as it is, without the gradient that arrives. Its columns add up to zero, so to "
        "rounding nothing is learnt.",
        (softmaxes.softmax_forward, softmaxes.softmax_backward_without_dout),
        X_W,
        (("J.sum(axis=1)", "(dout[:, :, None] * J).sum(axis=1)"),),
        "upstream-ignored",
    ),
    Found(
        "A number for an outer product",
        "casper-hansen",
        "backprop",
        "np.dot of two vectors is a number where np.outer is meant, and the activation is the layer's own output "
        "instead of its input. The update subtracts that number from every weight, which broadcasting allows.",
        (dense.OneSample,),
        {"x": normal(4), "y": normal(3, seed=1), "W1": normal(5, 4, seed=2), "W2": normal(3, 5, seed=3)},
        (("np.dot(d2, self.a2)", "np.outer(d2, self.a1)"), ("np.dot(d1, self.a1)", "np.outer(d1, x)")),
    ),
    Found(
        "Softmax over channels, the diagonal alone",
        "wkcn/mobula",
        "Softmax over an inner axis of four, before commit 4eec938",
        "The derivative is p (1 − p), the diagonal of the Jacobian alone. Along the channels ∂L/∂x does not add up to "
        "zero.",
        (softmaxes.channels_forward, softmaxes.channels_backward),
        {"x": normal(2, 4, 3, 5)},
        (("    slope = p * (1 - p)\n    return dout * slope\n", f"    return {P_TIMES_JACOBIAN}\n"),),
        "softmax-diagonal-only",
    ),
    Found(
        "Batch norm, mean and variance as constants",
        "Deeplayer, a solution of a course",
        "batch norm, the short form",
        "Mean and variance are taken as constants, though they depend on x. ∂L/∂x does not add up to zero over the "
        "batch as it should; the gradients of γ and β are right.",
        (norms.batchnorm_forward, norms.batchnorm_backward),
        NORM,
        (
            (
                "dx = dx_hat / sigma",
                "dx = (dx_hat - dx_hat.mean(axis=0) - x_hat * (dx_hat * x_hat).mean(axis=0)) / sigma",
            ),
        ),
        "batchnorm-stats-constant",
    ),
]
