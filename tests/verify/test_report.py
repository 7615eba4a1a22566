import json

import numpy as np
import pytest
from rich.console import Console

from torch_impl.verify import CATALOGUE, Finding, Report, Section, TensorCheck, WrongGradientError, verify_function


def square_forward(x):
    return x * x, x


@pytest.fixture(scope="module")
def wrong():
    return verify_function(square_forward, lambda dout, x: dout * x, x=np.random.default_rng(0).standard_normal((7, 5)))


def test_a_wrong_report_in_every_form(wrong):
    assert not wrong.ok
    assert wrong.first_divergence == "square: dx"
    (finding,) = wrong.findings
    assert (finding.mistake, finding.confidence, finding.formula) == (
        "constant-factor", "certain", "h = 0.5 a, with every size that was tried",
    )  # fmt: skip
    content = json.loads(wrong.to_json())
    assert content["verdict"] == "wrong"
    assert content["findings"][0]["fix"] == CATALOGUE["constant-factor"].fix
    for text in (str(wrong), wrong.to_markdown(), wrong.to_html()):
        for part in ("constant-factor", "h = 0.5 a", "dx", CATALOGUE["constant-factor"].fix):
            assert part in text
    assert "WRONG: 1 fault; 1 of 1 tensor differ" in str(wrong)
    with pytest.raises(WrongGradientError, match="constant-factor"):
        wrong.raise_if_wrong()


def test_a_right_report():
    x = np.random.default_rng(0).standard_normal((7, 5))
    report = verify_function(square_forward, lambda dout, x: dout * 2 * x, x=x)
    report.raise_if_wrong()
    assert (report.verdict, report.findings, report.first_divergence) == ("right", (), "")
    assert "RIGHT: 1 tensor compared" in str(report)


def check(verdict):
    return TensorCheck("dx", verdict, 0.0, 0.0)


@pytest.mark.parametrize(
    ("verdicts", "verdict", "ok"),
    [
        (["right"], "right", True),
        (["right", "rounding"], "rounding", True),
        (["right", "convention", "rounding"], "convention", True),
        (["right", "could not be checked", "convention"], "could not be checked", False),
        (["wrong", "could not be checked"], "wrong", False),
        ([], "could not be checked", False),
    ],
)
def test_the_worst_verdict_counts_and_what_was_not_checked_is_not_ok(verdicts, verdict, ok):
    report = Report("r", (Section("s", tuple(check(v) for v in verdicts)),))
    assert (report.verdict, report.ok) == (verdict, ok)


def test_infinities_and_nan_survive_json():
    section = Section("s", (TensorCheck("dx", "wrong", np.inf, np.inf),))
    report = Report("r", (section,), (Finding("dx", "unknown", "none", np.nan, "?"),))
    content = json.loads(report.to_json())
    assert content["sections"][0]["checks"][0]["relative"] == "inf"
    assert content["findings"][0]["residual"] == "nan"


def test_no_line_is_wider_than_a_terminal(wrong):
    console = Console(width=80, file=None)
    with console.capture() as capture:
        console.print(wrong)
    assert max(len(line) for line in capture.get().splitlines()) <= 80
