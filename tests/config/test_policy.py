"""Policy files: what they become, and one line for every mistake."""

import json
from pathlib import Path

import pytest

from curation_audit.checks import InputError
from curation_audit.config import load_policy
from curation_audit.gating import ClaimRequirement, PowerRequirement

STARTER = Path(__file__).parents[2] / "curation_audit" / "gating" / "policy.yaml"
FULL = """\
version: 1
name: ward
appetite:
  - {stage: selection, metric: auc, at_most: 0.6}
  - {stage: model, metric: tpr_at_fpr_0.001, at_most: 0.02, bound: lower}
requires:
  controls: [blind classifier, random curation]
  attacks: {model: [lira, loss], scores: [trace]}
  power: {shadows: 64, smallest_fpr: 0.01}
  claim: {adjacency: zero_out, epsilon: 8, unit: patient_id}
"""


@pytest.fixture
def policy_file(tmp_path):
    def write(text):
        path = tmp_path / "policy.yaml"
        path.write_text(text)
        return path

    return write


def test_a_whole_policy(policy_file):
    policy = load_policy(policy_file(FULL))
    assert policy.name == "ward"
    assert [one.name for one in policy.appetite] == [
        "selection auc (upper)",
        "model tpr_at_fpr_0.001 (lower)",
    ]
    assert policy.stages == ("selection", "model")
    requires = policy.requires
    assert requires.controls == ("random curation", "blind classifier")
    assert requires.attacks == {"scores": ("trace",), "model": ("lira", "loss")}
    assert requires.power == PowerRequirement(shadows=64, smallest_fpr=0.01)
    assert requires.claim == ClaimRequirement(
        adjacency="zero_out", epsilon=8.0, delta=1e-5, unit="patient_id"
    )


def test_a_policy_requires_nothing_by_itself(policy_file):
    policy = load_policy(policy_file(FULL.split("requires:")[0]))
    assert policy.requires.controls == ()
    assert policy.requires.attacks == {}
    assert policy.requires.power == PowerRequirement()
    assert policy.requires.claim is None


def test_the_starter_is_a_policy_and_explains_itself():
    policy = load_policy(STARTER)
    assert len(policy.appetite) == 3
    assert len(policy.requires.controls) == 3
    assert STARTER.read_text().count("#") > 15


def test_what_the_starter_comments_out_is_a_policy_too(policy_file):
    lines = STARTER.read_text().splitlines()
    marked = ("  # - {stage", "  # claim: {")
    shown = [line.replace("  # ", "  ", 1) if line.startswith(marked) else line for line in lines]
    policy = load_policy(policy_file("\n".join(shown)))
    assert len(policy.appetite) == 5
    assert policy.requires.claim is not None


