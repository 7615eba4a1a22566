"""Who trains in the benchmark, each in a process of its own: python -m experiments.contenders NAME FOLDER.

A process imports only what its contender needs, so that its peak memory is the contender's. It says when it is ready,
trains a turn for every line that it reads, and answers with the seconds; experiments/bench.py gives the turns.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import tempfile
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import scratch
from scratch.device import bytes_held
from scratch.train import epoch_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]

ACTIVATIONS = {"relu": scratch.ReLU(), "tanh": scratch.Tanh()}


@dataclass(frozen=True)
class Case:
    """A network and how it is trained: by Adam at a learning rate of 1e-3, in float32, without dropout."""

    name: str
    sizes: tuple[int, ...]
    activation: str
    batch_size: int
    samples: int
    epochs: int  # in a turn
    turns: int  # in all, the warm-up included
    device: str = "cpu"

    @property
    def flops(self) -> float:
        """Floating-point operations of an epoch's matrix products, of which the first layer needs no ∂L/∂x."""
        products = [a * b for a, b in zip(self.sizes, self.sizes[1:], strict=False)]
        return 2.0 * self.samples * (3 * sum(products) - products[0])

    @property
    def parameters(self) -> int:
        return sum((a + 1) * b for a, b in zip(self.sizes, self.sizes[1:], strict=False))

    def save(self, folder: Path) -> None:
        (folder / "case.json").write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, folder: Path) -> Case:
        values = json.loads((folder / "case.json").read_text())
        return cls(**{**values, "sizes": tuple(values["sizes"])})


class Work:
    """What every contender is given: the case, its data, its initial parameters, its turns, and a folder of its own."""

    def __init__(self, folder: Path, own: Path, turns: Iterator[int]) -> None:
        self.case, self.folder, self.turns = Case.load(folder), own, turns
        self.x, self.y = np.load(folder / "x.npy"), np.load(folder / "y.npy")
        self.test_x = np.load(folder / "test_x.npy")
        self.network = scratch.mlp(self.case.sizes, ACTIVATIONS[self.case.activation])
        self.recipe = scratch.Recipe(
            loss=scratch.BCEWithLogits() if self.case.sizes[-1] == 1 else scratch.CrossEntropy(),
            optimizer=scratch.Adam(1e-3),
            epochs=self.case.epochs * self.case.turns,
            batch_size=self.case.batch_size,
        )
        self.initial = scratch.initial_parameters(self.network, np.random.default_rng(0), dtype="float32")

    def epochs(self, turn: int) -> range:
        """The epochs of a turn."""
        return range(turn * self.case.epochs, (turn + 1) * self.case.epochs)

    def batches(self, epoch: int) -> Sequence[Array]:
        return list(epoch_batches(len(self.x), self.recipe, epoch))

    def records(self, records: Iterator[Any]) -> None:
        """Take a training's records, turn by turn."""
        record = None
        for turn in self.turns:
            last = (turn + 1) * self.case.epochs
            while record is None or not (record.epoch_ends and record.epoch + 1 == last):
                record = next(records)

    def classes(self, params: scratch.Parameters) -> Array:
        """What the trained parameters take the test samples for."""
        return scratch.predicted_classes(self.network.forward(params, self.test_x)[0])

    def device(self) -> Any:
        import torch

        return torch.device(self.case.device)


def scratch_by_hand(work: Work) -> Array:
    """scratch.fit: NumPy, or CuPy on a GPU."""
    state = scratch.State.start(work.initial, work.recipe).to(work.case.device)
    work.records(scratch.fit(work.network, work.recipe, work.x, work.y, state))
    return work.classes(state.params.to("cpu"))


def torch_loop(work: Work, compiled: bool = False, **options: Any) -> Array:
    """The loop that everybody writes, on data in memory."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    from torch_impl import parameters_of, twin

    device = work.device()
    module = nn.Sequential(*twin(work.network, work.initial, device))
    model: Callable[..., torch.Tensor] = torch.compile(module) if compiled else module
    loss_fn = F.binary_cross_entropy_with_logits if work.case.sizes[-1] == 1 else F.cross_entropy
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, **options)
    x, y = torch.from_numpy(work.x).to(device), torch.from_numpy(work.y).to(device)
    for turn in work.turns:
        for epoch in work.epochs(turn):
            for batch in work.batches(epoch):
                rows = torch.from_numpy(batch).to(device)
                optimizer.zero_grad()
                loss = loss_fn(model(x[rows]), y[rows])
                loss.backward()
                optimizer.step()
        loss.item()  # waits for a GPU
    return work.classes(parameters_of(module))


def torch_twin(work: Work, **options: Any) -> Array:
    """torch_impl.fit, the plain loop of this project."""
    import torch_impl

    start = scratch.State.start(work.initial, work.recipe)
    state = torch_impl.TwinState.start(work.network, work.recipe, start, work.device())
    work.records(torch_impl.fit(work.network, work.recipe, work.x, work.y, state, **options))
    return work.classes(torch_impl.parameters_of(state.module))


def lightning_twin(work: Work) -> Array:
    """torch_impl.lit.fit as the command line runs it: metrics, TensorBoard's log, checkpoints and a progress bar."""
    from experiments.data import Data, Split
    from experiments.run import RunFolder, Watch
    from torch_impl import lit

    split = Split(work.x, work.y, work.y.astype(np.int64).ravel())
    folder = RunFolder(work.folder)
    watch = Watch("lightning", Data(split, None, split, 0), work.recipe.epochs, folder, None, 0)
    next(work.turns)

    def on_record(record: scratch.Record) -> None:
        watch(record)
        if record.epoch_ends and (record.epoch + 1) % work.case.epochs == 0:
            next(work.turns, None)

    params = lit.fit(
        work.network, work.recipe, work.x, work.y, work.initial,
        on_record=on_record, folder=folder.lightning, device=work.device(), chunk=16, checkpoint_every=5.0,
    )  # fmt: skip
    return work.classes(params)


