"""The report: its verdicts, its sentences, and that no name acts as markup in any of its forms."""

import html
import html.parser
import io
import itertools
import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt  # rich brings it
from rich.cells import cell_len
from rich.console import Console

from torch_impl.verify import CATALOGUE, Finding, Report, Section, TensorCheck, WrongGradientError, verify_function
from torch_impl.verify.listing import Line, Listing, Repair
from torch_impl.verify.render import SYMBOLS, as_ascii, clean
from torch_impl.verify.report import finding
from torch_impl.verify.tensor import compare, ratios

NASTY = (
    "[link=javascript:alert(1)]x[/link] [/relu]", "<script>f('1')</script>", '"><img src=x onerror=f()>', "a|b\\|c\\",
    "`x` ``y", "**b** _it_ __init__ ~~no~~", "x\n\n# heading\n- item\r\n1. one", "[a](http://b.c) ![d](e) www.f.g",
    "&lt;b&gt; &amp;", "\x1b[31mred\x1b]8;;http://x\x1b\\", "\u202egnp.exe\u200b", "\udc80",
    "dout@w.T @torch #12 :tada: $x$", "{name} {0} %s \\N{DASH}", "1. x", "12) x", "- x", "=", "`", "\\", "|", "*" * 150,
    "\u8a9e" * 60,
)  # fmt: skip


def square_forward(x):
    return x * x, x


@pytest.fixture(scope="module")
def wrong():
    return verify_function(square_forward, lambda dout, x: dout * x, x=np.random.default_rng(0).standard_normal((7, 5)))


def check(verdict="right", tensor="dx", **known):
    return TensorCheck(tensor, verdict, 1e-16, 0.5, **known)


def mistake(kind="wrong"):
    return SimpleNamespace(name="a-name", what="f′ is left out", fix="Multiply by f′(z).", kind=kind)


def report_of(name):
    """A report that says the name wherever a user's name, code or message can stand."""
    said = {"formula": f"h = 2 {name} a", "evidence": name, "ties": (name, name)}
    found = (finding(mistake(), [name, name], name, name, **said), finding("unknown", [name], name, text=name))
    checks = (check("wrong", name, note=name, heat=((1.0,),)), check("right, but", name))
    checks += (TensorCheck(name, "could not be checked"),)
    text = name.replace("\n", " ")  # as a line of a file is
    code = (Line(8, f"\tx = {text}"), Line(9, f"y = '{text}'", "wrong", name), Line(10, text, "affected"))
    edit = Repair(f"{name}.py", 9, name, f"{text}\nold {text}\n", f"{text}\nnew {text}\n", (name,))
    found = (replace(found[0], repair=edit), *found[1:])
    return Report(name, (Section(name, checks, (Listing(name, name, code),)), Section(name, ())), found, (name,))


def printed(report, width=100, encoding="utf-8", **options):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    Console(file=file, width=width, **options).print(report)
    file.flush()
    return file.buffer.getvalue().decode(encoding)


def letters(text):
    """What is the same however a text is wrapped, and whatever looks alike stands for the marks of Markdown."""
    return "".join(text.split()).replace("∣", "|").replace("ˋ", "`")


# --- one finding, in every form ---------------------------------------------------------------------------------------


def test_a_wrong_report_in_every_form(wrong):
    assert not wrong.ok
    assert wrong.first_divergence == "square: dx"
    (found,) = wrong.findings
    assert (found.mistake, found.confidence, found.formula) == (
        "constant-factor", "certain", "h = 0.5 a, with every size that was tried",
    )  # fmt: skip
    content = json.loads(wrong.to_json())
    assert content["verdict"] == "wrong"
    assert content["findings"][0]["fix"] == CATALOGUE["constant-factor"].fix
    for text in (str(wrong), wrong.to_markdown(), wrong.to_html()):
        for part in ("constant-factor", "h = 0.5 a", "dx", CATALOGUE["constant-factor"].fix, "WRONG: 1 fault;"):
            assert part in text
    assert "WRONG: 1 fault; 1 of 1 tensor differs" in str(wrong)
    with pytest.raises(WrongGradientError, match="constant-factor"):
        wrong.raise_if_wrong()


def test_a_right_report():
    x = np.random.default_rng(0).standard_normal((7, 5))
    report = verify_function(square_forward, lambda dout, x: dout * 2 * x, x=x)
    report.raise_if_wrong()
    assert (report.verdict, report.findings, report.first_divergence) == ("right", (), "")
    assert "RIGHT: 1 tensor compared" in str(report)