BAD = {
    "unknown key": ("name: ward", "nmae: ward", "2:1: nmae", "did you mean 'name'?"),
    "no version": ("version: 1\n", "", ":1:1:", "'version' is missing"),
    "another version": ("version: 1", "version: 2", "1:1: version", "found 2"),
    "no name": ("name: ward", "name: ''", "2:1: name", "expected 1 to 200"),
    "no line": (
        "  - {stage: selection, metric: auc, at_most: 0.6}\n"
        "  - {stage: model, metric: tpr_at_fpr_0.001, at_most: 0.02, bound: lower}\n",
        "  []\n",
        "3:1: appetite",
        "found no line",
    ),
    "a line twice": (
        "{stage: model, metric: tpr_at_fpr_0.001, at_most: 0.02, bound: lower}",
        "{stage: selection, metric: auc, at_most: 0.7}",
        "5:5: appetite.1",
        "stands twice",
    ),
    "unknown stage": ("stage: model", "stage: modle", "appetite.1.stage", "did you mean 'model'?"),
    "unknown metric": ("metric: auc", "metric: acu", "4:24: appetite.0.metric", "mean 'auc'?"),
    "a rate as elsewhere": (
        "tpr_at_fpr_0.001",
        '"tpr@0.001"',
        "appetite.1.metric",
        "expected tpr_at_fpr_RATE",
    ),
    "a rate that is none": ("fpr_0.001", "fpr_2", "appetite.1.metric", "between 0 and 1"),
    "a rate that is no number": ("fpr_0.001", "fpr_nan", "appetite.1.metric", "between 0 and 1"),
    "a percentage": ("at_most: 0.6", "at_most: 60", "appetite.0.at_most", "a fraction from 0 to 1"),
    "a negative limit": ("at_most: 0.6", "at_most: -1", "appetite.0.at_most", "found -1"),
    "no number": ("at_most: 0.6", "at_most: .nan", "appetite.0.at_most", "found nan"),
    "a truth value": ("at_most: 0.6", "at_most: yes", "appetite.0.at_most", "expected a number"),
    "a word for a limit": ("at_most: 0.6", "at_most: low", "appetite.0.at_most", "found 'low'"),
    "an endless epsilon": (
        "metric: auc, at_most: 0.6",
        "metric: epsilon, at_most: .inf",
        "appetite.0.at_most",
        "expected nats",
    ),
    "no limit": (", at_most: 0.6", "", "4:5: appetite.0", "'at_most' is missing"),
    "unknown bound": ("bound: lower", "bound: low", "appetite.1.bound", "did you mean 'lower'?"),
    "unknown key of a line": ("at_most: 0.6", "atmost: 0.6", "appetite.0.atmost", "'at_most'?"),
    "a line that is none": (
        "- {stage: selection, metric: auc, at_most: 0.6}",
        "- 7",
        "appetite.0",
        "7",
    ),
    "unknown requirement": ("controls:", "control:", "7:3: requires.control", "'controls'?"),
    "unknown control": (
        "blind classifier",
        "blind clasifier",
        "requires.controls.0",
        "did you mean 'blind classifier'?",
    ),
    "unknown attack": ("[lira,", "[lyra,", "8:21: requires.attacks.model.0", "did you mean 'lira'"),
    "attack of another stage": (
        "scores: [trace]",
        "scores: [lira]",
        "requires.attacks.scores.0",
        "no attack on scores",
    ),
    "attacks of no stage": ("scores:", "score:", "requires.attacks.score", "mean 'scores'?"),
    "one word for a list": ("[trace]", "trace", "requires.attacks.scores", "a list of attacks"),
    "unknown power": ("shadows:", "shadow:", "9:11: requires.power.shadow", "'shadows'?"),
    "no power": ("shadows: 64", "shadows: 0", "requires.power.shadows", "at least 1"),
    "an impossible rate": (
        "smallest_fpr: 0.01",
        "smallest_fpr: 1",
        "power.smallest_fpr",
        "0 and 1",
    ),
    "unknown adjacency": ("zero_out", "zeroout", "requires.claim.adjacency", "'zero_out'?"),
    "an epsilon of nothing": ("epsilon: 8", "epsilon: 0", "requires.claim.epsilon", "above 0"),
    "no epsilon": (" epsilon: 8,", "", "requires.claim", "'epsilon' is missing"),
    "a delta of one": ("epsilon: 8", "epsilon: 8, delta: 1", "requires.claim.delta", "below 1"),
    "unknown key of a claim": ("epsilon: 8", "eps: 8", "requires.claim.eps", "'epsilon'?"),
    "requires nothing at all": (FULL[FULL.index("requires:") :], "requires: 3\n", "requires", "3"),
    "no YAML": ("version: 1", "version: [1", "policy.yaml:", "not valid YAML"),
    "no mapping": (FULL, "- 1\n", "1:1", "found no mapping"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_policy_gives_one_line(case, policy_file, command, tmp_path):
    old, new, place, part = BAD[case]
    assert old in FULL
    path = policy_file(FULL.replace(old, new))
    with pytest.raises(InputError) as caught:
        load_policy(path)
    assert str(caught.value).startswith(f"{path}")
    for told in (place, part):
        assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_policy_that_is_not_there_names_its_option(tmp_path):
    with pytest.raises(InputError, match=r"no such file; check --policy"):
        load_policy(tmp_path / "policy.yaml")


def test_names_may_hold_anything(policy_file):
    name = "a|b <i>\nthird: line"
    text = FULL.replace("name: ward", f"name: {json.dumps(name)}")
    assert load_policy(policy_file(text)).name == name
