"""The pages that are made from the code are up to date, and name everything there is."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from curation_audit.attacks import ATTACKS
from curation_audit.pipelines.protection import MECHANISMS
from curation_audit.pipelines.rules import RULES
from curation_audit.pipelines.scorers import SCORERS

DOCS = Path(__file__).parents[1] / "docs"


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_docs", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATE = generator()


@pytest.mark.parametrize("name", ["attacks.md", "commands.md"])
def test_a_generated_page_is_up_to_date(name):
    assert (DOCS / name).read_text() == GENERATE.pages()[DOCS / name], "run 'make docs'"


def test_the_page_of_attacks_has_a_line_for_each_with_its_source():
    lines = (DOCS / "attacks.md").read_text().splitlines()
    for name, attack in ATTACKS.items():
        (line,) = (one for one in lines if one.startswith(f"| `{name}` |"))
        assert attack.title in line
        assert all(need in line for need in attack.needs)


def test_every_need_of_an_attack_is_explained_or_the_page_is_not_made(monkeypatch):
    GENERATE.check_complete()
    monkeypatch.delitem(GENERATE.GRANTED_BY, "pool")
    with pytest.raises(ValueError, match=r"explain \['pool'\]"):
        GENERATE.check_complete()


@pytest.mark.parametrize(
    ("page", "names"), [("curators.md", (*SCORERS, *RULES)), ("mechanisms.md", tuple(MECHANISMS))]
)
def test_a_page_has_a_row_for_everything_in_its_registry(page, names):
    rows = [line for line in (DOCS / page).read_text().splitlines() if line.startswith("| `")]
    named = " ".join(line.split(" | ")[0] for line in rows)
    assert [name for name in names if f"`{name}`" not in named] == []
