import copy
import json
import math

import pytest
from jsonschema import Draft202012Validator

from curation_audit.report import SCHEMA_VERSION, validate_report
from curation_audit.report.schema import report_schema
from tests.report.sample import sample_report, sparse_report

NULL_POINT = ("stages", 0, "headline", "metrics", "tpr_at_fpr", 0)
POINT = ("stages", 0, "headline", "metrics", "tpr_at_fpr", 1)
RAN = ("stages", 0, "attacks", 0)
NOT_RAN = ("stages", 0, "attacks", 2)
BOUND = ("bounds", 0, "results", 0)
JOINT_BETA = ("bounds", 0, "results", 6)
REMOVE = object()
MUTATIONS = [
    (("schema_version",), 3),
    (("extra",), 1),
    (("utility",), REMOVE),
    (("tool", "code_digest"), None),
    (("design", "n_shadows"), 12.5),
    (("design", "n_candidates"), -1),
    (("design", "picked", "real"), REMOVE),
    (("threat", "observes"), ["gradients"]),
    (("threat", "observes"), ["scores", "scores"]),
    (("stages",), []),
    (("stages", 0, "stage"), "selection"),
    (("stages", 0, "status"), "skipped"),
    (("stages", 0, "status"), "not observed"),
    (("stages", 0, "headline", "metrics", "auc"), 0.7),
    (("stages", 0, "headline", "metrics", "auc", "value"), 1.2),
    (("stages", 0, "headline", "metrics", "auc", "value"), math.nan),
    (("stages", 0, "headline", "metrics", "auc", "low"), 0.99),
    (("stages", 0, "headline", "metrics", "auc", "label"), "bound"),
    (("stages", 0, "headline", "metrics", "auc", "confidence"), 95),
    (("stages", 0, "headline", "metrics", "advantage", "value"), -1.01),
    ((*NULL_POINT, "realised_fpr"), 0.0),
    ((*NULL_POINT, "reason"), None),
    ((*POINT, "tpr"), None),
    ((*POINT, "true_positives"), None),
    ((*POINT, "fpr"), 1.0),
    ((*POINT, "precision"), []),
    ((*POINT, "precision", 0, "prior"), 0.0),
    ((*POINT, "precision", 0, "ppv", "high"), 1.01),
    ((*POINT, "stability"), None),
    ((*POINT, "stability", "coin_flips"), -0.1),
    ((*NULL_POINT, "precision"), [{"prior": 0.5, "ppv": None}]),
    (("stages", 0, "headline", "metrics", "auc_estimand"), "everybody"),
    (("stages", 0, "headline", "records"), None),
    (("stages", 0, "headline", "records", "worst", 0, "id"), "patient 17"),
    (("stages", 0, "headline", "subgroups", "slices"), []),
    (("stages", 0, "headline", "subgroups", "slices", 0, "auc"), 0.7),
    (("stages", 3, "stage"), "scores"),
    (("threat", "may_insert"), REMOVE),
    (("bounds", 0, "results"), []),
    (("bounds", 0, "stage"), "gradients"),
    (("bounds", 0, "n_fit_pairs"), 0),
    (("bounds", 0, "pair_share_low"), 1.1),
    ((*BOUND, "label"), "estimate"),
    ((*JOINT_BETA, "label"), "bound"),
    ((*BOUND, "method"), "best of all"),
    ((*BOUND, "epsilon"), -0.1),
    ((*BOUND, "epsilon"), 2.5),
    ((*BOUND, "epsilon"), None),
    ((*BOUND, "condition"), None),
    ((*BOUND, "counts", "pairs"), -1),
    (("claim", "constants", "mu"), "one"),
    (("claim", "tpr"), [0.5]),
    (("claim", "refuted"), False),
    (("claim", "adjacency"), "bounded"),
    (("claim", "stages", 0, "epsilon_low"), REMOVE),
    ((*RAN, "metrics"), None),
    ((*RAN, "roc", "tpr"), [0.0, 1.0]),
    ((*RAN, "roc", "low", 3), -0.1),
    ((*RAN, "candidate_risk", "counts"), [1.0]),
    ((*NOT_RAN, "reason"), None),
    ((*NOT_RAN, "status"), "run"),
    (("controls", "results", 0, "control"), "placebo"),
    (("controls", "results", 0, "p_value"), 1.5),
    (("controls", "results", 0, "passed"), "yes"),
    (("utility", "curated"), None),
    (("policy", 0, "bound"), "middle"),
    (("verdict", "status"), "pass"),
    (("data", "private"), None),
    (("data", "pool", "path"), "pool.parquet"),
    (("warnings",), None),
]


def as_path(part):
    """A test id of a place; values get theirs from pytest."""
    return ".".join(map(str, part)) if isinstance(part, tuple) else None


def mutated(place, value):
    report = copy.deepcopy(sample_report())
    target = report
    for key in place[:-1]:
        target = target[key]
    if value is REMOVE:
        del target[place[-1]]
    else:
        target[place[-1]] = value
    return report


def test_schema_is_a_schema_of_its_version():
    Draft202012Validator.check_schema(report_schema())
    assert report_schema()["properties"]["schema_version"] == {"const": SCHEMA_VERSION}


@pytest.mark.parametrize("report", [sample_report(), sparse_report()], ids=["full", "sparse"])
def test_samples_are_valid_also_after_a_round_trip(report):
    validate_report(report)
    validate_report(json.loads(json.dumps(report, allow_nan=False)))


@pytest.mark.parametrize(("place", "value"), MUTATIONS, ids=as_path)
def test_mutations_are_refused(place, value):
    with pytest.raises(ValueError, match=r"^\S+: "):
        validate_report(mutated(place, value))


def test_message_names_the_place():
    with pytest.raises(ValueError, match=r"^stages\[0\]\.headline\.metrics\.auc\.value: "):
        validate_report(mutated(("stages", 0, "headline", "metrics", "auc", "value"), 1.2))


def test_message_names_the_place_of_what_json_schema_cannot_say():
    with pytest.raises(ValueError, match=r"^stages\[0\]\.attacks\[0\]\.roc: .*same length"):
        validate_report(mutated((*RAN, "roc", "tpr"), [0.0, 1.0]))


def test_configuration_is_free():
    validate_report(mutated(("configuration",), {"label": "estimate", "low": 2, "high": [1, None]}))


def every_object(schema):
    if isinstance(schema, dict):
        if schema.get("type") == "object" and "properties" in schema:
            yield schema
        for value in schema.values():
            yield from every_object(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from every_object(value)


def test_every_object_is_closed_and_complete():
    objects = list(every_object(report_schema()))
    assert len(objects) > 15
    for item in objects:
        assert item["additionalProperties"] is False
        assert item["required"] == list(item["properties"])