def lightning_as_usual(work: Work) -> Array:
    """Lightning as tutorials have it: a data set of single samples, transforms, a DataLoader, a log at every step."""
    import lightning as L
    import torch
    from torch.nn import functional as F
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    from torch_impl import twin

    case, turns = work.case, work.turns
    image = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])

    class Samples(Dataset[Any]):
        """MNIST as torchvision gives it (its pixels bytes, its transforms per sample); rows of an array otherwise."""

        def __init__(self) -> None:
            from PIL import Image

            self.images = None
            if case.sizes[0] == 784:
                low, high = work.x.min(), work.x.max()
                pixels = ((work.x - low) / (high - low) * 255).astype(np.uint8).reshape(-1, 28, 28)
                self.images = [Image.fromarray(a) for a in pixels]
            self.x, self.y = torch.from_numpy(work.x), torch.from_numpy(work.y)

        def __len__(self) -> int:
            return len(self.x)

        def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
            return (self.x[i] if self.images is None else image(self.images[i])), self.y[i]

    class Classifier(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Flatten(), *twin(work.network, work.initial))

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:  # noqa: ARG002
            x, y = batch
            logits = self.net(x)
            binary = case.sizes[-1] == 1
            loss = F.binary_cross_entropy_with_logits(logits, y) if binary else F.cross_entropy(logits, y)
            self.log("train_loss", loss, prog_bar=True)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    class Turns(L.Callback):
        def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
            if trainer.current_epoch % case.epochs == 0:
                next(turns)

        def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
            next(turns, None)

    module = Classifier()
    trainer = L.Trainer(
        max_epochs=work.recipe.epochs,
        accelerator=work.device().type,
        devices=1,
        default_root_dir=work.folder,
        callbacks=[Turns()],
    )
    trainer.fit(module, DataLoader(Samples(), batch_size=case.batch_size, shuffle=True))
    x = torch.from_numpy(work.test_x)
    if case.sizes[0] == 784:  # as the transforms make them
        low, high = work.x.min(), work.x.max()
        x = (x - low) / (high - low) * 2 - 1
    with torch.no_grad():
        return scratch.predicted_classes(module.cpu().net(x).numpy())


def sklearn_mlp(work: Work) -> Array:
    """scikit-learn's MLPClassifier: an epoch is a partial_fit on the data in the epoch's order."""
    from sklearn.neural_network import MLPClassifier

    case, labels = work.case, work.y.astype(np.int64).ravel()
    model = MLPClassifier(
        case.sizes[1:-1], activation=case.activation, alpha=0.0, batch_size=case.batch_size, learning_rate_init=1e-3,
        shuffle=False,
    )  # fmt: skip
    model.partial_fit(work.x[: case.batch_size], labels[: case.batch_size], classes=np.unique(labels))
    for i, (weights, bias) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        W, b = work.initial.group(str(2 * i))
        weights[:], bias[:] = W.T, b
    del model._optimizer  # it is made anew, for these weights
    for turn in work.turns:
        for epoch in work.epochs(turn):
            order = np.concatenate(work.batches(epoch))
            model.partial_fit(work.x[order], labels[order])
    return model.predict(work.test_x)


def textbook(work: Work) -> Array:
    """A network as a first course has it: float64, layers that hold their arrays, an update for every tensor."""
    layers: list[Any] = []
    n_layers = len(work.case.sizes) - 1
    for i in range(n_layers):
        W, b = work.initial.group(str(2 * i))
        layers.append(_TextbookLinear(W.T.astype(np.float64), b.astype(np.float64)))
        if i < n_layers - 1:
            layers.append(_TextbookReLU() if work.case.activation == "relu" else _TextbookTanh())
    n_out = work.case.sizes[-1]
    x = work.x.astype(np.float64)
    y = work.y.astype(np.float64) if n_out == 1 else np.eye(n_out)[work.y]
    step = 0
    for turn in work.turns:
        for epoch in work.epochs(turn):
            for batch in work.batches(epoch):
                step += 1
                out = x[batch]
                for layer in layers:
                    out = layer.forward(out)
                p = 1 / (1 + np.exp(-out)) if n_out == 1 else _softmax(out)
                np.mean(-np.sum(y[batch] * np.log(p + 1e-12), axis=1))  # the loss, which a course prints
                grad = (p - y[batch]) / len(batch)
                for layer in reversed(layers):
                    grad = layer.backward(grad)
                for layer in layers:
                    layer.update(step)
    out = work.test_x.astype(np.float64)
    for layer in layers:
        out = layer.forward(out)
    return scratch.predicted_classes(out)


