"""Who trains in the benchmark. Each is a function that takes its turns and gives the classes of the test samples.

A contender imports only what it needs, and within its function, so that its process's peak memory is the contender's.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import scratch
from experiments.benchmark import textbook
from experiments.benchmark.cases import Work

BASELINE, RATE = "torch loop", "matrix products"
QUICK = ("scratch", BASELINE, "lightning twin", "scikit-learn", "textbook NumPy")
GPU_ONLY = ("torch twin, captured",)
CPU_ONLY = ("scikit-learn", "textbook NumPy")


def contenders_for(device: str, quick: bool) -> list[str]:
    """Those who can train there; with ``quick``, a few of them."""
    left_out = {RATE, *(GPU_ONLY if device == "cpu" else CPU_ONLY)}
    return [name for name in (QUICK if quick else CONTENDERS) if name not in left_out]


def scratch_by_hand(work: Work) -> np.ndarray:
    """scratch.fit: NumPy, or CuPy on a GPU."""
    state = scratch.State.start(work.initial, work.recipe).to(work.case.device)
    work.follow(scratch.fit(work.network, work.recipe, work.x, work.y, state))
    return work.classes(state.params.to("cpu"))


def scratch_saved(work: Work) -> np.ndarray:
    """The same as the command line runs it: in a folder that it locks, with a checkpoint at most every 5 seconds."""
    from experiments.run_folder import RunFolder

    state, folder = scratch.State.start(work.initial, work.recipe).to(work.case.device), RunFolder(work.folder)

    def records() -> Iterator[scratch.Record]:
        saved = time.monotonic()
        for record in scratch.fit(work.network, work.recipe, work.x, work.y, state):
            if record.epoch_ends and time.monotonic() - saved >= 5:
                scratch.save_state(folder.checkpoint("scratch"), state)
                saved = time.monotonic()
            yield record

    with folder.held():
        work.follow(records())
    return work.classes(state.params.to("cpu"))


def torch_loop(work: Work, compiled: bool = False, **options: Any) -> np.ndarray:
    """The loop that everybody writes, on data in memory."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    from torch_impl import parameters_of, twin

    device = work.case.device
    module = nn.Sequential(*twin(work.network, work.initial, device))
    model: Callable[..., torch.Tensor] = torch.compile(module) if compiled else module
    loss_fn = F.binary_cross_entropy_with_logits if work.binary else F.cross_entropy
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, **options)
    x, y = torch.from_numpy(work.x).to(device), torch.from_numpy(work.y).to(device)
    for batches in work.batches():
        for batch in batches:
            rows = torch.from_numpy(batch).to(device)
            optimizer.zero_grad()
            loss = loss_fn(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
        loss.item()  # waits for a GPU
    return work.classes(parameters_of(module))


def torch_twin(work: Work, **options: Any) -> np.ndarray:
    """torch_impl.fit, the plain loop of this project."""
    import torch_impl

    start = scratch.State.start(work.initial, work.recipe)
    state = torch_impl.TwinState.start(work.network, work.recipe, start, work.case.device)
    work.follow(torch_impl.fit(work.network, work.recipe, work.x, work.y, state, **options))
    return work.classes(torch_impl.parameters_of(state.module))


def lightning_twin(work: Work) -> np.ndarray:
    """torch_impl.lit_train.fit as the command line runs it: metrics, TensorBoard, checkpoints, a progress bar."""
    from experiments.data import Data, Split
    from experiments.observer import Observer
    from experiments.run_folder import RunFolder
    from torch_impl import lit_train

    split = Split(work.x, work.y, work.y.astype(np.int64).ravel())
    folder = RunFolder(work.folder)
    observer = Observer("lightning", Data(split, None, split), work.recipe.epochs, folder, 0)
    next(work.turns)

    def on_record(record: scratch.Record) -> None:
        observer(record)
        if record.epoch_ends and (record.epoch + 1) % work.case.epochs == 0:
            next(work.turns, None)

    state = scratch.State.start(work.initial, work.recipe)
    lit_train.fit(
        work.network, work.recipe, work.x, work.y, state,
        on_record=on_record, checkpoint=folder.checkpoint("lightning"), checkpoint_every=5.0,
        tensorboard=folder.tensorboard, device=work.case.device, chunk=16,
    )  # fmt: skip
    return work.classes(state.params)


def lightning_as_usual(work: Work) -> np.ndarray:
    """Lightning as tutorials have it."""
    from experiments.benchmark import lightning_as_usual

    return lightning_as_usual.train(work)


def sklearn_mlp(work: Work) -> np.ndarray:
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
    for batches in work.batches():
        order = np.concatenate(batches)
        model.partial_fit(work.x[order], labels[order])
    return model.predict(work.test_x)


def matrix_products(work: Work) -> np.ndarray:
    """No contender: the machine's rate. A turn is a product of two large float32 matrices, on the case's device."""
    n = product_rows(work.case.device)
    a = np.random.default_rng(0).standard_normal((n, n), dtype=np.float32)
    if work.case.device == "cpu":
        for _ in work.turns:
            a @ a
    else:
        import torch

        b = torch.from_numpy(a).to(work.case.device)
        for _ in work.turns:
            (b @ b)[0, 0].item()
    return np.zeros(len(work.test_x), np.int64)


def product_rows(device: str) -> int:
    """Rows and columns of the matrices: large enough for their product to reach the device's rate."""
    return 2048 if device == "cpu" else 8192


def product_flops(device: str) -> float:
    """Floating-point operations of a turn of the matrix products."""
    return 2.0 * product_rows(device) ** 3


CONTENDERS: dict[str, Callable[[Work], np.ndarray]] = {
    "scratch": scratch_by_hand,
    "scratch, saved": scratch_saved,
    BASELINE: torch_loop,
    "torch loop, fused": lambda work: torch_loop(work, fused=True),
    "torch loop, compiled": lambda work: torch_loop(work, compiled=True),
    "torch twin": torch_twin,
    "torch twin, captured": lambda work: torch_twin(work, capture=True),
    "lightning twin": lightning_twin,
    "lightning as usual": lightning_as_usual,
    "scikit-learn": sklearn_mlp,
    "textbook NumPy": textbook.train,
    RATE: matrix_products,
}
