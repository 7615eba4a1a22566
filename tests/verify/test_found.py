"""The wrong gradients of public code, made again here: each is found, and the page shows what the verifier says."""

import re
from dataclasses import replace

import pytest

from tests.verify.found.__main__ import PAGE, entry, marked, mended, row
from tests.verify.found.cases import FOUND
from torch_impl.verify import CATALOGUE
from torch_impl.verify.listing import Line, Listing
from torch_impl.verify.report import Report, Section


@pytest.mark.parametrize("found", FOUND, ids=lambda found: found.title)
def test_a_mistake_of_public_code_is_found(found):
    report = found.report
    assert report.verdict == "wrong", str(report)
    names = {finding.mistake for finding in report.findings}
    assert names == {found.mistake} or (found.unnamed and names == {"unknown"}), str(report)


@pytest.mark.parametrize("found", FOUND, ids=lambda found: found.title)
def test_with_its_edit_it_is_right(found):
    report = found.mended_report()
    assert report.verdict == "right", str(report)
    assert report.findings == ()


def test_the_names_of_the_mistakes_are_those_of_the_catalogue():
    assert {found.mistake for found in FOUND} <= {*CATALOGUE, "unknown"}


# One in six here; `python -m tests.verify.found` writes all of them.
@pytest.mark.parametrize("found", FOUND[3::6], ids=lambda found: found.title)
@pytest.mark.usefixtures("searching")
def test_the_page_shows_what_the_verifier_says(found):
    text, report = PAGE.read_text(encoding="utf-8"), replace(found).report  # with blame and repair: a new search
    assert f"\n{row(found, report)}\n" in text
    assert f"\n\n{entry(found, report)}\n" in text


def test_the_page_has_an_entry_for_each_and_no_other():
    headings = re.findall(r"^## (.*)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == ["How to read an entry", "The list", *(found.title for found in FOUND)]


def test_verdicts_stand_beside_the_lines_of_the_code_that_is_shown():
    found = FOUND[0]
    text = found.path.read_text(encoding="utf-8").splitlines()
    number = next(i for i, line in enumerate(text, 1) if "p * (1 - p)" in line)
    lines = (
        Line(number, text[number - 1], "wrong", "should be ∂L/∂z"),
        Line(number + 1, text[number], "affected"),
        Line(number + 3, text[number + 2]),
    )
    report = Report("", (Section("", (), (Listing(str(found.path), "softmax_backward_diagonal", lines),)),))
    shown = marked(found, report)
    assert "    dz = dout * p * (1 - p)  # ✗ first wrong; should be ∂L/∂z\n" in shown
    assert "    dW = x.T @ dz            # affected\n" in shown
    assert shown.endswith("    return dx, dW")
    assert shown.count("#") == 2


def test_a_repair_is_shown_as_a_diff_and_one_that_mends_a_part_beside_the_edit_by_hand():
    found = FOUND[0]

    def repaired(**change):
        said = replace(found.by_hand, said="another `slope`", **change)
        return replace(found.report, findings=tuple(replace(one, repair=said) for one in found.report.findings))

    whole, part = repaired(), repaired(mends_all=False)
    assert [mended(report) for report in (found.report, whole, part)] == ["no", "yes", "no"]
    edit = "-    dz = dout * p * (1 - p)\n+    dz = p * (dout - (dout * p).sum(axis=1, keepdims=True))\n"
    assert entry(found, whole).count(edit) == 1
    assert "- **Repair**: another `slope`\n\n```diff\n--- a/tests/verify/found/softmaxes.py\n" in entry(found, whole)
    assert "By hand" not in entry(found, whole)
    assert "another fault is left. By hand:" in entry(found, part)