def test_first_comes_what_is_wrong_then_where_then_how_to_mend_it_then_the_numbers():
    found = finding(mistake(), ["dx", "dw"], "mine", "line 7", formula="h = 2 a", evidence="yours is 2")
    report = Report("mine", (Section("mine", (check("wrong"),)),), (found,))
    parts = ["a-name", "In mine: f′ is left out. It makes dx, dw wrong.", "mine, line 7", "Multiply by", "h = 2 a",
             "yours is 2", "h is your gradient, a is autograd"]  # fmt: skip
    for text in (str(found), str(report), report.to_markdown()):
        places = [text.index(part) for part in parts]
        assert places == sorted(places), text
    text = Tags(report.to_html()).data
    places = [text.index(part) for part in [*parts[:-1], "your gradient"]]
    assert places == sorted(places), text


def test_the_verdict_comes_first_on_a_page_and_last_in_a_terminal(wrong):
    assert str(wrong).splitlines()[-1] == wrong.summary()
    assert wrong.to_markdown().split("\n\n")[1] == wrong.summary()
    assert wrong.to_html().index(wrong.summary()) < wrong.to_html().index("constant-factor")


def test_a_finding_is_certain_a_tie_or_unknown():
    known = finding(mistake(), ["dx"], "mine", residual=1e-16)
    assert known == Finding(
        "dx", "a-name", "certain", 1e-16, "In mine: f′ is left out.", where="mine", tensors=("dx",),
        fix="Multiply by f′(z).",
    )  # fmt: skip
    tie = finding(mistake("convention"), ["dx", "dw"], "mine", "line 7", ties=["other"], text="another text")
    assert (tie.confidence, tie.ties, tie.verdict, tie.where) == ("tie", ("other",), "convention", "mine, line 7")
    assert tie.explanation == "In mine: another text."
    assert "(or other: what was tried does not tell them apart)" in str(tie)
    unknown = finding("unknown", ["dx"], "mine", text="it differs")
    assert (unknown.mistake, unknown.confidence, unknown.verdict, unknown.fix) == ("unknown", "none", "wrong", "")


def test_the_place_is_not_said_twice():
    assert "where" not in str(finding(mistake(), ["dx"], "mine"))
    assert "where: mine, line 7" in str(finding(mistake(), ["dx"], "mine", "line 7"))


# --- verdicts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdicts", "verdict", "ok"),
    [
        (["right"], "right", True),
        (["right", "rounding"], "rounding", True),
        (["right", "convention", "rounding"], "convention", True),
        (["right, but", "convention", "rounding"], "right, but", True),
        (["right, but", "could not be checked", "convention"], "could not be checked", False),
        (["wrong", "could not be checked", "right, but"], "wrong", False),
        ([], "could not be checked", False),
    ],
)
def test_the_worst_verdict_counts_and_what_was_not_checked_is_not_ok(verdicts, verdict, ok):
    report = Report("r", (Section("s", tuple(check(v) for v in verdicts)),))
    assert (report.verdict, report.ok) == (verdict, ok)


def test_right_but_is_ok_and_counts_its_remarks():
    remarks = (finding(mistake("right, but"), ["dx"], "mine"), finding(mistake("right, but"), ["dw"], "mine"))
    report = Report("r", (Section("s", (check(), check())),), remarks, seconds=0.25)
    report.raise_if_wrong()
    assert report.summary() == "RIGHT, BUT: 2 remarks; 2 tensors compared, in 0.2 s."
    assert Report("r", report.sections, remarks[:1]).summary() == "RIGHT, BUT: 1 remark; 2 tensors compared."
    assert Report("r", report.sections, (*remarks, finding(mistake(), ["dx"], "mine"))).verdict == "wrong"


def test_infinities_and_nan_survive_json():
    section = Section("s", (TensorCheck("dx", "wrong", np.inf, np.inf),))
    report = Report("r", (section,), (Finding("dx", "unknown", "none", np.nan, "?"),))
    content = json.loads(report.to_json())
    assert content["sections"][0]["checks"][0]["relative"] == "Infinity"
    assert content["findings"][0]["residual"] == "NaN"
    assert "∞" in str(report)
    assert "nan" not in str(report)


@pytest.mark.parametrize(("sections", "lines"), [(6, 5 * 3 + 2), (7, 6 + 2)])
def test_a_long_report_shows_right_sections_as_a_line_each(sections, lines):
    right = tuple(Section(f"layer {i}", (check(), check(tensor="dw"))) for i in range(sections - 1))
    report = Report("r", (*right, Section("last", (check("wrong"),))))
    assert len(re.findall(r"^ *(layer|last|d[xw])", str(report), re.MULTILINE)) == lines
    for text in (str(report), report.to_markdown(), report.to_html()):
        assert all(f"layer {i}" in text for i in range(sections - 1))


# --- the user's code, the edit that mends it, and where it differs ----------------------------------------------------

