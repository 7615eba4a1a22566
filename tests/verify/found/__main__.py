"""Verify every fragment, and write docs/found-in-public-code.md.

    python -m tests.verify.found [PART OF A TITLE …]

With parts of titles it prints those entries, and writes nothing.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import re
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.verify.found.cases import FOUND
from torch_impl.verify import limited
from torch_impl.verify.markdown import code, escaped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.verify.found.cases import Found
    from torch_impl.verify import Report
    from torch_impl.verify.listing import Repair

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "found-in-public-code.md"
LIMIT = 60  # seconds for the search for an edit, so that what is found does not depend on how busy the machine is
WIDEST = 70  # characters: behind longer lines of code the verdict follows where they end

INTRODUCTION = """\
# Wrong gradients found in public code

On 2026-11-21 we gave 421 pieces of code with hand-written gradients, from stored snapshots of 38 public repositories,
to the verifier as it was that day. It called 306 right ones right and found all 52 wrong ones, 20 by name and 25 as
`unknown`, mistakes that its catalogue did not hold. It called 15 right ones wrong, and 4 calls ended in an error. (Our
notes do not divide up the other 44, nor the other 7 wrong ones.) It found all of 15 historical versions that are known
to be wrong, and showed one published fix to be the mistake. What is listed here was also read by us, and compared with
central differences.

These are good projects, from which many people have learnt. Nothing in a wrong gradient of the right shape raises an
error, and often the loss still goes down: that is why such mistakes stay, and why they are worth a list. The snapshots
were those of that date, and later versions may differ.

**None of the code below is theirs.** Each fragment was written for this page, as small as it could be, to make the same
mistake. The verdict, the name, the lines and the repair are what the verifier of this repository says of the fragment.
A loss that is a mean beside a gradient that is a sum counts as wrong here, since the two do not belong together.

## How to read an entry

- The **code** is the fragment, with a comment at the lines that the verifier could judge: `✓` and what the line's value
  is, `✗` where a fault is, with what the value should be, `affected` where a value is wrong because of what went into
  it, `matches nothing` where a value is none that is known, which can be a step on the author's own way. What else the
  fragment calls is right, and stands in the same file.
- The **verdict** lists the gradients that are wrong, with the largest error of an element over the largest element.
- The **name** is that of the mistake in the catalogue, which has to reproduce the wrong numbers; `unknown` where none
  does.
- The **first wrong line** is the one in which the right gradient, put in the place of its value, makes right what comes
  out. What is missing altogether, as a gradient that no line hands on, shows there first.
- The **repair** is an edit of the backward with which every gradient is right, or several, each of which begins where
  the one before it ended. It is right by proof, and is not always what a person would write. Where none was found in a
  minute, the diff shows what we changed by hand. With either the verifier finds nothing wrong.