class _TextbookLinear:
    def __init__(self, W: Array, b: Array) -> None:
        self.params = {"W": W, "b": b}
        self.m = {key: np.zeros_like(value) for key, value in self.params.items()}
        self.v = {key: np.zeros_like(value) for key, value in self.params.items()}

    def forward(self, x: Array) -> Array:
        self.x = x
        return np.dot(x, self.params["W"]) + self.params["b"]

    def backward(self, dout: Array) -> Array:
        self.grads = {"W": np.dot(self.x.T, dout), "b": np.sum(dout, axis=0)}
        return np.dot(dout, self.params["W"].T)

    def update(self, t: int, lr: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> None:
        for key, grad in self.grads.items():
            self.m[key] = beta1 * self.m[key] + (1 - beta1) * grad
            self.v[key] = beta2 * self.v[key] + (1 - beta2) * grad**2
            m_hat = self.m[key] / (1 - beta1**t)
            v_hat = self.v[key] / (1 - beta2**t)
            self.params[key] = self.params[key] - lr * m_hat / (np.sqrt(v_hat) + eps)


class _TextbookReLU:
    def forward(self, x: Array) -> Array:
        self.mask = x > 0
        return x * self.mask

    def backward(self, dout: Array) -> Array:
        return dout * self.mask

    def update(self, t: int) -> None:
        pass


class _TextbookTanh:
    def forward(self, x: Array) -> Array:
        self.out = np.tanh(x)
        return self.out

    def backward(self, dout: Array) -> Array:
        return dout * (1 - self.out**2)

    def update(self, t: int) -> None:
        pass


def _softmax(z: Array) -> Array:
    e = np.exp(z - np.max(z, axis=1, keepdims=True))
    return e / np.sum(e, axis=1, keepdims=True)


def matrix_products(work: Work) -> Array:
    """No contender: the machine's rate. A turn is a product of two large float32 matrices, on the case's device."""
    n = product_size(work.case.device)
    a = np.random.default_rng(0).standard_normal((n, n), dtype=np.float32)
    if work.case.device == "cpu":
        for _ in work.turns:
            a @ a
    else:
        import torch

        b = torch.from_numpy(a).to(work.device())
        for _ in work.turns:
            (b @ b)[0, 0].item()
    return np.zeros(len(work.test_x), np.int64)


def product_size(device: str) -> int:
    """Rows and columns of the matrices: large enough for their product to reach the device's rate."""
    return 2048 if device == "cpu" else 8192


def product_flops(device: str) -> float:
    """Floating-point operations of a turn of the matrix products."""
    return 2.0 * product_size(device) ** 3


CONTENDERS: dict[str, Callable[[Work], Array]] = {
    "scratch": scratch_by_hand,
    "torch loop": torch_loop,
    "torch loop, fused": lambda work: torch_loop(work, fused=True),
    "torch loop, compiled": lambda work: torch_loop(work, compiled=True),
    "torch twin": torch_twin,
    "torch twin, captured": lambda work: torch_twin(work, capture=True),
    "lightning twin": lightning_twin,
    "lightning as usual": lightning_as_usual,
    "scikit-learn": sklearn_mlp,
    "textbook NumPy": textbook,
    "matrix products": matrix_products,
}


def turns(answer: Callable[..., None]) -> Iterator[int]:
    """The numbers of the turns. What happens between two of them is timed, and the seconds are answered."""
    answer(ready=True)
    for turn, _ in enumerate(sys.stdin):
        start = time.perf_counter()
        yield turn
        answer(seconds=time.perf_counter() - start)


def peak_bytes(device: str) -> int:
    """The most memory that this process has had; on a GPU, of the GPU."""
    if device != "cpu" and "torch" in sys.modules:
        import torch

        return torch.cuda.max_memory_reserved()
    if device != "cpu":
        return bytes_held()
    status = Path("/proc/self/status")
    if status.is_file():  # Linux, where getrusage remembers the process that this one was forked from
        return next(int(line.split()[1]) * 1024 for line in status.open() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(name: str, folder: Path) -> None:
    """Train as ``name``, on what bench has put into the folder."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w")

    def answer(**values: Any) -> None:
        out.write(json.dumps(values) + "\n")
        out.flush()

    warnings.simplefilter("ignore")
    os.environ["TTY_COMPATIBLE"] = "1"  # so that Lightning's bar is drawn, though nobody sees it
    with Path(os.devnull).open("w") as quiet, contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        os.dup2(quiet.fileno(), 1)
        work = Work(folder, Path(tempfile.mkdtemp(dir=folder)), turns(answer))
        classes = CONTENDERS[name](work)
    labels = np.load(folder / "test_labels.npy")
    answer(accuracy=scratch.accuracy(labels, classes), peak_bytes=peak_bytes(work.case.device))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
