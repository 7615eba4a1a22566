"""What all of scratch has in common: frozen records, torch's defaults, wrong arguments that are named."""

import dataclasses
import importlib
import inspect
import pkgutil

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import lr_scheduler

import scratch
from scratch import CrossEntropy, EarlyStopping, Network, Penalty, Recipe, Shift
from scratch.train import check_data
from torch_impl.counterparts import EXAMPLES

MODULES = [importlib.import_module(f"scratch.{file.name}") for file in pkgutil.iter_modules(scratch.__path__)]
RECORDS = {c for file in MODULES for c in vars(file).values() if isinstance(c, type) and dataclasses.is_dataclass(c)}
CHANGE = {"Progress", "State", "Stop", "Trace"}  # as a training, or a forward pass, goes on


def test_every_record_is_frozen_except_those_of_something_that_goes_on():
    assert {c.__name__ for c in RECORDS if not c.__dataclass_params__.frozen} == CHANGE


def test_every_public_class_is_a_record_except_these():
    classes = {c for c in vars(scratch).values() if isinstance(c, type)}
    errors = {scratch.DivergenceError, scratch.Interrupted}
    assert classes - RECORDS == {scratch.Layer, scratch.Composite, scratch.Parameters, scratch.Record} | errors


THEIRS = {
    scratch.SGD: torch.optim.SGD,
    scratch.AdaGrad: torch.optim.Adagrad,
    scratch.RMSprop: torch.optim.RMSprop,
    scratch.Adam: torch.optim.Adam,
    scratch.AdamW: torch.optim.AdamW,
    scratch.CrossEntropy: F.cross_entropy,
    scratch.StepDecay: lr_scheduler.StepLR,
    scratch.LayerNorm: nn.LayerNorm,
    scratch.BatchNorm: nn.BatchNorm1d,
    scratch.GELU: nn.GELU,
    scratch.ELU: nn.ELU,
    scratch.LeakyReLU: nn.LeakyReLU,
    scratch.CosineDecay: lr_scheduler.CosineAnnealingLR,
}
OTHER_NAMES = {"slope": "negative_slope", "final": "eta_min", "affine": ("affine", "elementwise_affine")}


def defaults(function):
    return {name: p.default for name, p in inspect.signature(function).parameters.items() if p.default is not p.empty}


def test_every_optimizer_is_among_them():
    assert {c for c in RECORDS if hasattr(c, "update")} <= THEIRS.keys()


@pytest.mark.parametrize("ours", THEIRS, ids=lambda c: c.__name__)
def test_defaults_are_torchs(ours):
    theirs = defaults(THEIRS[ours])
    for name, value in defaults(ours).items():
        others = np.atleast_1d(OTHER_NAMES.get(name, name))
        assert [theirs[other] for other in others if other in theirs] == [value], name


def test_a_recipe_takes_keywords_alone():
    with pytest.raises(TypeError, match="positional"):
        Recipe(CrossEntropy(), scratch.SGD(0.1), 1, 4)


def test_what_is_not_asked_for_is_not_done(rng):
    """The defaults that torch has no like of."""
    tanh = scratch.Tanh()
    network = scratch.mlp((5, 4, 4, 3), tanh)
    assert network == Network((scratch.Linear(5, 4), tanh, scratch.Linear(4, 4), tanh, scratch.Linear(4, 3)))
    params = scratch.initial_parameters(network, np.random.default_rng(3))
    np.testing.assert_array_equal(params.group("4")[1], 0)
    same = scratch.initial_parameters(network, np.random.default_rng(3), weights="he", bias=0.0, dtype="float64")
    np.testing.assert_array_equal(params.vector, same.vector)
    assert params.dtype == network.parameters().dtype == scratch.Parameters(network.shapes()).dtype == np.float64
    recipe = Recipe(loss=CrossEntropy(), optimizer=scratch.SGD(0.1), epochs=1, batch_size=4)
    assert (recipe.seed, recipe.max_norm, recipe.schedule(1000), bool(recipe.penalty)) == (0, None, 1.0, False)
    progress = scratch.State.start(params, recipe).progress
    assert (progress.step, progress.best_loss, progress.best_epoch, progress.stopped) == (0, np.inf, -1, False)
    assert (Penalty(), scratch.LinearDecay(5)) == (Penalty(0.0, 0.0), scratch.LinearDecay(5, 0.0))
    assert scratch.Warmup(5)(99) == 1.0
    assert Shift((2, 4)) == Shift((2, 4), 1)
    x, y = rng.standard_normal((7, 5)), rng.integers(0, 3, 7)
    checked = scratch.gradcheck(network, CrossEntropy(), params, x, y, rng)
    assert (checked.tolerance, len(checked.slopes)) == (1e-7, 3 * 7)
    xor = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    assert len(scratch.fit_perceptron(xor, np.array([0, 1, 1, 0]), rng).mistakes) == 100