`python -m tests.verify.found` writes this page; the fragments are in
[tests/verify/found](../tests/verify/found/cases.py)."""


def marked(found: Found, report: Report) -> str:
    """The source of the functions that are shown, with the verdicts of their lines as comments."""
    lines = {
        (Path(listing.file).name, line.number): line
        for section in report.sections
        for listing in section.listings
        for line in listing.lines
    }
    functions = []
    for function in found.shown:
        source, first = inspect.getsourcelines(function)
        marks = (lines.get((found.path.name, first + i)) for i in range(len(source)))
        said = [line.mark if line else "" for line in marks]
        both = [(text.rstrip(), mark) for text, mark in zip(source, said, strict=True)]
        width = max((len(text) for text, mark in both if mark and len(text) <= WIDEST), default=0)
        functions.append("\n".join(f"{text:{width}}  # {mark}" if mark else text for text, mark in both))
    return "\n\n\n".join(functions)


def first_wrong(report: Report) -> str:
    """The place of the first wrong line, and its text."""
    for section in report.sections:
        for listing in section.listings:
            if line := listing.first_wrong:
                return f"{Path(listing.file).name}, line {line.number}: {code(line.text.strip())}"
    return "not found"


def verdict(report: Report) -> str:
    """Which gradients are wrong, and by how much; and which are right."""
    checks = [check for section in report.sections for check in section.checks]
    wrong = [
        f"{check.tensor} ({check.note or percent(check.relative)})"
        for check in checks
        if check.verdict == "wrong" and (check.note or not math.isnan(check.relative))
    ]
    right = [check.tensor for check in checks if check.verdict == "right"]
    return f"{report.verdict}: {', '.join(wrong)}" + (f"; right: {', '.join(right)}" if right else "")


def percent(ratio: float) -> str:
    """With two digits: 160 %, 0.087 %."""
    return f"{float(f'{100 * ratio:.2g}'):g} %"


def names(report: Report) -> str:
    """The name of each finding that is wrong, once, with what it means."""
    said = {}
    for finding in report.findings:
        what = re.split(" It makes | So it is in ", finding.explanation.partition(": ")[2])[0]  # not the tensors again
        said[finding.mistake] = f"{code(finding.mistake)}: {escaped(what)}"
    return " ".join(said.values()) or "not found"


def repairs(report: Report) -> list[Repair]:
    """The edits, each of which begins where the one before it ended."""
    by_start = {finding.repair.before: finding.repair for finding in report.findings if finding.repair}
    after = next(iter(by_start.keys() - {one.after for one in by_start.values()}), "")
    made: list[Repair] = []
    while one := by_start.get(after):
        made.append(one)
        after = one.after
    return made


def mended(report: Report) -> str:
    """For the table: whether one edit mends it."""
    made = repairs(report)
    if not made or not made[-1].mends_all:
        return "no"
    return "yes" if len(made) == 1 else f"by {len(made)} edits"


def repair(found: Found, report: Report) -> Iterator[str]:
    made = repairs(report)
    with contextlib.chdir(ROOT):  # the diff's paths are relative to where it is made
        for one in made:
            yield f"- **Repair**: {with_code(one.said)}\n\n```diff\n{one.diff}```"
        if not made or not made[-1].mends_all:
            said = "no single edit was found" if not made else "another fault is left"
            yield f"- **Repair**: {said}. By hand:\n\n```diff\n{found.by_hand.diff}```"


def with_code(text: str) -> str:
    """A sentence in which what stands between backticks is code."""
    parts = text.split("`")
    spaced = [re.sub(r"\S(.*\S)?", lambda words: escaped(words[0]), part) for part in parts]  # escaped() drops spaces
    return "".join(code(part) if i % 2 else spaced[i] for i, part in enumerate(parts))


def entry(found: Found, report: Report) -> str:
    """A heading, what is wrong, the code, and what the verifier says of it."""
    what = textwrap.fill(f"{found.repository}: {found.where}. {found.wrong}", 120, break_on_hyphens=False)
    said = {"Verdict": verdict(report), "Name": names(report), "First wrong line": first_wrong(report)}
    listed = [f"- **{label}**: {text}" for label, text in said.items()]
    return "\n\n".join([
        f"## {found.title}",
        what,
        f"```python\n{marked(found, report)}\n```",
        f"[{found.path.name}](../{found.path.relative_to(ROOT).as_posix()})",
        "\n".join([*listed, *repair(found, report)]),
    ])  # fmt: skip


def row(found: Found, report: Report) -> str:
    anchor = re.sub(r"[^\w\- ]", "", found.title.lower()).replace(" ", "-")  # as GitHub makes it of a heading
    called = ", ".join(dict.fromkeys(code(finding.mistake) for finding in report.findings))
    cells = (found.repository, found.where, f"[{found.title}](#{anchor})", called, mended(report))
    return f"| {' | '.join(cells)} |"


def page(reports: list[tuple[Found, Report]]) -> str:
    named = sum(any(finding.mistake != "unknown" for finding in report.findings) for _, report in reports)
    blamed = sum(first_wrong(report) != "not found" for _, report in reports)
    by_one = sum(mended(report) == "yes" for _, report in reports)
    wrong = sum(report.verdict == "wrong" for _, report in reports)
    sources = len({found.repository for found, _ in reports})
    counts = (
        f"{len(reports)} fragments, for what was found at {sources} places. The verifier calls {wrong} of them wrong,\n"
        f"names the mistake of {named} and the first wrong line of {blamed}, and mends {by_one} with one edit."
    )
    table = ["| repository | where | what is wrong | name | mended by one edit |", "| --- | --- | --- | --- | --- |"]
    table += [row(*both) for both in reports]
    entries = [entry(*both) for both in reports]
    return "\n\n".join([INTRODUCTION, "## The list", counts, "\n".join(table), *entries]) + "\n"


def main() -> int:
    """Write the page, or print some entries; 1 if a fragment is not found wrong."""
    parts, reports = sys.argv[1:], []
    for found in FOUND:
        if not parts or any(part in found.title for part in parts):
            start = time.perf_counter()
            with limited(LIMIT):
                report = found.report
            reports.append((found, report))
            said = f"{found.title}: {report.verdict}, {time.perf_counter() - start:.1f} s, mended: {mended(report)}"
            print(said, file=sys.stderr)
    if parts:
        print("\n\n".join(entry(*both) for both in reports))
    else:
        PAGE.write_text(page(reports), encoding="utf-8")
    return 1 if any(report.verdict != "wrong" for _, report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
