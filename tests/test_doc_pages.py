"""The pages of the documentation: links lead somewhere, settings are accepted, numbers right."""

import re
from pathlib import Path

import pytest
import yaml
from scipy.special import ndtr

from curation_audit.auditing.plan import Threat
from curation_audit.config.sections import build_threat
from curation_audit.statistics.gdp import mu_of_epsilon

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    path
    for pattern in (
        "*.md",
        "docs/*.md",
        "docs/reports/README.md",
        "datasets/*.md",
        "notebooks/*.md",
    )
    for path in sorted(ROOT.glob(pattern))
]
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCED = re.compile(r"```.*?```", re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What a heading is linked by: in small letters, without punctuation, with hyphens."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page):
    for link in LINK.findall(FENCED.sub("", page.read_text())):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_index_names_every_page():
    linked = set(LINK.findall((DOCS / "README.md").read_text()))
    assert {page.name for page in DOCS.glob("*.md")} - {"README.md"} <= linked


def test_the_threat_models_are_accepted_and_differ():
    text = (DOCS / "threat-models.md").read_text()
    (first,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    others = re.findall(r"^    (threat: .*)$", text, re.MULTILINE)
    built = [build_threat(yaml.safe_load(one)["threat"]) for one in (first, *others)]
    assert set(built[0].knows) == set(Threat().knows)
    assert built[0].observes == Threat().observes
    assert len(built) == 6
    assert len({repr(one) for one in built}) == 6


@pytest.mark.parametrize("name", sorted(Threat.__dataclass_fields__))
def test_the_page_of_threat_models_names_every_setting(name):
    assert f"`{name}" in (DOCS / "threat-models.md").read_text() or name == "decimals"


@pytest.mark.parametrize(("epsilon", "auc"), [(1.0, ".575"), (8.0, ".881")])
def test_the_ceilings_that_pages_name_are_those_of_a_gaussian(epsilon, auc):
    """AUC is Phi(mu / sqrt 2) for mu-GDP (Dong, Roth & Su 2022)."""
    assert f"{ndtr(mu_of_epsilon(epsilon, 1e-5) / 2**0.5):.3f}"[1:] == auc
    assert auc in (DOCS / "faq.md").read_text()
