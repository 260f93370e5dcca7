"""A decision as text, JSON, Markdown and JUnit XML."""

import doctest
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from curation_audit.checks import InputError
from curation_audit.gating import (
    FORMATS,
    OUTCOMES,
    Policy,
    PowerRequirement,
    Requirements,
    decide,
    decision_schema,
    decision_tree,
    markdown,
    outcomes,
    plain,
    policy,
    render,
)
from curation_audit.gating.render import deliver
from curation_audit.gating.show import as_text
from tests.gating.reports import line, policy_of, stage_at, with_claim, with_number
from tests.report.sample import sample_report, sparse_report

REJECT, AGAINST, UNKNOWN, NEUTRAL, RELEASE = OUTCOMES
EVIL = 'a|b <script>x</script>\n# <img src=x> & "quoted" @octocat `c` \x1b[31m \u202e ]]> \ud800'
CODE = Path(render.__file__).parent


def every_outcome():
    """A decision with a finding of every outcome."""
    report = with_number("auc", 0.7, 0.65, 0.75)
    with_number("advantage", 0.65, 0.5, 0.8, report=report)
    with_number("balanced_accuracy", 0.5, 0.4, 0.55, report=report)
    lines = [line(), line("advantage"), line("balanced_accuracy"), line("epsilon", 9.0)]
    return decide(report, policy_of(*lines, line("tpr_at_fpr_0.2")), "ab" * 32)


def released():
    return decide(with_number("auc", 0.55, 0.5, 0.58), policy_of(line()))


def invalid():
    return decide(sparse_report(), policy_of(line(), controls=("blind classifier",)))


def claimed():
    report = with_number("auc", 0.55, 0.5, 0.58, report=with_claim())
    full = Requirements(power=PowerRequirement(shadows=1, smallest_fpr=0.5))
    return decide(report, Policy(name="claims", appetite=(line(),), requires=full))


def evil():
    report = sample_report()
    report["name"] = EVIL
    stage_at(report, "scores")["attacks"][0]["attack"] = EVIL
    stage_at(report, "scores")["attacks"][2]["reason"] = EVIL
    asked = {"scores": ("extract", EVIL)}
    requires = Requirements(attacks=asked)
    return decide(report, Policy(name=EVIL, appetite=(line(at_most=0.99),), requires=requires))


DECISIONS = (every_outcome, released, invalid, claimed, evil)


def test_every_outcome_is_there():
    assert {one.outcome for one in every_outcome().findings} == set(OUTCOMES)


@pytest.mark.parametrize("make", DECISIONS)
def test_json_keeps_to_its_schema(make):
    decision = make()
    tree = json.loads(FORMATS["json"](decision))
    jsonschema.Draft202012Validator.check_schema(decision_schema())
    jsonschema.validate(tree, decision_schema(), cls=jsonschema.Draft202012Validator)
    assert tree == decision_tree(decision)
    assert tree["schema_version"] == 1
    tree["findings"][0]["outcome"] = "fine"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tree, decision_schema())


@pytest.mark.parametrize("make", DECISIONS)
def test_junit_is_parsed_back_and_its_counts_agree(make):
    decision = make()
    root = ElementTree.fromstring(FORMATS["junit"](decision))
    (suite,) = root
    cases = suite.findall("testcase")
    assert root.tag == "testsuites"
    assert [case.get("name") for case in cases] == [
        plain.one_line(one.name) for one in decision.findings
    ]
    assert len({(case.get("classname"), case.get("name")) for case in cases}) == len(cases)
    for element in (root, suite):
        assert int(element.get("tests")) == len(cases)
        assert int(element.get("failures")) == len(suite.findall("testcase/failure"))
        assert int(element.get("errors")) == len(suite.findall("testcase/error"))
        assert element.get("skipped") == "0"
    by_tag = {"failure": {REJECT, AGAINST}, "error": {UNKNOWN}, "system-out": {NEUTRAL, RELEASE}}
    for case, one in zip(cases, decision.findings, strict=True):
        (tag,) = {child.tag for child in case} - {"properties"}
        assert one.outcome in by_tag[tag]
        said = {p.get("name"): p.get("value") for p in case.findall("properties/property")}
        assert said["outcome"] == one.outcome
        assert ("value" in said) == (one.number is not None)
        if one.number is not None:
            assert float(said["value"]) == one.number.value
    # red exactly where the command line fails
    red = any(suite.findall(f"testcase/{tag}") for tag in ("failure", "error"))
    assert red == (decision.exit_code != 0)
    assert suite.find("properties/property[@name='exit_code']").get("value") == str(
        decision.exit_code
    )


