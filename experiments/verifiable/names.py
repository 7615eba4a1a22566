"""What an argument is, by its name: data, a weight, a target, an option."""

import re
from typing import Any

import numpy as np

OUT, BATCH = 3, 7  # distinct, as all lengths are: a transpose does not show in a square

KINDS: tuple[tuple[str, str], ...] = (
    ("options", r"\w*(_param|_params|config|cfg|hparams|hparameters|hyperparameters|options)"),
    ("parameters", r"params|parameters|weights|theta_dict|model|net"),
    ("biases", r"biases"),
    ("target", r"y|t|ys|labels?|y_?(true|label|train|one_?hot|real)|targets?|tgt|gt|truth|ground_truth|expected|"
     r"one_?hot"),
    ("prediction", r"y_?(hat|pred|prob)\d?|preds?|predictions?|predicted|probs?|probabilities|al|a_?out|outputs?|"
     r"p_hat"),
    ("gates", r"w[ifgoc]|w_[ifgoc]"),
    ("state", r"(prev_?(h|a|s)|(h|a|s)_?(prev|0)|prev_?(state|hidden)|state|hidden)"),
    ("cell", r"(prev_?c|c_?(prev|0)|next_c)"),
    ("from input", r"w_?(x|xh|ih|ax)"),
    ("from state", r"w_?(h|hh|aa)"),
    ("query", r"q|queries|query"), ("key", r"k|keys|key"), ("value", r"v|values|value"),
    ("weight", r"(w|weight|theta|kernel|kernels|filters?|weight_?matrix|th)_?\d*|w[a-z]?_?\d+"),
    ("scale", r"gamma|beta|scale|shift|g"),
    ("bias", r"(b|bias)_?\w?\d*"),
    ("mask", r"mask"),
)  # fmt: skip

# What a dict of options holds, by its name; those of other names are tried after it.
OPTIONS: tuple[tuple[str, tuple[dict[str, Any], ...]], ...] = (
    (r"conv|hparam", ({"stride": 1, "pad": 1}, {"stride": 1, "pad": 1, "f": 2})),
    (r"pool", ({"pool_height": 2, "pool_width": 2, "stride": 2}, {"f": 2, "stride": 2})),
    (r"bn|ln|gn|norm", ({"eps": 1e-5, "momentum": 0.9, "mode": "train"}, {"eps": 1e-5})),
    (r"drop", ({"mode": "train", "p": 0.5},)),
    (r"config", ({"mode": "train"}, {})),
)

VALUES: tuple[tuple[str, tuple[Any, ...]], ...] = (
    (r"rng|generator|random_state", (np.random.default_rng(0),)),
    (r"seed", (0,)),
    (r"train|training|is_training|train_mode", (True,)),
    (r"mode", ("train",)),
    (r"activation\w*|act|nonlin\w*|act_?fn", ("relu", "sigmoid", "tanh", "ReLU", "Sigmoid", "Tanh")),
    (r"reg|regularization|reg_?strength|lambda_?|lambd|lam|lmbda|l1|l2|weight_decay|wd", (0.1,)),
    (r"lr|learning_?rate|alpha|slope|negative_slope|leak|eta|delta|margin|temperature|tau", (0.1,)),
    (r"eps|epsilon", (1e-5,)),
    (r"p|rate|keep_?prob|drop_?prob|dropout|p_?drop|dropout_?\w*|drop\w*", (0.5,)),
    (r"momentum|decay|beta_?[12]|rho", (0.9,)),
    (r"stride\w*", (1, 2)),
    (r"pad|padding|pads", (1, 0)),
    (r"kernel_?size|filter_?size|k_?size", (3, (3, 3))),
    (r"pool_?(size|height|width|shape)", (2, (2, 2))),
    (r"axis|dim", (1, 0)),
    (r"n_?classes|num_?classes|classes|c", (OUT,)),
    (r"batch_?size|m|n|n_?samples", (BATCH,)),
    (r"groups?", (1, 3)),
)


def _kind(name: str) -> str:
    """What an argument of that name is: data where nothing else is known; "" for a number or another option."""
    low = name.strip("_").lower()
    if re.fullmatch(KINDS[0][1], low):
        return "options"
    if any(re.fullmatch(pattern, low) for pattern, _ in VALUES):
        return ""
    return next((kind for kind, pattern in KINDS if re.fullmatch(pattern, low)), "data")


def is_target(name: str) -> bool:
    """Whether an argument of that name is a target."""
    return _kind(name) == "target"


def is_value(name: str) -> bool:
    """Whether an argument of that name is a number or another option, and no array."""
    return _kind(name) == ""


def kinds_of(names: list[str]) -> dict[str, str]:
    """What the arguments of one function are, each beside the others."""
    kinds = {name: _kind(name) for name in names}
    found = set(kinds.values())
    if "from input" in found and "from state" not in found:
        kinds = {name: "weight" if kind == "from input" else kind for name, kind in kinds.items()}
    if {"a", "b"} <= kinds.keys() and "weight" not in found:
        kinds["b"] = "data"  # the two factors of a product
    first = next((name for name, kind in kinds.items() if kind not in ("options", "parameters", "biases")), None)
    if first is not None and not found & {"data", "prediction", "query", "weight", "parameters"}:
        kinds[first] = "data"  # such as p or t
    return kinds


def values_of(name: str, kind: str) -> list[Any]:
    """What an argument that is no array is tried as."""
    low = name.strip("_").lower()
    if kind == "options":
        ordered = sorted(OPTIONS, key=lambda pair: re.search(pair[0], low) is None)
        return [value for _, values in ordered for value in values]
    return list(next(values for pattern, values in VALUES if re.fullmatch(pattern, low)))
