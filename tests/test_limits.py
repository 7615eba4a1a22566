"""The lengths that make lint allows."""

from tests.limits import FILE, FUNCTION, too_long


def function(name, lines, indent=""):
    return f"{indent}def {name}():\n" + f"{indent}    pass\n" * (lines - 1)


def test_a_file_and_a_function_that_are_too_long_are_named(tmp_path):
    for folder in ("scratch", "torch_impl/verify", "experiments/commands", "tests"):
        (tmp_path / folder).mkdir(parents=True)
    short = function("short", FUNCTION) + "class A:\n" + function("long", FUNCTION + 1, "    ")
    (tmp_path / "scratch" / "layers.py").write_text(short)
    (tmp_path / "experiments" / "commands" / "train.py").write_text("\n" * (FILE + 1))
    (tmp_path / "experiments" / "config.py").write_text("\n" * FILE)
    for folder in ("torch_impl/verify", "tests"):
        (tmp_path / folder / "unit.py").write_text(function("long", FILE + 1))
    assert list(too_long(tmp_path)) == [
        "experiments/commands/train.py has 301 lines, expected at most 300",
        "scratch/layers.py:62: long has 61 lines, expected at most 60",
    ]
