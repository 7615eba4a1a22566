"""The repairs of a report are written into the file that was verified: python -m experiments verify FILE.py --fix."""

import codecs
import importlib.util
import io
import linecache
import os
import re
import stat
import tokenize
from collections.abc import Iterator, Sequence
from contextlib import suppress
from difflib import SequenceMatcher
from itertools import count
from pathlib import Path

from scratch.checkpoint import write_atomically
from torch_impl.verify.listing import Repair

Lines = list[str]  # without their ends
Edit = tuple[int, int, Lines]  # the lines from the first number up to the second are exchanged for these


def write_repairs(file: Path, verified: bytes, repairs: Sequence[Repair]) -> tuple[bool, list[str]]:
    """Write the repairs of ``file`` into it, where it still holds ``verified``, after a copy beside it.

    What a link leads to is written, and the copy lies beside that; the link stays.

    Returns whether the file was written, and what to say: sentences and diffs.
    """
    place = file.resolve() if file.is_symlink() else file
    own = [repair for repair in repairs if Path(repair.file).resolve() == file.resolve()]
    others = [
        f"This edit is of {repair.file}, and only {file} is written. Apply it yourself:\n{repair.diff}"
        for repair in dict.fromkeys(repairs) if repair not in own
    ]  # fmt: skip
    if not own:
        return False, [*others, f"There is no edit to write into {file}."]
    try:
        written = _written(place, verified, own)
    except (OSError, ValueError) as error:  # one of encoding is a ValueError too
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        return False, [*others, f"Nothing is written into {file}: {reason}."]
    for path in {file, place}:  # an edit of the same second and length is none to Python, which compares those two
        with suppress(OSError):
            Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
    linecache.clearcache()
    return True, [*others, *written]


def _written(place: Path, verified: bytes, repairs: Sequence[Repair]) -> list[str]:
    """Write, and say what was written.

    Raises
        ValueError: the file is another one than was verified, is read-only, or has no room for a letter of a repair
        OSError: the copy or the file cannot be written; the file is as it was
    """
    before = decoded(verified)
    known = [before, *(lines_of(repair.after) for repair in repairs)]
    if place.read_bytes() != verified or any(lines_of(repair.before) not in known for repair in repairs):
        raise ValueError("it is no longer what was verified, so run the command again")
    if not place.stat().st_mode & stat.S_IWUSR or not os.access(place, os.W_OK):
        raise ValueError("it is read-only, so allow writing or apply the edit yourself")
    after, left_out = combined(before, repairs)
    data = rewritten(verified, after)
    copy = _copied(place, verified)
    doubt = []
    try:
        write_atomically(place, data, like=place)
    except OSError as error:
        if place.read_bytes() != data:
            copy.unlink()
            raise
        doubt = [f"{error}."]  # it may not outlive a power failure
    diff = Repair(str(place.resolve()), 0, "", "\n".join([*before, ""]), "\n".join([*after, ""])).diff
    return [
        f"Written into {place}; {copy} is a copy of what it was:\n{diff}",
        *doubt,
        *(
            f"The edit of line {repair.line} ({repair.said}) is left out: it, or one that it builds on, changes lines "
            "that another edit changes. Run the command again to mend the rest."
            for repair in left_out
        ),
    ]


def _copied(place: Path, data: bytes) -> Path:
    """A copy of the file under the first free name of FILE.py.orig, FILE.py.orig2 and so on."""
    for i in count(1):
        copy = place.with_name(f"{place.name}.orig{i if i > 1 else ''}")
        with suppress(FileExistsError):
            copy.open("xb").close()  # the name is ours, whoever else looks for one
            try:
                write_atomically(copy, data, like=place)
            except OSError:
                copy.unlink()
                raise
            break
    return copy


def combined(start: Lines, repairs: Sequence[Repair]) -> tuple[Lines, list[Repair]]:
    """The lines with every repair that fits to those before it, and the repairs that do not.

    A repair begins at ``start`` or where another one ended. Its changes are carried over to what the lines are by now.
    """
    lines, reached, left_out = start, [start], []
    waiting = [*{(repair.before, repair.after): repair for repair in repairs}.values()]
    while waiting:
        # Findings stand in the order of the backward pass, and not in that in which the edits were found.
        repair = next((r for r in waiting if lines_of(r.before) in reached), waiting[0])
        waiting.remove(repair)
        before, after = lines_of(repair.before), lines_of(repair.after)
        both = merged(before, lines, after) if before in reached else None
        if both is None:
            left_out.append(repair)
        else:
            lines = both
            reached.append(after)
    return lines, left_out


def merged(base: Lines, ours: Lines, theirs: Lines) -> Lines | None:
    """``base`` with the changes that lead to ``ours`` and to ``theirs``; None where both change the same lines."""
    first = list(_edits(base, ours))
    more = [edit for edit in _edits(base, theirs) if edit not in first]
    if any(_overlap(a, b) for a in first for b in more):
        return None
    lines = list(base)
    for begin, end, new in sorted([*first, *more], reverse=True):
        lines[begin:end] = new
    return lines


def _edits(old: Lines, new: Lines) -> Iterator[Edit]:
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            yield i1, i2, new[j1:j2]


def _overlap(a: Edit, b: Edit) -> bool:
    """Whether they have a line in common; for lines that are put in, whether they border on the others."""
    first, last = max(a[0], b[0]), min(a[1], b[1])
    return first < last or (first == last and (a[0] == a[1] or b[0] == b[1]))


def lines_of(text: str) -> Lines:
    """The lines of a text as Python reads them: "\\r" and "\\r\\n" end one as well, a form feed does not."""
    return re.sub(r"\r\n?", "\n", text.removeprefix("\ufeff")).removesuffix("\n").split("\n")


def decoded(data: bytes) -> Lines:
    """The lines of a Python file, in the encoding that it names."""
    return lines_of(data.decode(_encoding(data)))


def _encoding(data: bytes) -> str:
    return tokenize.detect_encoding(io.BytesIO(data).readline)[0]


def rewritten(data: bytes, lines: Lines) -> bytes:
    """The file ``data`` with these lines: those that stay keep their bytes, the others end as the old ones there did.

    Raises
        UnicodeEncodeError: the file's encoding lacks a letter of them
    """
    encoding, mark = _encoding(data).removesuffix("-sig"), codecs.BOM_UTF8 * data.startswith(codecs.BOM_UTF8)
    pieces = data.removeprefix(mark).splitlines(keepends=True)
    old = [(piece.rstrip(b"\r\n"), piece[len(piece.rstrip(b"\r\n")) :]) for piece in pieces]
    new: list[tuple[bytes, bytes]] = []
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, decoded(data), lines, autojunk=False).get_opcodes():
        ends = [old[min(i1 + i, len(old) - 1)][1] for i in range(j2 - j1)]
        put_in = [(line.encode(encoding), end) for line, end in zip(lines[j1:j2], ends, strict=True)]
        new += old[i1:i2] if tag == "equal" else put_in
    usual = old[0][1] or b"\n"
    return mark + b"".join(body + (end or usual) for body, end in new[:-1]) + new[-1][0] + old[-1][1]