CODE = """def backward(dout, cache):
    x, w1, a1, w2 = cache
    da1 = dout @ w2.T
    dz1 = da1 * sigmoid(a1)
    dw1 = x.T @ dz1
    scale = 1 / np.sqrt((dw1 * dw1).sum())
    return dw1"""
SAID = {42: ("right", "∂L/∂a1"), 43: ("wrong", "should be ∂L/∂z1"), 44: ("affected", ""), 45: ("unmatched", "")}
MARKED = [
    ("da1 = dout @ w2.T", "✓ ∂L/∂a1"),
    ("dz1 = da1 * sigmoid(a1)", "✗ first wrong; should be ∂L/∂z1"),
    ("dw1 = x.T @ dz1", "affected"),
    ("scale = 1 / np.sqrt((dw1 * dw1).sum())", "matches nothing"),
]


def listing(code=CODE, first=40, said=SAID):
    lines = enumerate(code.split("\n"), first)
    return Listing("course/mine.py", "backward", tuple(Line(i, text, *said.get(i, ())) for i, text in lines))


def repair(**known):
    before = "# mine\n" * 39 + CODE + "\n"
    after = before.replace("sigmoid(a1)", "(1 - a1 * a1)")
    return Repair("course/mine.py", 43, "sigmoid(a1) becomes (1 - a1 * a1)", before, after, **known)


@pytest.fixture
def blamed():
    """A report with everything that is said of a user's lines."""
    a = np.arange(15.0).reshape(5, 3)
    checks = (compare("dw1", a + 1, a, 0.0, "as given"), compare("da1", a, a, 0.0, "as given"))
    found = replace(finding(mistake(), ["dw1"], "mine", evidence="yours is 2"), repair=repair(tensors=("dw1", "dz1")))
    return Report("mine", (Section("mine", checks, (listing(),)),), (found,))


def test_a_terminal_shows_each_line_with_its_number_and_its_verdict_in_one_column(blamed):
    lines = str(blamed).splitlines()
    assert "mine.py, backward" in lines
    shown = [line for line in lines if re.match(r"4\d  ", line)]
    assert [line[:2] for line in shown] == [str(i) for i in range(40, 47)]
    assert shown[0] == "40  def backward(dout, cache):"
    for line, (code, mark) in zip(shown[2:6], MARKED, strict=True):
        assert re.fullmatch(rf"4\d      {re.escape(code)}  +{re.escape(mark)}", line)
    assert len({line.index(mark) for line, (_, mark) in zip(shown[2:6], MARKED, strict=True)}) == 1


def test_a_narrow_terminal_shows_the_verdict_under_a_line_that_leaves_no_room_for_it(blamed):
    text = printed(blamed, 40)
    assert max(map(cell_len, text.splitlines())) <= 40
    assert "42      da1 = dout @ w2.T  ✓ ∂L/∂a1\n" in text
    assert re.search(r"43      dz1 = da1 \* sigmoid\(a1\)\n +✗ first wrong; should be ∂L/∂z1\n", text)
    assert "45      scale = 1 / np.sqrt((dw1 * dw1).\n    sum())  matches nothing\n" in text


def test_colours_tell_the_verdicts_apart(blamed):
    text = printed(blamed, 100, force_terminal=True, color_system="standard")
    for mark, colour in zip([mark for _, mark in MARKED], ("32", "1;31", "2", "2;33"), strict=True):
        assert f"\x1b[{colour}m{mark}\x1b[0m" in text
    assert "\x1b[31m   -    dz1 = da1 * sigmoid(a1)\x1b[0m" in text
    assert "\x1b[32m   +    dz1 = da1 * (1 - a1 * a1)\x1b[0m" in text


def test_a_terminal_without_the_signs_says_them_in_ascii(blamed):
    text = printed(blamed, 100, "ascii")
    assert "  ok dL/da1\n" in text
    assert "  x first wrong; should be dL/dz1\n" in text


def test_markdown_shows_the_code_as_code_with_verdicts_as_comments(blamed):
    (block,) = [t for t in markdown_tokens(blamed) if t.type == "fence" and t.info == "python"]
    lines = block.content.splitlines()
    assert [line.partition("  # ")[0].rstrip() for line in lines] == CODE.split("\n")
    assert [line.partition("  # ")[2] for line in lines] == ["", "", *(mark for _, mark in MARKED), ""]
    assert len({line.index("  # ") for line in lines[2:6]}) == 1
    assert "mine.py, backward**, from line 40:" in blamed.to_markdown()


