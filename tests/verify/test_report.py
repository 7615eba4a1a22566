"""The report: its verdicts, its sentences, and that no name acts as markup in any of its forms."""

import html.parser
import io
import itertools
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt  # rich brings it
from rich.cells import cell_len
from rich.console import Console

from torch_impl.verify import CATALOGUE, Finding, Report, Section, TensorCheck, WrongGradientError, verify_function
from torch_impl.verify.render import SYMBOLS, as_ascii, clean
from torch_impl.verify.report import compare, finding, ratios

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
    checks = (check("wrong", name, note=name), check("right, but", name), TensorCheck(name, "could not be checked"))
    return Report(name, (Section(name, checks), Section(name, ())), found, (name,))


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
    for text in (str(found), str(report), report.to_markdown(), report.to_html()):
        places = [text.index(part) for part in parts]
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
        self.tags.append((tag, attributes))

    def handle_data(self, data):
        self.data += data

    def handle_comment(self, data):
        raise AssertionError(data)

    handle_pi = unknown_decl = handle_comment


@all_nasty
def test_a_page_has_the_same_tags_whatever_the_names_are(name):
    page, plain = Tags(report_of(name).to_html()), Tags(report_of("x").to_html())
    assert [tag for tag in page.tags if tag[0] != "code"] == [tag for tag in plain.tags if tag[0] != "code"]
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
    rows = [line for line in report_of(name).to_markdown().splitlines() if line.startswith("|")]
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
    assert set(re.findall(r"\x1b\[([\d;]*)m", coloured)) <= {"0", "1", "1;31", "33", "35"}


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
