"""python -m experiments verify FILE.py --fix: what is written into the file, when nothing is, and what is said."""

import codecs
import dataclasses
import io
import json
import os
import re
import signal
import stat
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import experiments.verifiable
from experiments.__main__ import main
from experiments.commands.verify import LIMIT
from experiments.verifiable import fixing, progress_line, write_repairs
from experiments.verifiable.fixing import lines_of, merged
from scratch.checkpoint import write_atomically
from torch_impl.verify import limits
from torch_impl.verify.limits import limited
from torch_impl.verify.listing import Repair

RIGHT = """import numpy as np


def square_forward(x):
    return x * x, x


def square_backward(dout, x):
    return 2 * x * dout


def cube_forward(x):
    return x**3, x


def cube_backward(dout, x):
    slope = 3 * x**2
    return slope * dout
"""
SQUARE = (9, "2 * x * dout", "3 * x * dout")
CUBE = (17, "3 * x**2", "3 * x**1")
CUBE_TOO = (18, "slope * dout", "slope + dout")
WRONG = RIGHT.replace(*SQUARE[1:]).replace(*CUBE[1:])


def repair(path, before, line, right, wrong):
    """The edit of ``before`` that puts ``right`` for ``wrong``."""
    assert before.count(wrong) == 1
    return Repair(str(path), line, f"{right} for {wrong}", before, before.replace(wrong, right))


def chain(path, before, *edits):
    """Repairs of which each begins where the one before it ended."""
    made = []
    for edit in edits:
        made.append(repair(path, made[-1].after if made else before, *edit))
    return made


def write(path, repairs):
    written, said = write_repairs(path, path.read_bytes(), repairs)
    return written, "\n".join(said)


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(WRONG)
    return path


# --- what is written --------------------------------------------------------------------------------------------------


def test_a_repair_is_written_after_a_copy_and_its_diff_and_the_copy_are_said(mine):
    made = repair(mine, WRONG, *SQUARE)
    written, said = write(mine, [made])
    assert written
    assert mine.read_text() == made.after
    assert (mine.parent / "mine.py.orig").read_text() == WRONG
    assert said == f"Written into {mine}; {mine}.orig is a copy of what it was:\n{made.diff}"
    assert sorted(p.name for p in mine.parent.iterdir()) == ["mine.py", "mine.py.orig"]


def test_a_form_feed_or_another_odd_space_ends_no_line_of_a_diff(mine):
    text = WRONG.replace("    return 3", "    # \x0c \x1c \u2028\n    return 3")
    mine.write_text(text, encoding="utf-8")
    assert "\n     # \x0c \x1c \u2028\n-    return 3 * x * dout\n" in write(mine, [repair(mine, text, *SQUARE)])[1]


def test_no_copy_is_ever_overwritten(mine):
    (mine.parent / "mine.py.orig").write_text("kept")
    (mine.parent / "mine.py.orig2").symlink_to("nowhere")
    assert f"{mine}.orig3 is a copy" in write(mine, [repair(mine, WRONG, *SQUARE)])[1]
    assert (mine.parent / "mine.py.orig3").read_text() == WRONG
    assert (mine.parent / "mine.py.orig").read_text() == "kept"
    assert (mine.parent / "mine.py.orig2").is_symlink()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_repairs_of_two_functions_are_combined_though_each_begins_at_the_file(mine, order):
    made = [repair(mine, WRONG, *SQUARE), repair(mine, WRONG, *CUBE)]
    assert write(mine, [made[i] for i in order])[0]
    assert mine.read_text() == RIGHT


def test_two_chains_of_repairs_are_combined(mine):
    before = WRONG.replace(*CUBE_TOO[1:])
    mine.write_text(before)
    written, said = write(mine, [repair(mine, before, *SQUARE), *chain(mine, before, CUBE, CUBE_TOO)])
    assert written
    assert mine.read_text() == RIGHT
    assert "left out" not in said


def test_one_repair_of_several_tensors_is_written_once(mine):
    made = repair(mine, WRONG, *SQUARE)
    _, said = write(mine, [made, dataclasses.replace(made, tensors=("dx",)), repair(mine, WRONG, *CUBE), made])
    assert mine.read_text() == RIGHT
    assert "left out" not in said


def test_a_chain_of_repairs_of_one_line_is_written_though_its_first_stands_there_twice(mine):
    first = repair(mine, WRONG, 9, "4 * x * dout", "3 * x * dout")
    made = [first, repair(mine, first.after, 9, "2 * x * dout", "4 * x * dout"), first]
    _, said = write(mine, made)
    assert mine.read_text() == made[1].after
    assert "left out" not in said