def test_a_page_shows_the_first_wrong_line_alone_as_such(blamed):
    rows = re.findall(r'<tr class="(.*?)"><td>(\d+)</td><td><code>(.*?)</code></td><td class="(.*?)">(.*?)</td></tr>',
                      blamed.to_html())  # fmt: skip
    verdicts = ["", "", "right", "wrong", "affected", "unmatched", ""]
    assert [(int(number), code, verdict) for _, number, code, verdict, _ in rows] == [
        (40 + i, code, verdict) for i, (code, verdict) in enumerate(zip(CODE.split("\n"), verdicts, strict=True))
    ]
    assert [mark for *_, mark in rows[2:6]] == [mark for _, mark in MARKED]
    assert [number for first, number, *_ in rows if first == "first"] == ["43"]


def test_name_place_and_diff_stand_together(blamed):
    parts = ["a-name", "Multiply by f′(z).", "mine.py, line 43: sigmoid(a1) becomes (1 - a1 * a1)",
             "then dw1, dz1 are right with every probe", "--- a/mine.py", "+++ b/mine.py",
             "-    dz1 = da1 * sigmoid(a1)", "+    dz1 = da1 * (1 - a1 * a1)", "yours is 2"]  # fmt: skip
    with pytest.raises(WrongGradientError) as raised:
        blamed.raise_if_wrong()
    for form in (
        str(blamed.findings[0]),
        str(blamed),
        str(raised.value).replace("\\", ""),
        Tags(blamed.to_html()).data,
    ):
        text = " ".join(form.split())
        places = [text.index(" ".join(part.split())) for part in parts]
        assert places == sorted(places), form
    assert '<span class="del">-    dz1 = da1 * sigmoid(a1)</span>' in blamed.to_html()
    assert '<span class="add">+    dz1 = da1 * (1 - a1 * a1)</span>' in blamed.to_html()
    (block,) = [t for t in markdown_tokens(blamed) if t.type == "fence" and t.info == "diff"]
    assert block.content == repair().diff
    assert [t.type for t in markdown_tokens(blamed)].count("bullet_list_open") == 1  # the diff is inside it


def test_a_repair_says_that_another_fault_is_left():
    assert "another" not in repair(tensors=("dw1",)).sentence
    assert repair(tensors=("dw1",), mends_all=False).sentence.endswith(
        "; then dw1 is right with every probe; another fault is left"
    )


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_of_a_diff_end_where_those_of_the_file_do(end):
    before = f"a\x0cb{end}c\u2028d{end}e"
    diff = Repair("f.py", 2, "", before, before.replace("d", "D")).diff
    assert diff == f"--- a/f.py\n+++ b/f.py\n@@ -1,3 +1,3 @@\n a\x0cb{end}-c\u2028d{end}+c\u2028D{end} e\n{NO_END}"
    report = Report("r", (), (replace(finding(mistake(), ["dx"], "m"), repair=Repair("f.py", 1, "", before, "x")),))
    assert "\\r" not in str(report)


NO_END = "\\ No newline at end of file\n"


@pytest.mark.parametrize("fence", ["```", "`" * 7, "~~~", "   ```"])
def test_no_fence_in_the_code_ends_its_block(fence):
    code = f"{fence}\n# heading\n- item\n<b>\n{fence}"
    edit = Repair("f.py", 1, "", f"{code}\n", "x\n")
    found = replace(finding(mistake(), ["dx"], "mine"), repair=edit)
    report = Report("r", (Section("s", (check("wrong"),), (listing(code, said={}),)),), (found,))
    diff, lines = [t for t in markdown_tokens(report) if t.type == "fence"]
    assert diff.content == edit.diff
    assert lines.content == f"{code}\n"


def long_listing(wrong=35):
    said = {i: ("right", f"∂L/∂v{i}") for i in range(2, wrong)} | {wrong: ("wrong", "")}
    said |= dict.fromkeys(range(wrong + 10, 60), ("affected", ""))
    return listing("\n".join(f"v{i} = {i}" for i in range(1, 61)), 1, said)


def test_what_is_right_and_far_from_the_first_wrong_line_is_folded_but_on_a_page():
    report = Report("r", (Section("s", (check("wrong"),), (long_listing(),)),))
    near = range(30, 41)
    for text in (str(report), report.to_markdown()):
        shown = [int(i) for i in re.findall(r"\bv\d+ = (\d+)", text)]
        assert shown == [1, *near, *range(45, 61)]
        assert "… 28 lines, all right" in text
        assert "… 4 lines, without a verdict" in text
    assert [int(i) for i in re.findall(r"\bv\d+ = (\d+)", report.to_html())] == [*range(1, 61)]


def test_a_short_function_is_shown_whole():
    lines = long_listing().lines[:30]
    assert Listing("f.py", "f", lines).folded == [*lines]
    assert Listing("f.py", "f", long_listing().lines[:31]).folded != [*long_listing().lines[:31]]


def test_of_several_sections_each_listing_says_whose_it_is():
    report = Report("r", tuple(Section(name, (check("wrong"),), (listing(),)) for name in ("first", "second")))
    for text in (str(report), report.to_markdown(), report.to_html()):
        assert all(f"mine.py, backward ({name})" in text for name in ("first", "second"))


