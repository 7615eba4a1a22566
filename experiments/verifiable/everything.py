"""Everything in scratch, beside torch."""

import time

import numpy as np

import scratch
from torch_impl import verify
from torch_impl.counterparts import EXAMPLES, OPTIMIZERS
from torch_impl.parity import every_loss
from torch_impl.verify import Report


def verify_scratch(seed: int = 0) -> Report:
    """Every layer and loss in float64 and float32, every optimizer, the penalty, and whole networks."""
    start, rng = time.perf_counter(), np.random.default_rng(seed)
    reports = [
        verify.verify_layer(layer, (7, *shape), dtype=dtype, seed=seed).renamed(f"{name}, {dtype}")
        for name, (layer, shape) in EXAMPLES.items() for dtype in ("float64", "float32")
    ]  # fmt: skip
    for dtype in ("float64", "float32"):
        logits = rng.standard_normal((7, 5)).astype(dtype)
        for name, (loss, y) in every_loss(logits, rng).items():
            reports.append(verify.verify_loss(loss, logits, y, seed=seed).renamed(f"{name}, {dtype}"))
    reports.append(verify.verify_penalty(scratch.Penalty(l1=0.03, l2=0.2), seed=seed))
    optimizers = [cls() for cls in OPTIMIZERS]
    for optimizer in (*optimizers, scratch.SGD(momentum=0.9), scratch.SGD(momentum=0.9, nesterov=True)):
        reports.append(verify.verify_optimizer(optimizer, seed=seed))
    x = rng.standard_normal((11, 5))
    for network, loss, y in (
        (scratch.mlp((5, 9, 7, 3), scratch.ReLU(), dropout=0.3), scratch.CrossEntropy(), rng.integers(0, 3, 11)),
        (scratch.mlp((5, 9, 3), scratch.GELU()), scratch.MSE(), rng.standard_normal((11, 3))),
    ):
        reports.append(verify.verify_network(network, loss, x=x, y=y, seed=seed))
    return verify.merged("Everything in scratch", reports, seconds=time.perf_counter() - start)