def test_of_two_repairs_of_one_line_the_second_is_left_out_and_so_is_what_builds_on_it(mine):
    first = repair(mine, WRONG, *SQUARE)
    other = dataclasses.replace(first, said="another", after=WRONG.replace("3 * x * dout", "x * dout + x * dout"))
    built = dataclasses.replace(repair(mine, other.after, *CUBE), said="a third")
    written, said = write(mine, [first, other, built])
    assert written
    assert mine.read_text() == first.after
    assert "The edit of line 9 (another) is left out: it, or one that it builds on, changes lines" in said
    assert "The edit of line 17 (a third) is left out" in said
    assert said.count("Run the command again to mend the rest.") == 2


@pytest.mark.parametrize(
    ("ours", "theirs", "both"),
    [
        ("aXc", "abY", "aXY"),  # lines beside each other are two edits
        ("aXc", "aYc", None),
        ("aXc", "aXc", "aXc"),
        ("abc1", "0abc", "0abc1"),
        ("a1bc", "a2bc", None),  # nobody knows which of the two comes first
        ("a1bc", "aXc", None),
        ("ac", "aXc", None),
        ("ac", "abc1", "ac1"),
        ("abc", "cba", "cba"),
    ],
)
def test_changes_of_the_same_lines_are_not_merged(ours, theirs, both):
    assert merged(list("abc"), list(ours), list(theirs)) == (None if both is None else list(both))


@pytest.mark.parametrize(
    "held",
    [
        WRONG.replace("\n", "\r\n").encode(),
        WRONG.replace("\n", "\r").encode(),
        codecs.BOM_UTF8 + WRONG.encode(),
        ("# -*- coding: latin-1 -*-\n# é\n" + WRONG).encode("latin-1"),
        ("# coding: cp932\n# 表\n" + WRONG).encode("cp932"),
        ("# coding: iso-2022-jp\n# 表\x1b$B\x1b(B\n" + WRONG).encode("iso-2022-jp"),
        WRONG.replace("\n", "\r\n", 9).encode(),
        WRONG.replace("\n\n", "\n\x0c\n# \x0b\x1c\u2028\x85\n").encode(),
        WRONG.removesuffix("\n").encode(),
        b"\n\n" + WRONG.encode() + b"\n\n",
    ],
    ids=["crlf", "cr", "bom", "latin-1", "cp932", "iso-2022-jp", "mixed", "odd spaces", "no last line end", "blank"],
)
@pytest.mark.parametrize("read", ["as text", "as it is"])
def test_every_other_byte_stays(held, read, mine):
    mine.write_bytes(held)
    encoding = fixing._encoding(held)
    text = held.decode(encoding)
    before = re.sub("\r\n?", "\n", text) if read == "as text" else held.decode(encoding.removesuffix("-sig"))
    written, said = write(mine, chain(mine, before, SQUARE, CUBE))
    assert written, said
    assert mine.read_bytes() == held.replace(SQUARE[2].encode(), SQUARE[1].encode()).replace(
        CUBE[2].encode(), CUBE[1].encode()
    )
    assert (mine.parent / "mine.py.orig").read_bytes() == held


@pytest.mark.parametrize("last", [["    return slope * dout", "# the last"], ["    return slope * dout"], []])
def test_lines_that_are_put_in_end_as_those_of_the_file_do(last, mine):
    held = WRONG.replace("\n", "\r\n").removesuffix("\r\n").encode()
    mine.write_bytes(held)
    lines = [*lines_of(WRONG)[:-1], *last]
    lines.insert(8, "    # a comment")
    after = "\n".join([*lines, ""])
    assert write(mine, [Repair(str(mine), 9, "", WRONG, after)])[0]
    assert mine.read_bytes() == "\r\n".join(lines).encode()