RECIPE = Recipe(
    loss=CrossEntropy(), optimizer=scratch.Adam(), epochs=1, batch_size=1, max_norm=1.0, augment=Shift((2, 4))
)
MADE = {
    **{name: layer for name, (layer, _) in EXAMPLES.items() if dataclasses.fields(layer)},
    **{c.__name__: c() for c in (scratch.SGD, scratch.AdaGrad, scratch.RMSprop, scratch.Adam, scratch.AdamW, Penalty)},
    "CrossEntropy": CrossEntropy(),
    "StepDecay": scratch.StepDecay(3),
    "ExponentialDecay": scratch.ExponentialDecay(0.9),
    "CosineDecay": scratch.CosineDecay(3),
    "LinearDecay": scratch.LinearDecay(3),
    "Warmup": scratch.Warmup(3),
    "Shift": Shift((2, 4)),
    "EarlyStopping": EarlyStopping(3),
    "Recipe": RECIPE,
}
UNCHECKED = ("affine", "after")
FIELDS = [
    (name, field.name)
    for name, record in MADE.items()
    for field in dataclasses.fields(record)
    if field.name not in UNCHECKED
]


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_an_argument_of_another_type_is_named(name, field):
    with pytest.raises((TypeError, ValueError), match=rf"^{field}\b.* is "):
        dataclasses.replace(MADE[name], **{field: "?"})


# Each argument that has a least value, and whether that value itself is in the range.
_LEAST = {
    "n_in n_out channels every steps patience pixels epochs batch_size": (1, True),
    "seed": (0, True),
    "p slope alpha label_smoothing momentum dampening lr weight_decay l1 l2 final": (0, True),
    "max_norm gamma": (0, False),
}
LEAST = {name: least for names, least in _LEAST.items() for name in names.split()}


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, field in FIELDS if field in LEAST])
def test_a_range_begins_where_it_says(name, field):
    least, inside = LEAST[field]
    change = lambda value: dataclasses.replace(MADE[name], **{field: value})  # noqa: E731
    for value in (least - 1, *([] if inside else [least])):
        with pytest.raises(ValueError, match=rf"^{field} is {value}, expected .*{least}"):
            change(value)
    made = change(least if inside else 1e-9)
    assert getattr(made, field) == (least if inside else 1e-9)


SCHEDULES = ("final", "gamma")  # the recipe makes a float of what they say
NUMBERS = [(name, f) for name, f in FIELDS if type(getattr(MADE[name], f)) is float and f not in SCHEDULES]


@pytest.mark.parametrize(("name", "field"), NUMBERS)
def test_a_number_is_kept_as_pythons(name, field):
    """Beside NumPy's float64, float32 would not stay float32."""
    made = dataclasses.replace(MADE[name], **{field: np.float64(getattr(MADE[name], field))})
    assert type(getattr(made, field)) is float


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (scratch.Dropout(0.5), "p"),
        (CrossEntropy(), "label_smoothing"),
        (scratch.SGD(), "momentum"),
        (scratch.SGD(), "dampening"),
        (scratch.RMSprop(), "alpha"),
        (scratch.RMSprop(), "momentum"),
    ],
    ids=str,
)
def test_a_fraction_is_less_than_one(record, field):
    dataclasses.replace(record, **{field: np.nextafter(1, 0)})
    with pytest.raises(ValueError, match=f"^{field} is 1, expected a number at least 0 and less than 1"):
        dataclasses.replace(record, **{field: 1})