def test_a_listing_without_lines_is_not_shown():
    report = Report("r", (Section("s", (check("wrong"),), (Listing("f.py", "hollow", ()),)),))
    for text in (str(report), report.to_markdown(), report.to_html()):
        assert "hollow" not in text


def test_json_has_the_code_the_diff_and_the_grid_but_no_file_twice(blamed):
    content = json.loads(blamed.to_json())
    assert content["findings"][0]["repair"] == {
        "file": "course/mine.py", "line": 43, "said": "sigmoid(a1) becomes (1 - a1 * a1)", "tensors": ["dw1", "dz1"],
        "mends_all": True, "diff": repair().diff,
    }  # fmt: skip
    (section,) = content["sections"]
    assert section["listings"][0]["lines"][3] == {
        "number": 43, "text": "    dz1 = da1 * sigmoid(a1)", "verdict": "wrong", "said": "should be ∂L/∂z1",
    }  # fmt: skip
    assert section["checks"][0]["heat"] == [[1 / 14] * 3] * 5
    assert section["checks"][1]["heat"] == []


def test_a_notebook_shows_the_report_itself_and_keeps_its_own_styles(blamed):
    text = blamed._repr_html_()
    page = Tags(text)
    assert not {tag for tag, _ in page.tags} & {"html", "head", "body", "title", "meta", "link", "script"}
    assert text.startswith('<article class="twingrad">')
    assert text in blamed.to_html()
    (styles,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    inside = re.sub(r"@container[^{]*\{", "", styles)
    selectors = [s.strip(" \n}") for names in re.findall(r"([^{}]+|\}[^{}]+)\{", inside) for s in names.split(",")]
    assert len(selectors) > 50
    assert all(".twingrad.twingrad" in selector for selector in selectors), selectors
    assert not re.search(r"@import|url\(", styles)


# --- heat maps --------------------------------------------------------------------------------------------------------


def heat_of(hand, reference, tolerance=0.0, verdict="wrong"):
    return compare("dx", np.array(hand), np.array(reference), tolerance, "as given", verdict).heat


def test_a_grid_is_the_difference_over_the_largest_element_of_autograds():
    assert heat_of([[1.0, 2.0], [3.0, 5.0]], [[1.0, 2.5], [3.0, 4.0]]) == ((0.0, 0.125), (0.0, 0.25))
    assert heat_of([1.0, 2.0], [0.0, 0.0]) == ((1.0, 2.0),)
    assert heat_of(2.0, 4.0) == ((0.5,),)
    assert np.shape(heat_of(np.ones((2, 3, 5)), np.zeros((2, 3, 5)))) == (6, 5)
    assert heat_of([1.0, np.nan, np.inf], [2.0, 2.0, 2.0]) == ((0.5, np.inf, np.inf),)
    assert heat_of([1.0, 1.0], [np.nan, 2.0]) == ((np.inf, 0.5),)


@pytest.mark.parametrize("shape", [(24, 24), (25, 3), (100, 49), (7, 50, 2), (1000,)])
def test_a_grid_has_at_most_24_rows_and_columns_of_which_each_cell_is_the_largest_of_its_block(shape):
    a, rng = np.ones(shape), np.random.default_rng(0)
    flat = a.reshape(-1, shape[-1])
    for place in rng.integers(0, a.size, 20):
        h = a.copy()
        h.flat[place] = 1.5
        grid = np.array(heat_of(h, a))
        assert grid.shape == tuple(min(24, n) for n in flat.shape)
        assert grid.sum() == 0.5  # in one cell alone, which is where it is in the array
        for at, cell, n, cells in zip(
            divmod(place, shape[-1]), np.argwhere(grid)[0], flat.shape, grid.shape, strict=True
        ):
            assert abs((at + 0.5) / n - (cell + 0.5) / cells) <= 1 / cells


def test_only_what_is_wrong_and_has_the_right_shape_has_a_grid():
    assert heat_of([1.0], [1.1], 0.2) == ()
    assert heat_of([1.0], [1.1], 0.0, "rounding") == ()
    assert heat_of([1.0, 1.0], [1.1]) == ()
    assert heat_of(np.ones((0, 3)), np.ones((0, 3))) == ()


def test_a_page_has_a_map_of_every_wrong_tensor_and_explains_its_colours():
    a = np.ones(8)
    h = a + np.array([0.0, 1e-11, 5e-4, 5e-3, 5e-2, 0.5, 5.0, np.nan])
    wrong = compare("dw", h, a, 0.0, "as given")
    report = Report(
        "r", (Section("s", (wrong, check(tensor="db"), TensorCheck("dc", "wrong", heat=((0.5,) * 3,) * 2))),)
    )
    page = report.to_html()
    maps = re.findall(r'<figure><figcaption><b>(.*?)</b>.*?<svg width="(\d+)" height="(\d+)".*?>(.*?)</svg>', page)
    assert [(name, int(wide), int(high)) for name, wide, high, _ in maps] == [("dw", 112, 14), ("dc", 42, 28)]
    cells = dict(re.findall(r'class="(heat-\d)" d="(.*?)"', maps[0][3]))
    assert {name: re.findall(r"M(\d) 0", path) for name, path in cells.items()} == {
        "heat-0": ["0", "1"], **{f"heat-{i}": [str(i + 1)] for i in range(1, 7)},
    }  # fmt: skip
    assert set(re.findall(r"\.(heat-\d) \{", page)) == {f"heat-{i}" for i in range(7)}
    assert re.findall(r'<path class="heat-(\d)" d="M0 0h1v1h-1z"/></svg>(.*?)</li>', page) == [
        *zip("0123456", ("right", "to 0.001", "to 0.01", "to 0.1", "to 1", "above 1", "not finite"), strict=True)
    ]
    assert "<b>dw</b>: 7 elements differ, by up to ∞ at index [7]<" in page
    assert "<dt>h</dt><dd>your gradient</dd>" in page
    right = Report("r", (Section("s", (check(),)),)).to_html()
    assert "<figure>" not in right
    assert "Where they differ" not in right


# --- symbols ----------------------------------------------------------------------------------------------------------


def explained(text):
    """The symbols that a legend in the text explains."""
    text = " ".join(text.split())
    return {
        name
        for name, (_, meaning) in SYMBOLS.items()
        if re.search(rf"(^|[ ,]){re.escape(f'{name} is {meaning}')}", text)
    }


@pytest.mark.parametrize(
    ("said", "symbols"),
    [
        ({"formula": "h = 0.5 a, with every size that was tried"}, {"h", "a"}),
        ({"formula": "h = B a, B the batch size (7, 9 with the probes)"}, {"h", "a", "B", "probe"}),
        ({"formula": "h = δ summed over axis 1; a = Σ δ"}, {"h", "a", "δ", "Σ"}),
        ({"formula": "dz = dy f′(y); should be dz = dy f′(z), f = sigmoid"}, {"dy", "f′", "y in f′", "z"}),
        ({"formula": "f′ = y (1 − y) is computed with z in the place of y = f(z)"}, {"f′", "y in f′", "z"}),
        ({"formula": "dz ∝ p − y; should be dz = dL/dp · p (1 − p)"}, {"p", "y", "∝"}),
        ({"formula": "dz = g p; should be dz = p (g − Σ_k g_k p_k)"}, {"p", "g", "Σ"}),
        ({"formula": "dx = dy / (1 − p); should be dx = dy m / (1 − p)"}, {"dy", "m in dy m"}),
        ({"formula": "dz = a p (1 − p), p = softmax(z); should be dz = a"}, {"a", "p", "z"}),
        ({"formula": "dx = dx̂ / σ, x̂ = (x − μ) / σ"}, {"x̂", "μ", "σ"}),
        ({"formula": "dx̂ = dy; should be dx̂ = dy γ"}, {"x̂", "dy", "γ"}),
        ({"formula": "w ← w − lr m / (√v̂ + ε)"}, {"lr", "m", "v", "ε"}),
        ({"formula": "v ← μ v + g, w ← w − lr v"}, {"lr", "μ in μ v"}),
        ({"evidence": "equal wherever nothing is at a kink"}, {"kink"}),
        ({"text": "a second call gives a Linear another upstream gradient"}, {"upstream"}),
        ({"evidence": "at index [1, 2] yours is 2, autograd's is 1"}, set()),
        ({"where": "h = a", "line": "h = np.tanh(z) * B"}, set()),
    ],
)
def test_the_legend_explains_the_symbols_that_are_used_and_no_others(said, symbols):
    plain = SimpleNamespace(name="a-name", what="it is so", fix="", kind="wrong")
    found = finding(plain, ["dx"], said.pop("where", "mine"), **said)
    assert explained(str(Report("r", (), (found,)))) == symbols
    assert explained(str(found)) == symbols


def test_the_legend_explains_the_verdicts_of_lines_that_are_used_and_no_name_of_the_users():
    def symbols(*said):
        code = tuple(Line(i, "x = 1", *known) for i, known in enumerate(said))
        report = Report("r", (Section("s", (TensorCheck("dx", "wrong"),), (Listing("f.py", "f", code),)),))
        on_page = {html.unescape(name) for name in re.findall("<dt>(.*?)</dt>", report.to_html())}
        assert explained(str(report)) == on_page
        return on_page

    assert symbols(("right", "∂L/∂z"), ("", "")) == {"✓", "∂L/∂z"}
    assert symbols(("wrong", ""), ("affected", ""), ("unmatched", "")) == {"✗", "“affected”", "“matches nothing”"}
    assert symbols(("wrong", "should be ∂L/∂γ")) == {"✗", "∂L/∂z"}
    assert symbols() == set()


def test_the_columns_are_explained_where_there_are_numbers():
    assert explained(str(Report("r", (Section("s", (check(),)),)))) == {"relative", "ulp"}
    assert explained(str(Report("r", (Section("s", (check(tensor="∂ x"),)),)))) == {"relative", "ulp", "∂"}
    assert explained(str(Report("r", (Section("s", (TensorCheck("all", "could not be checked"),)),)))) == set()


# --- names are no markup ----------------------------------------------------------------------------------------------

markup = st.text("`*_|\\<>&[]()!#-+=.~:/@w1 a\n", max_size=30)
any_name = st.one_of(st.sampled_from(NASTY), st.text(), markup).filter(clean)


def all_nasty(test):
    for name in NASTY:
        test = example(name)(test)
    return settings(max_examples=60, deadline=None)(given(any_name)(test))


@pytest.mark.parametrize("name", ["", " ", "\n\t"])
def test_a_name_without_letters_breaks_nothing(name):
    report = report_of(name)
    for text in (str(report), report.to_markdown(), report.to_html()):
        assert "Multiply by f′(z)." in text
    assert report.to_markdown().startswith("## Report")


class Tags(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.data = [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, [(key, value) for key, value in attributes if key != "aria-label"]))

    def handle_data(self, data):
        self.data += data

    def handle_comment(self, data):
        raise AssertionError(data)

    handle_pi = unknown_decl = handle_comment


@all_nasty
def test_a_page_has_the_same_tags_whatever_the_names_are(name):
    page, plain = Tags(report_of(name).to_html()), Tags(report_of("x").to_html())
    explained = ("dt", "dd")  # as many as there are symbols
    assert [tag for tag in page.tags if tag[0] not in explained] == [
        tag for tag in plain.tags if tag[0] not in explained
    ]
    assert not {tag for tag, _ in page.tags} & {"a", "script", "img", "link", "iframe"}
    assert letters(page.data).count(letters(clean(name))) >= 10
    assert report_of(name).to_html().encode().decode("utf-8").startswith("<!doctype html>")


def test_a_page_says_its_encoding_and_its_title_and_loads_nothing():
    text = report_of("<x>").to_html()
    page = Tags(text)
    assert ("meta", [("charset", "utf-8")]) in page.tags
    assert "<title>&lt;x&gt;</title>" in text
    assert "color-scheme: light dark" in text
    assert not re.search(r"src=|href=|url\(|@import|https?:", text)


@all_nasty
def test_markdown_has_the_same_blocks_whatever_the_names_are(name):
    tokens, plain = (markdown_tokens(report_of(n)) for n in (name, "x"))
    assert [t.type for t in tokens] == [t.type for t in plain]
    for token in tokens:
        for part in token.children or ():
            assert part.type in ("text", "text_special", "code_inline", "strong_open", "strong_close"), name
            links = part.type == "text" and re.search(r"@|://|www\.|:\w+:|#\d|\$", part.content)
            assert not links, part.content
    titles = [t for t in tokens if t.type == "inline"]
    assert letters(shown(titles[0])) == letters(clean(name))


@all_nasty
def test_a_row_in_markdown_has_four_cells_whatever_the_names_are(name):
    text = report_of(name).to_markdown()
    rows = [line for line in text[text.rindex("| tensor | verdict |") :].splitlines() if line.startswith("|")]
    assert len(rows) == 7  # with the head, the line under it, and the headings of two sections
    for row in rows:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 5, row
        assert len(re.findall(r"(?<!\\)\|", row)) == 5, row  # as those read it that know no escaped backslash
    tokens = markdown_tokens(report_of(name))
    cells = [inside for t, inside in itertools.pairwise(tokens) if t.type == "td_open"]
    assert [letters(shown(cell)) for cell in cells[::4]] == 5 * [letters(clean(name))]


def markdown_tokens(report):
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(report.to_markdown())


def shown(token):
    return "".join(part.content for part in token.children)


@all_nasty
def test_a_terminal_shows_names_as_they_are_and_wraps_them(name):
    for width in (40, 80):
        text = printed(report_of(name), width)
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert letters(clean(name)) in letters(text)
        assert max(cell_len(line) for line in text.splitlines()) <= width
    coloured = printed(report_of(name), 80, force_terminal=True, color_system="standard")
    assert "\x1b]8" not in coloured
    assert set(re.findall(r"\x1b\[([\d;]*)m", coloured)) <= {
        "0",
        "1",
        "1;31",
        "2",
        "2;33",
        "31",
        "32",
        "33",
        "35",
        "36",
    }


@all_nasty
def test_json_holds_names_as_they_are(name):
    text = report_of(name).to_json()
    text.encode()
    assert json.loads(text)["title"] == name


# --- terminals that are narrow, or know few letters -------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "cp437", "utf-8"])
@pytest.mark.parametrize("width", [10, 40, 80, 100])
def test_every_console_can_print_it(encoding, width):
    found = finding(mistake(), ["dx"], "mine", formula="h = a − β₁ᵗ x̂, √v̂ ← ∂", evidence="語")
    report = Report("r", (Section("mine", (check("wrong"),)),), (found,))
    text = printed(report, width, encoding)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    for part in (report.summary(), "h = a − β₁ᵗ x̂, √v̂ ← ∂", "語"):
        assert letters(as_ascii(part, encoding)) in letters(text)


def test_no_line_is_wider_than_a_terminal(wrong):
    console = Console(width=80, file=None)
    with console.capture() as capture:
        console.print(wrong)
    assert max(len(line) for line in capture.get().splitlines()) <= 80


def test_str_keeps_its_letters_whatever_the_terminal_is(monkeypatch):
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    report = Report("r", (), (finding(mistake(), ["dx"], "mine", formula="h = a − β₁ᵗ x̂"),))
    assert "formula: h = a − β₁ᵗ x̂" in str(report)


@pytest.mark.parametrize(
    ("text", "ascii_text"),
    [
        ("f′(z)²", "f'(z)^2"),
        ("δ = Σ √v̂", "d = sum sqrtv_hat"),
        ("w ← w − lr · γ", "w <- w - lr * gamma"),
        ("∂ ≥ Wᵀ x̂", "d >= W^T x_hat"),
        ("λ ε σ μ β “a” …", 'lambda eps sigma mu beta "a" ...'),
        ("語 é", r"\u8a9e \xe9"),
    ],
)
def test_what_an_encoding_lacks_is_written_in_ascii(text, ascii_text):
    assert as_ascii(text) == ascii_text
    assert as_ascii(text, "utf-8") == text
    assert as_ascii("é ² ′", "cp1252") == "é ² '"


@given(st.text(), st.sampled_from(["ascii", "cp1252", "utf-8"]))
def test_any_text_can_be_encoded(text, encoding):
    as_ascii(text, encoding).encode(encoding)


def test_no_formula_of_the_catalogue_is_left_to_escapes():
    for row in CATALOGUE.values():
        assert "\\" not in as_ascii(row.what + row.fix)


# --- the numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hand", "reference", "sentence"),
    [
        ([[1.0, 0.5]], [[0.5, 1.0]],
         "at index [0, 0] yours is 1, autograd's is 0.5; yours/autograd's from 0.5 to 2"),
        ([2.0, 4.0], [1.0, 2.0], "at index [1] yours is 4, autograd's is 2; yours/autograd's is 2 everywhere"),
        (3.0, 1.5, "yours is 3, autograd's is 1.5"),
        ([1.0, 2.0], [0.0, 1.0], "at index [0] yours is 1, autograd's is 0"),
        ([0.0], [0.0], "at index [0] yours is 0, autograd's is 0"),
        ([1.0], [[1.0]], "yours has shape (1,), expected (1, 1)"),
        ([np.nan, 1.0, np.nan], [1.0, 1.0, 1.0], "at index [0] yours is nan, autograd's is 1"),
        ([np.inf], [1.0], "at index [0] yours is inf, autograd's is 1"),
        ([5.0, 3.0, 4.0], [1.0, np.nan, 2.0], "at index [1] yours is 3, autograd's is nan"),
        ([5.0, 3.0, 4.0], [1.0, np.inf, 2.0], "at index [1] yours is 3, autograd's is inf"),
    ],
)  # fmt: skip
def test_ratios_in_words(hand, reference, sentence):
    assert ratios(np.array(hand), np.array(reference)) == sentence


def test_another_shape_is_wrong_and_said():
    compared = compare("dx", np.ones(3), np.ones(2), 0.0, "as given")
    assert (compared.verdict, compared.note) == ("wrong", "has shape (3,), expected (2,)")


def test_a_comparison_names_the_worst_element():
    compared = compare("dx", np.array([1.0, np.nan, 2.5]), np.array([1.0, 1.0, 2.0]), 0.1, "as given")
    assert (compared.verdict, compared.worst, compared.wrong_elements, compared.relative) == ("wrong", (1,), 2, np.inf)
    zero = compare("dx", np.zeros(2), np.zeros(2), 0.0, "as given")
    assert (zero.verdict, zero.relative, zero.ulp) == ("right", 0.0, 0.0)