def test_markdown_shows_names_and_runs_none_of_them():
    text = FORMATS["markdown"](evil())
    assert not re.search(r"<(?!\s)|(?<!&#8203;)@octocat|\x1b|\u202e|\ud800", text)
    assert "&lt;script&gt;" in text
    assert not re.search(r"^#(?!## Curation audit)", text, re.MULTILINE)
    rows = [row for row in text.splitlines() if row.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}
    assert "\\`c\\`" in text


@pytest.mark.parametrize("make", DECISIONS)
def test_markdown_is_short_and_says_what_counts(make):
    decision = make()
    text = FORMATS["markdown"](decision)
    assert text.startswith(f"### Curation audit: {decision.outcome}\n")
    assert len(text.splitlines()) < 60
    assert ("What would change it" in text) == (decision.outcome != RELEASE)
    assert "The attacks listed" in text


def test_a_release_is_always_printed_against_the_attacks_listed():
    for text in (as_text(released(), 200), FORMATS["markdown"](released())):
        assert "supports release, against the attacks listed" in text
        for attack in ("lira_best_row", "trace"):
            assert attack in text.replace("\\", "")
    assert "against the attacks listed: lira_best_row, trace" in FORMATS["junit"](released())
    assert "against the attacks listed: lira_best_row, trace" in FORMATS["json"](released())


@pytest.mark.parametrize("make", DECISIONS)
def test_text_has_a_line_for_everything(make):
    decision = make()
    text = as_text(decision, 120)
    assert not re.search(r"\x1b|\u202e|\ud800", text)
    lines = text.splitlines()
    for one in decision.findings:
        sentence = plain.one_line(f"{one.name}: {one.outcome}. {one.sentence}")
        assert sentence in lines
    assert lines[-1] == f"verdict: {decision.sentence}"
    assert "risk: measured: " in lines[-2]
    assert max(len(one) for one in lines if "│" in one) <= 120


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("make", DECISIONS)
def test_renderings_encode_and_never_promise(make, form):
    text = FORMATS[form](make())
    assert text.encode()
    assert text.endswith("\n")
    assert not re.search(r"\bsafe", text, re.IGNORECASE)
    assert text == FORMATS[form](make())  # the same for the same two


def test_the_room_never_promises_either():
    files = [*CODE.glob("*.py"), *CODE.glob("*.json"), *CODE.glob("*.yaml")]
    files.append(CODE.parent / "config" / "policy_section.py")
    assert len(files) > 10
    for path in files:
        assert not re.search(r"\bsafe", path.read_text(), re.IGNORECASE), path


def test_what_is_declared_is_marked(tmp_path):
    decision = claimed()
    assert "declared: nothing asked for" in as_text(decision)
    report = with_claim(refuted=True)
    report["claim"]["stages"][0]["refuted"] = True
    text = as_text(decide(report, policy_of(line())))
    assert "4 (declared)" in text
    assert "refuted at scores" in text


def test_delivery(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    decision = every_outcome()
    (text,) = deliver(decision, "text")
    assert max(len(one) for one in text.splitlines() if "│" in one) <= 90
    out = tmp_path / "new" / "gate.xml"
    wrote, verdict = deliver(decision, "junit", out)
    assert wrote == f"wrote {out}"
    assert verdict == f"verdict: {decision.sentence}"
    assert out.read_text() == FORMATS["junit"](decision)
    with pytest.raises(InputError, match="did you mean 'junit'"):
        deliver(decision, "junitt")
    with pytest.raises(InputError, match="cannot be written"):
        deliver(decision, "json", out / "below a file")


@pytest.mark.parametrize("module", [markdown, outcomes, plain, policy])
def test_examples_in_docstrings(module):
    found = doctest.testmod(module)
    assert found.failed == 0
    assert found.attempted
