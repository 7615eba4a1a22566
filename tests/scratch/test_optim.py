"""Every optimizer × schedule × penalty for 50 steps beside torch.optim, with torch's own schedules."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as torch_schedules

import scratch
import torch_impl
from scratch import (
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    Constant,
    CosineDecay,
    ExponentialDecay,
    LinearDecay,
    Penalty,
    RMSprop,
    StepDecay,
    Warmup,
)
from scratch.optim import clip_by_global_norm
from torch_impl.convert import slots_of
from torch_impl.counterparts import torch_optimizer, torch_penalty

STEPS = 50

OPTIMIZERS = {
    "SGD": SGD(0.1),
    "SGD momentum": SGD(0.1, momentum=0.9),
    "SGD dampening": SGD(0.1, momentum=0.9, dampening=0.3, weight_decay=0.01),
    "SGD Nesterov": SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "AdaGrad": AdaGrad(0.1, weight_decay=0.01),
    "RMSprop": RMSprop(0.01, weight_decay=0.01),
    "RMSprop momentum": RMSprop(0.01, momentum=0.9),
    "Adam": Adam(0.01),
    "Adam decay": Adam(0.01, betas=(0.8, 0.99), weight_decay=0.1),
    "AdamW": AdamW(0.01, weight_decay=0.1),
}


def _warm(optimizer, n, after):
    first = torch_schedules.LinearLR(optimizer, 1 / n, 1, n - 1)
    return torch_schedules.SequentialLR(optimizer, [first, after], [n])


SCHEDULES = {
    "constant": (Constant(), lambda o: torch_schedules.ConstantLR(o, 1.0)),
    "step": (StepDecay(15, 0.3), lambda o: torch_schedules.StepLR(o, 15, 0.3)),
    "exponential": (ExponentialDecay(0.95), lambda o: torch_schedules.ExponentialLR(o, 0.95)),
    "linear": (LinearDecay(STEPS, 0.1), lambda o: torch_schedules.LinearLR(o, 1.0, 0.1, STEPS)),
    "cosine": (CosineDecay(STEPS), lambda o: torch_schedules.CosineAnnealingLR(o, STEPS)),
    "warm-up, cosine": (
        Warmup(10, CosineDecay(STEPS - 10)),
        lambda o: _warm(o, 10, torch_schedules.CosineAnnealingLR(o, STEPS - 10)),
    ),
}
PENALTIES = {"none": Penalty(), "l1": Penalty(l1=0.01), "l2": Penalty(l2=0.02), "both": Penalty(0.01, 0.02)}


@pytest.mark.filterwarnings("ignore:The epoch parameter in:UserWarning")  # SequentialLR warns of itself
@pytest.mark.parametrize("penalty_name", PENALTIES)
@pytest.mark.parametrize("schedule_name", SCHEDULES)
@pytest.mark.parametrize("optimizer_name", OPTIMIZERS)
def test_fifty_steps_beside_torch(optimizer_name, schedule_name, penalty_name, rng):
    optimizer, (schedule, make), added = OPTIMIZERS[optimizer_name], SCHEDULES[schedule_name], PENALTIES[penalty_name]
    network = scratch.mlp((5, 4, 3), scratch.Tanh())
    params = scratch.initial_parameters(network, rng, bias=0.1)
    params["0.weight"][0, :2] = 0  # the kink of the L1 penalty
    module = torch_impl.twin(network, params)
    theirs = torch_optimizer(optimizer, module)
    their_schedule = make(theirs)
    ours, slots, grads = params.vector, optimizer.slots(params.vector), params.gradients()
    x, y = rng.standard_normal((STEPS, 7, 5)), rng.integers(0, 3, (STEPS, 7))

    for step in range(STEPS):
        logits, caches = network.apply(params, x[step])
        value, dlogits = scratch.CrossEntropy()(logits, y[step])
        network.backward(dlogits, caches, *grads.arrays)
        value += added.add_grad(params, grads)
        lr = optimizer.lr * schedule(step)
        optimizer.update(ours, grads.vector, slots, lr, step + 1)

        theirs.zero_grad()
        loss = torch.nn.functional.cross_entropy(module(torch.from_numpy(x[step])), torch.from_numpy(y[step]))
        loss = loss + torch_penalty(added, module)
        loss.backward()
        assert lr == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-12, abs=1e-15)
        assert value == pytest.approx(loss.item(), rel=1e-12)
        theirs.step()
        their_schedule.step()

    np.testing.assert_allclose(ours, torch_impl.parameters_of(module).vector, rtol=0, atol=1e-12)
    for key, vector in slots_of(theirs, slots).items():
        scale = max(1.0, np.abs(vector).max())
        np.testing.assert_allclose(slots[key], vector, rtol=0, atol=1e-12 * scale, err_msg=key)


def test_schedules_hold_their_last_value():
    for steps in (10, 11, 30):
        assert CosineDecay(10)(steps) == LinearDecay(10)(steps) == 0
        assert [CosineDecay(10, 0.2)(steps), LinearDecay(10, 0.2)(steps)] == pytest.approx([0.2, 0.2])
    assert [CosineDecay(10, 0.2)(step) for step in (0, 5)] == pytest.approx([1, 0.6])


def test_weight_decay_of_sgd_is_the_l2_penalty_on_everything(rng):
    network = scratch.mlp((5, 4, 3), scratch.Tanh())
    params = scratch.initial_parameters(network, rng)
    grads = params.gradients()
    Penalty(l2=0.3).add_grad(params, grads)
    np.testing.assert_allclose(grads["0.weight"], 0.3 * params["0.weight"])
    np.testing.assert_array_equal(grads["0.bias"], 0)


@pytest.mark.parametrize(
    ("penalty", "is_one"), [(Penalty(), False), (Penalty(l1=1e-9), True), (Penalty(l2=1e-9), True)], ids=str
)
def test_a_penalty_of_zero_is_none(penalty, is_one):
    assert bool(penalty) == is_one


def test_clipping_is_torchs(rng):
    g = rng.standard_normal(30)
    p = torch.nn.Parameter(torch.zeros(30, dtype=torch.float64))
    for max_norm in (0.5, 1e3):
        ours, p.grad = g.copy(), torch.from_numpy(g.copy())
        norm = clip_by_global_norm(ours, max_norm)
        assert norm == pytest.approx(torch.nn.utils.clip_grad_norm_(p, max_norm).item(), rel=1e-14)
        np.testing.assert_allclose(ours, p.grad.numpy(), rtol=1e-14)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_float32_stays_float32(optimizer):
    w, g = np.ones(5, "float32"), np.full(5, 0.1, "float32")
    slots = optimizer.slots(w)
    optimizer.update(w, g, slots, optimizer.lr, 1)
    assert {w.dtype, *(v.dtype for v in slots.values())} == {np.dtype("float32")}
    np.testing.assert_array_equal(g, np.float32(0.1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(-0.1), "lr is -0.1, expected a number at least 0"),
        (lambda: SGD(0.1, momentum=1.0), "momentum is 1.0, expected a number at least 0 and less than 1"),
        (lambda: SGD(0.1, nesterov=True), "nesterov is True with momentum 0"),
        (
            lambda: SGD(0.1, momentum=0.9, dampening=0.1, nesterov=True),
            "nesterov is True with momentum 0.9 and dampening 0.1, expected momentum > 0 and dampening 0",
        ),
        (lambda: Adam(lr="1e-3"), "lr is '1e-3', expected a number"),
        (lambda: Adam(betas=(0.9, 1.0)), r"betas\[1\] is 1.0"),
        (lambda: AdamW(eps=-1.0), "eps is -1.0"),
        (lambda: RMSprop(alpha=float("nan")), "alpha is nan"),
        (lambda: AdaGrad(weight_decay=-1), "weight_decay is -1"),
        (lambda: Penalty(l1=-1), "l1 is -1"),
        (lambda: StepDecay(0), "every is 0, expected at least 1"),
        (lambda: ExponentialDecay(0), "gamma is 0, expected a number greater than 0"),
        (lambda: CosineDecay(2.5), "steps is 2.5, expected an integer"),
        (lambda: Warmup(0), "steps is 0"),
        (lambda: clip_by_global_norm(np.ones(3), 0.0), "max_norm is 0.0, expected a number greater than 0"),
    ],
)
def test_bad_hyperparameters_are_named(make, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        make()


def test_every_optimizer_is_tested():
    public = [getattr(scratch, name) for name in dir(scratch)]
    optimizers = {c for c in public if isinstance(c, type) and dataclasses.is_dataclass(c) and hasattr(c, "update")}
    assert optimizers == {type(optimizer) for optimizer in OPTIMIZERS.values()}