def test_the_mode_stays_and_no_file_is_ever_half_written(mine, monkeypatch):
    mine.chmod(0o754)
    names = []
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, to: (names.append(Path(to).name), replace(self, to))[1])
    assert write(mine, [repair(mine, WRONG, *SQUARE)])[0]
    assert names == ["mine.py.orig", "mine.py"]  # whole files take the names, the copy's first
    for path in (mine, mine.parent / "mine.py.orig"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o754


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_stays(mine):
    os.chown(mine, 1234, 1235)
    assert write(mine, [repair(mine, WRONG, *SQUARE)])[0]
    assert (mine.stat().st_uid, mine.stat().st_gid) == (1234, 1235)


@pytest.mark.parametrize("named", ["link", "target"])
def test_a_link_stays_and_what_it_leads_to_is_written(named, mine, tmp_path):
    (tmp_path / "else").mkdir()
    link = tmp_path / "else" / "link.py"
    link.symlink_to(mine)
    written, said = write(link, [repair(link if named == "link" else mine, WRONG, *SQUARE)])
    assert written
    assert link.is_symlink()
    assert mine.read_text() == WRONG.replace("3 * x * dout", "2 * x * dout")
    assert f"Written into {mine}; {mine}.orig is a copy" in said


# --- when nothing is --------------------------------------------------------------------------------------------------


def nothing_is_written(path, repairs, verified=None):
    """What is said, where the file is as it was and nothing lies beside it."""
    before = path.read_bytes()
    written, said = write_repairs(path, before if verified is None else verified, repairs)
    assert not written
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir() if p.suffix != ".py"] == []
    return "\n".join(said)


def test_nothing_is_written_where_there_is_no_edit(mine):
    assert nothing_is_written(mine, []) == f"There is no edit to write into {mine}."


def test_an_edit_of_another_file_is_shown_and_not_written(mine):
    helper = mine.parent / "helper.py"
    helper.write_text(WRONG)
    made = repair(helper, WRONG, *SQUARE)
    said = nothing_is_written(mine, [made, made])
    assert said.startswith(
        f"This edit is of {helper}, and only {mine} is written. Apply it yourself:\n{made.diff}\nThere is no edit"
    )
    assert helper.read_text() == WRONG
    assert "only" in write(mine, [made, repair(mine, WRONG, *SQUARE)])[1]
    assert (helper.read_text(), mine.read_text()) == (WRONG, WRONG.replace("3 * x * dout", "2 * x * dout"))


@pytest.mark.parametrize("now", [WRONG + "# more\n", WRONG.replace("\n", "\r\n"), ""])
def test_nothing_is_written_into_a_file_that_changed_since(now, mine):
    mine.write_bytes(now.encode())
    said = nothing_is_written(mine, [repair(mine, WRONG, *SQUARE)], verified=WRONG.encode())
    assert said == f"Nothing is written into {mine}: it is no longer what was verified, so run the command again."


def test_nothing_is_written_where_a_repair_is_of_another_text(mine):
    repairs = [repair(mine, WRONG, *CUBE), repair(mine, WRONG + "# more\n", *SQUARE)]
    assert "it is no longer what was verified" in nothing_is_written(mine, repairs)


def test_a_read_only_file_is_not_written(mine):
    mine.chmod(0o444)
    said = nothing_is_written(mine, [repair(mine, WRONG, *SQUARE)])
    assert said == f"Nothing is written into {mine}: it is read-only, so allow writing or apply the edit yourself."


