"""Every packaged example pipeline loads and is audited; every registered part has one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from curation_audit import audit, load_pipeline
from curation_audit.auditing.curation import score_shadows, select_and_train
from curation_audit.config.load import load_plan
from curation_audit.config.sections import build_rule
from curation_audit.game import paired_inclusion
from curation_audit.pipelines.downstream import DOWNSTREAM
from curation_audit.pipelines.features import STEPS
from curation_audit.pipelines.rules import RULES
from curation_audit.pipelines.scorers import SCORERS
from curation_audit.streams import Streams

PIPELINES = Path(__file__).parents[2] / "curation_audit" / "pipelines"
FEW = "{scores: [lira_best_row], selection: [binary_lira], model: [lira]}"
GALLERY = sorted((PIPELINES / "gallery").glob("*.yaml"))


def parts_of(tree: dict[str, Any]) -> set[str]:
    """The scorer, the rule, the steps and the model that a file names."""
    curate, steps = tree["curate"], tree.get("features", {}).get("steps", [])
    found = {f"scorer {curate['scorer']['method']}", f"rule {curate['select']['rule']}"}
    found |= {f"step {step['kind']}" for step in steps}
    return found | ({f"model {tree['train']['model']}"} if tree.get("train") else set())


def test_every_scorer_rule_step_and_model_occurs_in_a_packaged_file():
    files = [*GALLERY, *PIPELINES.glob("*.yaml")]
    shown = set().union(*(parts_of(yaml.safe_load(file.read_text())) for file in files))
    registries = {"scorer": SCORERS, "rule": RULES, "step": STEPS, "model": DOWNSTREAM}
    known = {f"{kind} {name}" for kind, names in registries.items() for name in names}
    known -= {"model module"}  # it names an entry point of a package of the user's
    # so does an encoder, or it is a file of the user's
    known -= {f"step {name}" for name, kind in STEPS.items() if hasattr(kind, "opened")}
    assert sorted(known - shown) == [], "no packaged file names these"
    assert sorted(shown - known) == [], "the packaged files name what is not there"


@pytest.mark.parametrize("path", GALLERY, ids=lambda path: path.stem)
def test_an_example_says_what_it_is(path):
    text = path.read_text()
    tree = yaml.safe_load(text)
    assert text.startswith("# ")
    assert tree["name"] == path.stem
    assert tree["run"] == {"out": f"runs/{path.stem}"}


@pytest.mark.parametrize("path", GALLERY, ids=lambda path: path.stem)
def test_an_example_is_audited(path, tmp_path):
    """With few shadows and attacks: here it has to run, not to find."""
    few = ("attack.shadows=16", f"attack.methods={FEW}", f"run.out={tmp_path / 'run'}")
    result = audit(load_pipeline(path, *few))
    assert [stage.stage for stage in result.stages] == ["scores", "selection", "model", "joint"]
    asked = ["lira_best_row", "binary_lira", "lira"]
    found = [stage.headline and stage.headline.attack for stage in result.stages[:3]]
    assert found == asked


@pytest.mark.slow
@pytest.mark.parametrize("path", GALLERY, ids=lambda path: path.stem)
def test_an_example_is_audited_as_it_is_written(path, tmp_path):
    """All but for fewer shadows: every attack, and the files; the controls find nothing."""
    result = audit(load_pipeline(path, "attack.shadows=32", f"run.out={tmp_path / 'run'}"))
    assert result.report["controls"]["passed"]
    assert (tmp_path / "run" / "release" / "report.html").is_file()


ONE_PER_SCORER = {
    tree["curate"]["scorer"]["method"]: file
    for file in GALLERY
    for tree in [yaml.safe_load(file.read_text())]
}


def rules_for(scores: np.ndarray) -> dict[str, dict[str, Any]]:
    """Every rule, as a file states it, such that it suits these scores."""
    low, middle, high = np.quantile(scores[np.isfinite(scores)], [0.25, 0.5, 0.9]).tolist()
    return {
        "greedy": {"k": 40},
        "gumbel_top_k": {"k": 40, "z_scores": True},
        "nonnegative": {},
        "occupied_clusters": {"least": max(high, 1e-6)},
        "pareto": {"alpha": 2.0, "squash": True},
        "per_group": {"by": "parity", "k": 20},
        "range": {"low": low, "high": high},
        "threshold": {"minimum": middle},
        "token_budget": {"budget": 200},
        "top_fraction": {"fraction": 0.1},
        "top_k": {"k": 40},
    }


@pytest.mark.parametrize("method", sorted(ONE_PER_SCORER))
def test_every_curator_runs_with_every_rule(method):
    plan = load_plan(ONE_PER_SCORER[method])
    m = len(plan.data.pool)
    groups = {"parity": tuple("even" if i % 2 == 0 else "odd" for i in range(m))}
    pool = replace(plan.data.pool, groups=groups, sizes=np.arange(m) % 7)
    plan = replace(plan, data=replace(plan.data, pool=pool))
    streams = Streams(1).for_shadows("shadow", range(4))
    inclusion = paired_inclusion(4, plan.data.private.n_candidates, Streams(1))
    scores = score_shadows(plan, inclusion, streams)
    rules = rules_for(scores)
    assert sorted(rules) == sorted(RULES)
    for name, settings in rules.items():
        ruled = replace(plan, rule=build_rule({"rule": name, **settings}))
        curated = select_and_train(ruled, scores, streams)
        assert curated.observation.selection.n_pool == m
        if name not in ("nonnegative", "occupied_clusters"):  # no log probability is
            assert (curated.observation.selection.sizes > 0).all(), name
