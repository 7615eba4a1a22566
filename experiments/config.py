"""What an experiment is: a frozen record of the options that all tasks share, and what they make."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from types import NoneType
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import numpy as np

import scratch
from experiments import data
from experiments.command_line import check_name, check_whole
from experiments.memory import check_memory
from scratch import Network, Parameters, Recipe, checks
from scratch.device import Precision
from scratch.init import INITIALIZERS
from scratch.optim import Optimizer
from scratch.schedules import Schedule

# What an option can be, by the name that the command line gives it. An entry here is all that a new one needs.
IMPLS = ("scratch", "torch", "lightning")
IMPL_CHOICES = {"both": IMPLS[:2], **{impl: (impl,) for impl in IMPLS}, "all": IMPLS}
ACTIVATION_CHOICES = {
    "relu": scratch.ReLU(),
    "leaky_relu": scratch.LeakyReLU(),
    "elu": scratch.ELU(),
    "sigmoid": scratch.Sigmoid(),
    "tanh": scratch.Tanh(),
    "silu": scratch.SiLU(),
    "gelu": scratch.GELU(),
    "gelu_tanh": scratch.GELU("tanh"),
}
OPTIMIZER_CHOICES: dict[str, Callable[..., Optimizer]] = {
    "sgd": scratch.SGD,
    "adagrad": scratch.AdaGrad,
    "rmsprop": scratch.RMSprop,
    "adam": scratch.Adam,
    "adamw": scratch.AdamW,
}
SCHEDULE_CHOICES: dict[str, Callable[[int], Schedule]] = {  # from the steps that they are to take
    "constant": lambda _: scratch.Constant(),
    "step": lambda steps: scratch.StepDecay(-(-steps // 3)),
    "exponential": lambda steps: scratch.ExponentialDecay(0.01 ** (1 / steps)),
    "linear": scratch.LinearDecay,
    "cosine": scratch.CosineDecay,
}


def option(group: str, default: Any, text: str, choices: Mapping[str, Any] | None = None) -> Any:
    """A field of a config: its group and its text in ``--help``, and what it is one of."""
    return field(default=default, metadata={"group": group, "help": text, "choices": choices})


RUN, NETWORK, TRAINING, DATA, DEVICE, MACHINES = (
    partial(option, group) for group in ("run", "network", "training", "data", "device", "several machines")
)


PLACES = ("out", "data_dir")  # options that are places on a machine, which config.yaml says nothing of


@dataclass(frozen=True, kw_only=True)
class Config:
    """The options of every task. A task is a subclass in experiments/tasks.py, with its own defaults and data."""

    n_classes: ClassVar[int] = 2
    image_shape: ClassVar[tuple[int, int] | None] = None  # of a row of x, where the samples are images
    reads_files: ClassVar[bool] = False  # from data_dir
    beside_perceptron: ClassVar[bool] = False  # whether to say how far one comes without a hidden layer

    impl: str = RUN("both", "what to train: both is scratch and torch, all is lightning too", IMPL_CHOICES)
    epochs: int = TRAINING(100, "passes over the training data")
    batch_size: int = TRAINING(64, "samples a step")
    hidden: tuple[int, ...] = NETWORK((32, 32), "widths of the hidden layers")
    activation: str = NETWORK("relu", "of the hidden layers", ACTIVATION_CHOICES)
    dropout: float = NETWORK(0.0, "probability of dropping a hidden unit")
    input_dropout: float = NETWORK(0.0, "probability of dropping an input")
    batch_norm: bool = NETWORK(False, "normalise before each activation, each unit over the batch")
    layer_norm: bool = NETWORK(False, "normalise before each activation, each sample over the units")
    residual: bool = NETWORK(False, "add to the output of each hidden layer its input")
    weights: str = NETWORK("he", "how initial weights are drawn", INITIALIZERS)
    bias: float = NETWORK(0.0, "initial value of every bias")
    optimizer: str = TRAINING("adam", "of torch.optim and scratch.optim", OPTIMIZER_CHOICES)
    lr: float = TRAINING(1e-2, "learning rate, before the schedule")
    momentum: float = TRAINING(0.0, "of sgd and rmsprop")
    nesterov: bool = TRAINING(False, "Nesterov's momentum, for sgd")
    weight_decay: float = TRAINING(0.0, "the optimizer's, coupled except for adamw")
    schedule: str = TRAINING(
        "cosine",
        "step falls tenfold after 1/3 and 2/3 of the training, exponential to 1/100 over it, others to 0",
        SCHEDULE_CHOICES,
    )
    warmup: float = TRAINING(0.0, "fraction of the training over which the learning rate rises to its full value")
    l1: float = TRAINING(0.0, "strength of the L1 penalty on the weights")
    l2: float = TRAINING(0.0, "strength of the L2 penalty on the weights")
    label_smoothing: float = TRAINING(0.0, "of classes: this much of a target is shared among all of them")
    shift: int = DATA(0, "of images: move every training batch by up to so many pixels")
    max_norm: float | None = TRAINING(None, "clip the gradient's global norm to this")
    patience: int | None = TRAINING(
        None, "stop early after so many epochs without a new minimum of the validation loss"
    )
    seed: int = RUN(0, "of the data, the initial weights, the batches and the dropout")
    dtype: Literal["float32", "float64"] = DATA("float32", "of data and parameters")
    device: str = DEVICE(
        "auto", "auto, cpu, cuda or cuda:N; auto is cuda where there is one, which scratch uses where CuPy is installed"
    )
    precision: Precision = DEVICE("float32", "of matrix products on a GPU; tf32 and bf16 round more and are faster")
    capture: bool = DEVICE(True, "on a GPU: the torch twin's step as a CUDA graph, with dropout masks of its own")
    devices: int = MACHINES(1, "with --impl lightning: processes on each node, to divide every batch among (DDP)")
    num_nodes: int = MACHINES(1, "with --impl lightning: machines that take part, each with as many devices")
    strategy: Literal["auto", "ddp", "ddp_spawn"] = MACHINES(
        "auto",
        "how Lightning starts its processes: ddp by running this command in each, ddp_spawn (auto) from this one",
    )
    data_dir: str | None = DATA(None, "folder of MNIST; else $TWINGRAD_DATA, else ./data")
    out: str | None = RUN(None, "folder of the run, which must be empty; else runs/TASK-DATE-TIME")
    checkpoint_every: float = RUN(5.0, "seconds between checkpoints, which are written at the end of an epoch")

    def __post_init__(self) -> None:
        self._check_kinds()
        checks.choice("impl", self.impl, IMPL_CHOICES)
        for name in ("lr", "checkpoint_every"):
            checks.number(name, getattr(self, name), 0)
        for name in ("warmup", "dropout", "input_dropout", "label_smoothing"):
            checks.number(name, getattr(self, name), 0, below=1)
        checks.number("bias", self.bias, -np.finfo(np.float64).max)
        for name in ("epochs", "batch_size", "devices", "num_nodes"):
            checks.whole(name, getattr(self, name), 1)
        for name in ("seed", "shift"):
            checks.whole(name, getattr(self, name), 0)
        for i, width in enumerate(self.hidden):
            check_whole(f"hidden[{i}]", width, 1)
        if self.image_shape is not None and self.shift > min(self.image_shape):
            raise ValueError(f"shift is {self.shift}, expected at most {min(self.image_shape)}, the images' side")
        if self.devices * self.num_nodes > self.batch_size:
            processes = f"devices × num_nodes is {self.devices * self.num_nodes}"
            raise ValueError(f"{processes}, expected at most {self.batch_size}, the samples of a batch")
        if self.devices > 1 and self.impl != "lightning":
            raise ValueError(f"devices is {self.devices} with impl {self.impl!r}, expected impl 'lightning'")
        if self.num_nodes > 1 and (self.impl, self.strategy) != ("lightning", "ddp"):
            raise ValueError(
                f"num_nodes is {self.num_nodes} with impl {self.impl!r} and strategy {self.strategy!r}, "
                "expected impl 'lightning' and strategy 'ddp'"
            )
        if self.batch_norm and self.layer_norm:
            raise ValueError("layer_norm is True with batch_norm, expected one of the two")
        for name, why in self.without().items():
            if name != "data_dir" and getattr(self, name):
                raise ValueError(f"{name} is {getattr(self, name):g}, but {self.task} has {why}, expected 0")
        self.recipe(samples=1)  # what is wrong with the rest shows now, not after the data were read

    def _check_kinds(self) -> None:
        """Raise TypeError or ValueError unless every option is of its kind."""
        for name, kind in get_type_hints(type(self)).items():
            if get_origin(kind) is ClassVar:
                continue
            value = getattr(self, name)
            kinds = get_args(kind) if NoneType in get_args(kind) else (kind,)
            if value is None and NoneType in kinds:
                continue
            if kinds[0] is bool and not isinstance(value, bool):
                raise TypeError(f"{name} is {value!r}, expected true or false")
            if kinds[0] is int:
                check_whole(name, value, 0)
            if kinds[0] is float and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise TypeError(f"{name} is {value!r}, expected a number")
            if kinds[0] is str and not isinstance(value, str):
                raise TypeError(f"{name} is {value!r}, expected a word")
            if get_origin(kind) is Literal:
                checks.choice(name, value, dict.fromkeys(get_args(kind)))
            if get_origin(kind) is tuple and not isinstance(value, tuple | list):
                raise TypeError(f"{name} is {value!r}, expected a list of integers")
        for name in PLACES:
            check_name(name, getattr(self, name))

    @property
    def task(self) -> str:
        return type(self).__name__.lower()

    @property
    def impls(self) -> tuple[str, ...]:
        return IMPL_CHOICES[self.impl]

    @property
    def n_out(self) -> int:
        """Columns of the logits: one for two classes, else one for each."""
        return 1 if self.n_classes == 2 else self.n_classes

    @classmethod
    def without(cls) -> dict[str, str]:
        """The options that do nothing for the task, and what it has, that they do not."""
        useful = {
            "label_smoothing": (cls.n_classes > 2, "two classes"),
            "shift": (cls.image_shape is not None, "no images"),
            "data_dir": (cls.reads_files, "no files"),
        }
        return {name: why for name, (does_something, why) in useful.items() if not does_something}

    def as_dict(self) -> dict[str, Any]:
        """The options as config.yaml holds them: all but ``out`` and ``data_dir``, which are places on a machine."""
        values = dataclasses.asdict(self)
        for name in PLACES:
            del values[name]
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return {"task": self.task, **plain}

    def load(self) -> data.Data:
        """The task's data."""
        raise NotImplementedError

    def divided(self, x: np.ndarray, labels: np.ndarray) -> data.Data:
        """Samples with their classes, divided and standardised."""
        return data.divided(x, labels, self.n_classes, self.seed, self.dtype, images=self.image_shape is not None)

    def network(self, n_in: int) -> Network:
        activation = checks.choice("activation", self.activation, ACTIVATION_CHOICES)
        sizes = (n_in, *self.hidden, self.n_out)
        norm = scratch.BatchNorm if self.batch_norm else scratch.LayerNorm if self.layer_norm else None
        dropout = {"dropout": self.dropout, "input_dropout": self.input_dropout}
        return scratch.mlp(sizes, activation, **dropout, norm=norm, residual=self.residual)

    def check_memory(self, n_in: int, samples: int) -> None:
        """Raise ValueError unless there is memory to train: for what is as long as the parameters, and for a batch."""
        sizes = [n_in, *self.hidden, self.n_out]
        parameters = sum((a + 1) * b for a, b in pairwise(sizes))
        copies = 3 + len(
            self.optimizer_record().slots(np.zeros(1))
        )  # the initial ones, the trained ones, the gradients
        numbers = copies * parameters + min(self.batch_size, samples) * sum(sizes)
        widths = "-".join(map(str, sizes)) if len(sizes) < 12 else f"{len(sizes) - 1} layers"
        what = f"a network of {widths}, with {parameters:,} parameters, their gradients and the optimizer's state,"
        check_memory(what, numbers * np.dtype(self.dtype).itemsize)

    def initial_parameters(self, network: Network) -> Parameters:
        rng = np.random.default_rng((self.seed, 2))  # 0 and 1 are the batches and the masks (scratch.train)
        return scratch.initial_parameters(network, rng, weights=self.weights, bias=self.bias, dtype=self.dtype)

    def recipe(self, samples: int) -> Recipe:
        """How to train on so many samples."""
        return scratch.Recipe(
            loss=scratch.BCEWithLogits() if self.n_out == 1 else scratch.CrossEntropy(self.label_smoothing),
            optimizer=self.optimizer_record(),
            epochs=self.epochs,
            batch_size=self.batch_size,
            schedule=self._schedule(-(-samples // self.batch_size) * self.epochs),
            penalty=scratch.Penalty(self.l1, self.l2),
            augment=scratch.Shift(self.image_shape, self.shift) if self.shift and self.image_shape else None,
            max_norm=self.max_norm,
            early_stopping=None if self.patience is None else scratch.EarlyStopping(self.patience),
            seed=self.seed,
        )

    def optimizer_record(self) -> Optimizer:
        cls: Any = checks.choice("optimizer", self.optimizer, OPTIMIZER_CHOICES)
        names = {f.name for f in dataclasses.fields(cls)}
        given = {"momentum": self.momentum, "nesterov": self.nesterov}
        for name, value in given.items():
            if value and name not in names:
                raise ValueError(f"{name} is {value} with optimizer {self.optimizer!r}, which has none")
        own = {name: value for name, value in given.items() if name in names}
        return cls(lr=self.lr, weight_decay=self.weight_decay, **own)

    def _schedule(self, steps: int) -> Schedule:
        warmup = round(self.warmup * steps)
        after = checks.choice("schedule", self.schedule, SCHEDULE_CHOICES)(max(1, steps - warmup))
        return scratch.Warmup(warmup, after) if warmup else after