NETWORK = scratch.mlp((5, 4, 3), scratch.Tanh())
PARAMS = scratch.initial_parameters(NETWORK, np.random.default_rng(0))
X, Y = np.ones((7, 5)), np.array([0, 1, 2, 0, 1, 2, 0])
PLAIN = Recipe(loss=CrossEntropy(), optimizer=scratch.SGD(0.1), epochs=1, batch_size=7)
TRAINING = {"network": NETWORK, "recipe": PLAIN, "x": X, "y": Y, "validation": (X, Y)}


def checked(**arguments):
    return scratch.gradcheck(NETWORK, CrossEntropy(), PARAMS, y=Y, **arguments)


def evaluated(**arguments):
    return scratch.evaluate(NETWORK, CrossEntropy(), PARAMS, **arguments)


def batches(**arguments):
    return list(scratch.minibatches(**arguments, rng=np.random.default_rng(0)))


def perceptron(**arguments):
    return scratch.fit_perceptron(**arguments, rng=np.random.default_rng(0))


def checked_data(**arguments):
    check_data(dtype=np.float64, **arguments)


def parameters(**arguments):
    return scratch.Parameters(NETWORK.shapes(), **arguments)


CALLS = {
    scratch.initial_parameters: {"network": NETWORK, "rng": np.random.default_rng(0), "weights": "he", "dtype": "f8"},
    checked: {"x": X, "rng": np.random.default_rng(0), "directions": 1, "tolerance": 0},
    scratch.fit: {**TRAINING, "state": scratch.State.start(PARAMS, PLAIN), "precision": "float32"},
    checked_data: TRAINING,
    evaluated: {"x": X, "y": Y},
    scratch.State.start: {"params": PARAMS, "recipe": PLAIN},
    batches: {"n": 1, "batch_size": 1},
    scratch.clip_by_global_norm: {"g": np.ones(3), "max_norm": 1e-9},
    perceptron: {"x": X, "y": Y % 2, "epochs": 1},
    scratch.predicted_classes: {"logits": X},
    scratch.accuracy: {"labels": Y, "predicted": Y},
    scratch.confusion_matrix: {"labels": Y * 0, "predicted": Y * 0, "n_classes": 1},
    scratch.mlp: {"sizes": (5, 3), "activation": scratch.Tanh()},
    parameters: {"dtype": "f4", "device": "cpu", "untrained": ()},
    CrossEntropy(): {"logits": X, "y": Y},
}


@pytest.mark.parametrize(("call", "argument"), [(c, a) for c, given in CALLS.items() for a in given])
def test_an_argument_of_another_type_of_a_function_is_named(call, argument):
    given = CALLS[call]
    call(**given)
    with pytest.raises((TypeError, ValueError), match=rf"^{argument} is "):
        call(**{**given, argument: "?"})


def test_what_a_record_is_given_as_numpys_or_as_a_list_is_kept_as_pythons():
    linear, shift = scratch.Linear(np.int8(5), np.int8(3)), Shift([np.int8(4), np.int8(5)], np.int8(1))
    assert [type(n) for n in (linear.n_in, linear.n_out, *shift.shape, shift.pixels)] == [int] * 5
    assert type(shift.shape) is tuple


def test_a_long_value_is_cut_in_a_sentence_and_a_shorter_one_is_not():
    assert scratch.checks.said("x" * 98) == repr("x" * 98)
    assert scratch.checks.said("x" * 99) == repr("x" * 99)[:99] + "…"


def test_schedules_and_perceptrons_keep_pythons_numbers_too():
    for schedule in (scratch.CosineDecay(np.int8(5), np.float16(0)), scratch.LinearDecay(np.int8(5), np.float16(0))):
        assert (type(schedule.steps), type(schedule.final)) == (int, float)
    perceptron = scratch.Perceptron(np.ones(2), np.float32(1), [3, 0])
    assert (type(perceptron.b), perceptron.mistakes) == (float, (3, 0))


def test_an_array_may_be_empty_among_parameters():
    assert scratch.Parameters({"empty": (0, 3), "full": (2,)}).vector.shape == (2,)


def test_inputs_of_a_gradient_check_are_named(rng):
    network = scratch.mlp((5, 4, 3), scratch.Tanh())
    with pytest.raises(ValueError, match="^x holds nan"):
        scratch.gradcheck(network, CrossEntropy(), network.parameters(), np.full((7, 5), np.nan), np.arange(7) % 3, rng)
