"""What the documentation shows works."""

import re
from pathlib import Path

import pytest
import yaml

from curation_audit.attacks import ATTACKS
from curation_audit.config.sections import (
    PipelineSection,
    build_attack,
    build_downstream,
    build_rule,
    build_scorer,
    build_source,
)
from curation_audit.pipelines.downstream import DOWNSTREAM
from curation_audit.pipelines.rules import RULES
from curation_audit.pipelines.scorers import SCORERS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_pipeline_of_the_readme_is_one():
    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    section = PipelineSection.model_validate(yaml.safe_load(block))
    for one in (section.private, section.public, section.test):
        build_source(one.source)
    build_scorer(section.curate.scorer, "cpu")
    build_rule(section.curate.select)
    build_downstream(section.train, "cpu")
    build_attack(section.attack)


@pytest.mark.parametrize("name", sorted([*ATTACKS, *SCORERS, *RULES, *DOWNSTREAM]))
def test_the_readme_names_everything_there_is(name):
    assert f"`{name}`" in README


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_the_design_describes_every_attack(name):
    assert f"`{name}`" in (ROOT / "docs" / "design.md").read_text()
