"""The lengths that make lint allows."""

from tests.limits import FILE, FUNCTION, VERIFIER_ALL, VERIFIER_FILE, too_long


def function(name, lines, indent=""):
    return f"{indent}def {name}():\n" + f"{indent}    pass\n" * (lines - 1)


def test_a_file_and_a_function_that_are_too_long_are_named(tmp_path):
    for folder in ("scratch", "torch_impl/verify", "experiments/commands", "tests"):
        (tmp_path / folder).mkdir(parents=True)
    short = function("short", FUNCTION) + "class A:\n" + function("long", FUNCTION + 1, "    ")
    (tmp_path / "scratch" / "layers.py").write_text(short)
    (tmp_path / "experiments" / "commands" / "train.py").write_text("\n" * (FILE + 1))
    (tmp_path / "experiments" / "config.py").write_text("\n" * FILE)
    (tmp_path / "tests" / "unit.py").write_text(function("long", FILE + 1))
    (tmp_path / "torch_impl" / "verify" / "tape.py").write_text("\n" * VERIFIER_FILE)
    assert list(too_long(tmp_path)) == [
        "experiments/commands/train.py has 301 lines, expected at most 300",
        "scratch/layers.py:62: long has 61 lines, expected at most 60",
    ]


def test_the_verifier_has_a_limit_for_all_of_it(tmp_path):
    folder = tmp_path / "torch_impl" / "verify"
    folder.mkdir(parents=True)
    for i in range(VERIFIER_ALL // VERIFIER_FILE + 1):
        (folder / f"{i}.py").write_text("\n" * VERIFIER_FILE)
    found = list(too_long(tmp_path))
    assert len(found) == 1
    assert f"expected at most {VERIFIER_ALL:,}" in found[0]
