"""What an experiment is: one frozen record a task, whose defaults reach the accuracies stated in the README."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import scratch
from experiments import data
from scratch import checks
from scratch.device import Precision  # noqa: TC001 - the command line reads the types

if TYPE_CHECKING:
    from experiments.data import Data
    from scratch import Network, Parameters, Recipe
    from scratch.losses import Loss
    from scratch.optim import Optimizer
    from scratch.schedules import Schedule

ACTIVATIONS = {
    "relu": scratch.ReLU(),
    "leaky_relu": scratch.LeakyReLU(),
    "elu": scratch.ELU(),
    "sigmoid": scratch.Sigmoid(),
    "tanh": scratch.Tanh(),
    "silu": scratch.SiLU(),
    "gelu": scratch.GELU(),
    "gelu_tanh": scratch.GELU("tanh"),
}
OPTIMIZERS = {
    "sgd": scratch.SGD,
    "adagrad": scratch.AdaGrad,
    "rmsprop": scratch.RMSprop,
    "adam": scratch.Adam,
    "adamw": scratch.AdamW,
}

Activation = Literal["relu", "leaky_relu", "elu", "sigmoid", "tanh", "silu", "gelu", "gelu_tanh"]
Impl = Literal["both", "scratch", "torch", "lightning", "all"]


def option(default: Any, description: str) -> Any:
    """A field of a config, which the command line shows with this description."""
    return field(default=default, metadata={"help": description})


@dataclass(frozen=True, kw_only=True)
class Config:
    """The options of every task."""

    impl: Impl = option("both", "what to train: both is scratch and torch, all is lightning too")
    epochs: int = option(100, "passes over the training data")
    batch_size: int = option(64, "samples a step")
    hidden: tuple[int, ...] = option((32, 32), "widths of the hidden layers")
    activation: Activation = option("relu", "of the hidden layers")
    dropout: float = option(0.0, "probability of dropping a hidden unit")
    input_dropout: float = option(0.0, "probability of dropping an input")
    weights: Literal["he", "xavier", "normal"] = option("he", "how initial weights are drawn")
    bias: float = option(0.0, "initial value of every bias")
    optimizer: Literal["sgd", "adagrad", "rmsprop", "adam", "adamw"] = option(
        "adam", "of torch.optim and scratch.optim"
    )
    lr: float = option(1e-2, "learning rate, before the schedule")
    momentum: float = option(0.0, "of sgd and rmsprop")
    nesterov: bool = option(False, "Nesterov's momentum, for sgd")
    weight_decay: float = option(0.0, "the optimizer's, coupled except for adamw")
    schedule: Literal["constant", "step", "exponential", "linear", "cosine"] = option(
        "cosine", "step falls tenfold after 1/3 and 2/3 of the training, exponential to 1/100 over it, others to 0"
    )
    warmup: float = option(0.0, "fraction of the training over which the learning rate rises to its full value")
    l1: float = option(0.0, "strength of the L1 penalty on the weights")
    l2: float = option(0.0, "strength of the L2 penalty on the weights")
    label_smoothing: float = option(0.0, "of classes: this much of a target is shared among all of them")
    shift: int = option(0, "of images: move every training batch by up to so many pixels")
    max_norm: float | None = option(None, "clip the gradient's global norm to this")
    patience: int | None = option(None, "stop early after so many epochs without a new minimum of the validation loss")
    seed: int = option(0, "of the data, the initial weights, the batches and the dropout")
    dtype: Literal["float32", "float64"] = option("float32", "of data and parameters")
    device: str = option(
        "auto", "auto, cpu, cuda or cuda:N; auto is cuda where there is one, which scratch uses where CuPy is installed"
    )
    precision: Precision = option("float32", "of matrix products on a GPU; tf32 and bf16 round more and are faster")
    capture: bool = option(True, "on a GPU: the torch twin's step as a CUDA graph, with dropout masks of its own")
    devices: int = option(1, "with --impl lightning: processes on each node, to divide every batch among (DDP)")
    num_nodes: int = option(1, "with --impl lightning: machines that take part, each with as many devices")
    strategy: Literal["auto", "ddp", "ddp_spawn"] = option(
        "auto",
        "how Lightning starts its processes: ddp by running this command in each, ddp_spawn (auto) from this one",
    )
    data_dir: str | None = option(None, "folder of MNIST; else $TWINGRAD_DATA, else ./data")
    out: str | None = option(None, "folder of the run, which must be empty; else runs/TASK-DATE-TIME")
    checkpoint_every: float = option(5.0, "seconds between checkpoints, which are written at the end of an epoch")

    def __post_init__(self) -> None:
        checks.number("lr", self.lr, 0)
        checks.number("warmup", self.warmup, 0, below=1)
        checks.number("dropout", self.dropout, 0, below=1)
        checks.number("input_dropout", self.input_dropout, 0, below=1)
        checks.number("bias", self.bias, -np.inf)
        checks.number("checkpoint_every", self.checkpoint_every, 0)
        checks.whole("epochs", self.epochs, 1)
        checks.whole("batch_size", self.batch_size, 1)
        checks.whole("seed", self.seed, 0)
        checks.whole("devices", self.devices, 1)
        checks.whole("num_nodes", self.num_nodes, 1)
        for i, width in enumerate(self.hidden):
            checks.whole(f"hidden[{i}]", width, 1)
        if self.devices > 1 and self.impl != "lightning":
            raise ValueError(f"devices is {self.devices} with impl {self.impl!r}, expected impl 'lightning'")
        if self.num_nodes > 1 and (self.impl, self.strategy) != ("lightning", "ddp"):
            raise ValueError(
                f"num_nodes is {self.num_nodes} with impl {self.impl!r} and strategy {self.strategy!r}, "
                "expected impl 'lightning' and strategy 'ddp'"
            )
        checks.number("label_smoothing", self.label_smoothing, 0, below=1)
        checks.whole("shift", self.shift, 0)
        if self.task not in ("digits", "mnist"):
            for name, what in (("label_smoothing", "two classes"), ("shift", "no images")):
                if getattr(self, name):
                    raise ValueError(f"{name} is {getattr(self, name):g}, but {self.task} has {what}, expected 0")
        self.recipe(data.xor(self.dtype))  # what is wrong with the rest shows now, not after the data were read

    @property
    def task(self) -> str:
        return type(self).__name__.lower()

    @property
    def impls(self) -> tuple[str, ...]:
        several = {"both": ("scratch", "torch"), "all": ("scratch", "torch", "lightning")}
        return several.get(self.impl, (self.impl,))

    def as_dict(self) -> dict[str, Any]:
        """The options as config.yaml holds them: all but ``out``, which is the folder that it lies in."""
        values = dataclasses.asdict(self)
        del values["out"]
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return {"task": self.task, **plain}

    def load(self) -> Data:
        """The task's data."""
        raise NotImplementedError

    def network(self, dataset: Data) -> Network:
        sizes = (dataset.train.x.shape[1], *self.hidden, dataset.n_out)
        return scratch.mlp(sizes, ACTIVATIONS[self.activation], dropout=self.dropout, input_dropout=self.input_dropout)

    def initial_parameters(self, network: Network) -> Parameters:
        rng = np.random.default_rng((self.seed, 2))  # 0 and 1 are the batches and the masks (scratch.train)
        return scratch.initial_parameters(network, rng, weights=self.weights, bias=self.bias, dtype=self.dtype)

    def recipe(self, dataset: Data) -> Recipe:
        return scratch.Recipe(
            loss=self._loss(dataset),
            optimizer=self._optimizer(),
            epochs=self.epochs,
            batch_size=self.batch_size,
            schedule=self._schedule(-(-len(dataset.train.x) // self.batch_size) * self.epochs),
            penalty=scratch.Penalty(self.l1, self.l2),
            augment=self._augment(dataset),
            max_norm=self.max_norm,
            early_stopping=None if self.patience is None else scratch.EarlyStopping(self.patience),
            seed=self.seed,
        )

    def _loss(self, dataset: Data) -> Loss:
        return scratch.BCEWithLogits() if dataset.n_out == 1 else scratch.CrossEntropy(self.label_smoothing)

    def _augment(self, dataset: Data) -> scratch.Shift | None:
        return scratch.Shift(dataset.image_shape, self.shift) if self.shift and dataset.image_shape else None

    def _optimizer(self) -> Optimizer:
        cls = OPTIMIZERS[self.optimizer]
        names = {f.name for f in dataclasses.fields(cls)}
        given = {"momentum": self.momentum, "nesterov": self.nesterov}
        for name, value in given.items():
            if value and name not in names:
                raise ValueError(f"{name} is {value} with optimizer {self.optimizer!r}, which has none")
        own = {name: value for name, value in given.items() if name in names}
        return cls(lr=self.lr, weight_decay=self.weight_decay, **own)

    def _schedule(self, steps: int) -> Schedule:
        warmup = round(self.warmup * steps)
        rest = max(1, steps - warmup)
        schedules: dict[str, Schedule] = {
            "constant": scratch.Constant(),
            "step": scratch.StepDecay(-(-rest // 3)),
            "exponential": scratch.ExponentialDecay(0.01 ** (1 / rest)),
            "linear": scratch.LinearDecay(rest),
            "cosine": scratch.CosineDecay(rest),
        }
        after = schedules[self.schedule]
        return scratch.Warmup(warmup, after) if warmup else after


@dataclass(frozen=True, kw_only=True)
class XOR(Config):
    """Exclusive or: the four points that no line parts, and the smallest network that can."""

    epochs: int = option(300, "passes over the training data")
    batch_size: int = option(4, "samples a step")
    hidden: tuple[int, ...] = option((8,), "widths of the hidden layers")
    activation: Activation = option("tanh", "of the hidden layers")
    lr: float = option(0.05, "learning rate, before the schedule")

    def load(self) -> Data:
        return data.xor(self.dtype)


@dataclass(frozen=True, kw_only=True)
class Moons(Config):
    """Two interleaved half circles in the plane."""

    samples: int = option(1000, "points in all")
    noise: float = option(0.2, "standard deviation of the noise on them")

    def load(self) -> Data:
        return data.moons(self.samples, self.noise, self.seed, self.dtype)


@dataclass(frozen=True, kw_only=True)
class Circles(Config):
    """A circle within a circle in the plane."""

    samples: int = option(1000, "points in all")
    noise: float = option(0.1, "standard deviation of the noise on them")

    def load(self) -> Data:
        return data.circles(self.samples, self.noise, self.seed, self.dtype)


@dataclass(frozen=True, kw_only=True)
class Digits(Config):
    """1,797 handwritten digits of 8×8 pixels, shipped with scikit-learn."""

    hidden: tuple[int, ...] = option((256, 128), "widths of the hidden layers")
    activation: Activation = option("gelu", "of the hidden layers")
    epochs: int = option(60, "passes over the training data")
    dropout: float = option(0.3, "probability of dropping a hidden unit")
    input_dropout: float = option(0.1, "probability of dropping an input")
    lr: float = option(3e-3, "learning rate, before the schedule")

    def load(self) -> Data:
        return data.digits(self.seed, self.dtype)


@dataclass(frozen=True, kw_only=True)
class MNIST(Config):
    """70,000 handwritten digits of 28×28 pixels."""

    hidden: tuple[int, ...] = option((256, 128), "widths of the hidden layers")
    epochs: int = option(40, "passes over the training data")
    batch_size: int = option(128, "samples a step")
    dropout: float = option(0.1, "probability of dropping a hidden unit")
    input_dropout: float = option(0.2, "probability of dropping an input")
    lr: float = option(2e-3, "learning rate, before the schedule")

    def load(self) -> Data:
        return data.mnist(self.data_dir, self.seed, self.dtype)


TASKS: dict[str, type[Config]] = {task.__name__.lower(): task for task in (XOR, Moons, Circles, Digits, MNIST)}