@pytest.mark.parametrize("fails_at", ["mine.py.orig", ".mine.py.orig", ".mine.py."])
def test_a_folder_that_takes_no_file_leaves_the_file_as_it_was(fails_at, mine, monkeypatch):
    open_ = Path.open

    def fail(self, mode="r", *args, **kwargs):
        if "x" in mode and self.name.startswith(fails_at):
            raise PermissionError(13, "Permission denied", str(self))
        return open_(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", fail)
    said = nothing_is_written(mine, [repair(mine, WRONG, *SQUARE)])
    assert said.startswith(f"Nothing is written into {mine}: ")
    assert "Permission denied" in said


def test_a_file_that_was_removed_is_said_to_be_no_more(mine):
    made = repair(mine, WRONG, *SQUARE)
    mine.unlink()
    written, said = write_repairs(mine, WRONG.encode(), [made])
    assert (written, said) == (False, [f"Nothing is written into {mine}: No such file or directory."])


def test_a_letter_that_the_encoding_lacks_is_named(mine):
    held = ("# coding: ascii\n" + WRONG).encode()
    mine.write_bytes(held)
    before = held.decode()
    made = Repair(str(mine), 9, "", before, before.replace("3 * x * dout", "2 * x * dout  # δ"))
    assert "'ascii' codec can't encode character '\\u03b4'" in nothing_is_written(mine, [made])


def test_a_file_whose_folder_cannot_be_synced_is_written_and_that_is_said(mine, monkeypatch):
    def doubtful(path, data, like=None):
        write_atomically(path, data, like)
        if path.name == "mine.py":
            raise OSError(f"{path} is written, but may not outlive a power failure (Input/output error)")

    monkeypatch.setattr(fixing, "write_atomically", doubtful)
    written, said = write(mine, [repair(mine, WRONG, *SQUARE)])
    assert written
    assert said.endswith("may not outlive a power failure (Input/output error).")
    assert (mine.parent / "mine.py.orig").read_text() == WRONG


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def found(monkeypatch):
    """Give the first finding of the n-th verification these repairs, and tell how many verifications there were."""
    verify_file, repairs, runs = experiments.verifiable.verify_file, [], []

    def with_repairs(*args):
        report = verify_file(*args)
        runs.append(report)
        given = repairs.pop(0) if repairs else []
        made = [dataclasses.replace(report.findings[0], repair=one) for one in given]
        return dataclasses.replace(report, findings=(*made, *report.findings[len(made) :]))

    monkeypatch.setattr(experiments.verifiable, "verify_file", with_repairs)
    monkeypatch.setattr(experiments.verifiable, "limited", lambda *_: limited(0))  # no edits beside those
    return repairs, runs


def test_with_fix_the_file_is_mended_verified_again_and_that_verdict_counts(mine, found, capsys, tmp_path):
    repairs, runs = found
    repairs.append([repair(mine, WRONG, *SQUARE), repair(mine, WRONG, *CUBE)])
    written = ["--json", str(tmp_path / "r.json"), "--html", str(tmp_path / "r.html")]
    assert main(["verify", str(mine), "--fix", *written]) == 0
    out = capsys.readouterr().out
    assert mine.read_text() == RIGHT
    assert [report.ok for report in runs] == [False, True]
    diff = "-    return 3 * x * dout\n+    return 2 * x * dout\n"
    assert out.index("WRONG: ") < out.index(diff) < out.index("RIGHT: ")
    assert json.loads((tmp_path / "r.json").read_text())["verdict"] == "right"  # as the status says
    assert "RIGHT: 2 tensors" in (tmp_path / "r.html").read_text()
    assert main(["verify", str(mine), "--fix"]) == 0
    assert f"There is no edit to write into {mine}." in capsys.readouterr().out


def test_what_is_left_after_a_fix_decides_the_status(mine, found, capsys):
    repairs, runs = found
    repairs.append([repair(mine, WRONG, *SQUARE)])
    assert main(["verify", f"{mine}:cube", "--fix"]) == 1
    assert len(runs) == 2
    assert capsys.readouterr().out.count("WRONG: ") == 2


def test_a_diff_is_never_applied_unasked(mine, found, capsys):
    repairs, runs = found
    repairs.append([repair(mine, WRONG, *SQUARE)])
    assert main(["verify", str(mine)]) == 1
    assert mine.read_text() == WRONG
    assert len(runs) == 1
    assert "Written into" not in capsys.readouterr().out


def test_where_nothing_could_be_written_the_file_is_verified_once(mine, found, capsys):
    repairs, runs = found
    repairs.append([repair(mine, WRONG, *SQUARE)])
    mine.chmod(0o444)
    assert main(["verify", str(mine), "--fix"]) == 1
    assert len(runs) == 1
    assert "it is read-only" in capsys.readouterr().out


def test_a_file_that_rewrites_itself_is_not_written(mine, found, capsys):
    repairs, _ = found
    text = WRONG + "\nwith open(__file__, 'a') as f:\n    f.write('# run\\n')\n"
    mine.write_text(text)
    repairs.append([repair(mine, text, *SQUARE)])
    assert main(["verify", str(mine), "--fix"]) == 1
    assert mine.read_text() == text + "# run\n"
    assert "it is no longer what was verified" in capsys.readouterr().out


def test_an_edit_of_the_same_second_and_length_counts(mine, found, monkeypatch, capsys):
    """Python compares the whole second and the length alone, to tell whether a compiled file is of this text."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    repairs, _ = found
    repairs.append([repair(mine, WRONG, *SQUARE), repair(mine, WRONG, *CUBE)])

    def in_the_same_second(path, data, like=None):
        write_atomically(path, data, like)
        os.utime(path, (now, now))

    now = mine.stat().st_mtime
    monkeypatch.setattr(fixing, "write_atomically", in_the_same_second)
    assert main(["verify", str(mine), "--fix"]) == 0
    assert mine.stat().st_mtime == now


def test_no_control_character_of_a_file_reaches_the_terminal(mine, found, capsys):
    repairs, _ = found
    text = WRONG.replace("3 * x * dout", "3 * x * dout  # \x1b[2J\t!")
    mine.write_text(text)
    repairs.append([repair(mine, text, *SQUARE)])
    main(["verify", str(mine), "--fix"])
    assert "+    return 2 * x * dout  # \\x1b[2J" in capsys.readouterr().out
    assert "\x1b" in mine.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_is_written_waits_and_then_says_what_happened(number, mine, found, monkeypatch, capsys):
    repairs, runs = found
    made = repair(mine, WRONG, *SQUARE)
    repairs.append([made])

    def pressed(path, data, like=None):
        signal.raise_signal(number) if path.name.endswith(".orig") else None
        write_atomically(path, data, like)

    monkeypatch.setattr(fixing, "write_atomically", pressed)
    assert main(["verify", str(mine), "--fix"]) == 128 + number
    out = capsys.readouterr().out
    assert "Interrupted. What is said above is written." in out
    assert f"{mine}.orig is a copy" in " ".join(out.split())
    assert mine.read_text() == made.after
    assert (mine.parent / "mine.py.orig").read_text() == WRONG
    assert len(runs) == 1


def test_ctrl_c_shows_what_was_verified_before(mine, capsys):
    """The rest has no verdict, so the report as a whole is none of right code."""
    text = RIGHT.replace("    slope", "    import signal; signal.raise_signal(signal.SIGINT)\n    slope")
    mine.write_text(text)
    assert main(["verify", str(mine), "--fix"]) == 130
    captured = capsys.readouterr()
    out = " ".join(captured.out.split())
    assert "Note: cube: Ctrl-C was pressed before it was verified" in out
    assert "COULD NOT BE CHECKED: 1 of 2 tensors" in out
    assert captured.err == "Interrupted before the end.\n"
    assert mine.read_text() == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fix"], "fix is given without a target, expected FILE.py or FILE.py:NAME"),
        (["--limit", "-1", "{mine}"], "limit is -1.0, expected a number at least 0"),
        (["--limit", "nan", "{mine}"], "--limit: Expected float. Got value: nan"),
        (["--limit", "inf", "{mine}"], "--limit: Expected float. Got value: inf"),
        (["--limit", "long", "{mine}"], "--limit: Expected float. Got value: long"),
        (["--fix", "nothing.py"], "target is 'nothing.py', expected a Python file that exists"),
    ],
)
def test_bad_options_are_named(arguments, message, mine, capsys):
    try:
        status = main(["verify", *(a.replace("{mine}", str(mine)) for a in arguments)])
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert message in capsys.readouterr().err


# --- how long, and how far --------------------------------------------------------------------------------------------


def test_the_command_looks_as_long_as_the_functions_do(searching):
    assert limits.SECONDS == LIMIT


@pytest.mark.parametrize(("given", "seconds"), [([], LIMIT), (["--limit", "0"], 0), (["--limit", "2.5"], 2.5)])
@pytest.mark.parametrize("target", ["file", "scratch"])
def test_the_limit_holds_for_the_whole_verification(given, seconds, target, mine, monkeypatch):
    calls = []

    @contextmanager
    def limited(seconds, progress):
        calls.append(("begins", seconds, callable(progress)))
        yield
        calls.append("ends")

    right = experiments.verifiable.verify_file(str(mine), [])
    for name in ("verify_file", "verify_scratch"):
        monkeypatch.setattr(experiments.verifiable, name, lambda *args: (calls.append("verifies"), right)[1])
    monkeypatch.setattr(experiments.verifiable, "limited", limited)
    assert main(["verify", *([str(mine)] if target == "file" else []), *given]) == 1
    assert calls == [("begins", seconds, True), "verifies", "ends"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_one_line_in_a_terminal_and_goes_away(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    terminal, other = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_line() as show:
        assert terminal.getvalue() == ""  # until an edit is looked for, there is no line
        monkeypatch.setattr(sys, "stderr", other)  # as while a file is verified
        show("affine_backward: looking for an edit that mends it: 1,240 tried, 3 s of 20")
        assert "affine_backward: looking for an edit that mends it: 1,240 t…" in terminal.getvalue()
        assert "\n" not in terminal.getvalue()
        show("")
        assert terminal.getvalue().endswith("\x1b[2K")  # the line is erased
        show("relu_backward: looking")
        assert "relu_backward: looking" in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[2K")
    assert terminal.getvalue().count("\x1b[?25h") == 2  # the cursor is back
    assert other.getvalue() == ""


def test_no_progress_is_written_where_no_terminal_is(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_line() as show:
        show("affine_backward: looking")
        show("")
    assert stream.getvalue() == ""


def test_the_line_goes_away_after_ctrl_c(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    with suppress(KeyboardInterrupt), progress_line() as show:
        show("affine_backward: looking")
        raise KeyboardInterrupt
    assert terminal.getvalue().endswith("\x1b[2K")
