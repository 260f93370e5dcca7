"""What the documentation shows works."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
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
from curation_audit.dp.budget_ledger import Budget, BudgetLedger
from curation_audit.pipelines.downstream import DOWNSTREAM
from curation_audit.pipelines.protection import MECHANISMS
from curation_audit.pipelines.rules import RULES
from curation_audit.pipelines.scorers import SCORERS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DROP_IN = (ROOT / "docs" / "drop-in.md").read_text()
FORECAST = (ROOT / "docs" / "forecast.md").read_text()


def test_the_pipeline_of_the_readme_is_one():
    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    section = PipelineSection.model_validate(yaml.safe_load(block))
    for one in (section.private, section.public, section.test):
        build_source(one.source)
    build_scorer(section.curate.scorer, "cpu")
    build_rule(section.curate.select)
    build_downstream(section.train, "cpu")
    build_attack(section.attack)


@pytest.mark.parametrize("name", sorted([*ATTACKS, *SCORERS, *RULES, *DOWNSTREAM, *MECHANISMS]))
def test_the_readme_names_everything_there_is(name):
    assert f"`{name}`" in README


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_the_design_describes_every_attack(name):
    assert f"`{name}`" in (ROOT / "docs" / "design.md").read_text()


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, rng):
    """All blocks, as they stand, on data and files that the reader is told to have."""
    in_a_job, from_file, from_frames = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "curation_audit" / "pipelines" / "med.yaml").read_text()
    (tmp_path / "med.yaml").write_text(text.replace("shadows: 128", "shadows: 8"))
    exec(from_file, {})

    def frame(n: int) -> pd.DataFrame:
        x = rng.standard_normal((n, 3))
        return pd.DataFrame(x, columns=list("abc")).assign(
            diagnosis=np.where(x[:, 0] > 0, "x", "y")
        )

    names = {
        "patients": frame(40).assign(patient_id=np.arange(40) // 2),
        "pool": frame(200),
        "held_out": frame(50),
    }
    exec(from_frames, names)
    assert names["result"].report["design"]["n_candidates"] == 20
    names = in_a_data_job(tmp_path, rng)
    exec(in_a_job, names)
    assert len(names["picked"].read_all()) == 4_000


def test_the_python_of_the_drop_in_page_runs(tmp_path, monkeypatch, rng):
    (block,) = re.findall(r"```python\n(.*?)```", DROP_IN, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = in_a_data_job(tmp_path, rng)
    exec(block, names | {"table": names["pool"], "pool_sample": names["public_sample"]}, names)
    assert len(names["kept"]) == 4_000


def test_the_python_of_the_forecast_page_runs(monkeypatch, capsys):
    (block,) = re.findall(r"```python\n(.*?)```", FORECAST, re.DOTALL)
    monkeypatch.chdir(ROOT)
    exec(block, {})
    assert capsys.readouterr().out.startswith("prediction, checked on exact shadows")


def test_the_drop_in_page_names_every_adapter_and_example():
    modules = (ROOT / "curation_audit" / "adapters").glob("[!_]*.py")
    assert all(f"adapters.{path.stem}`" in DROP_IN for path in modules)
    assert all(f"{path.name}" in DROP_IN for path in (ROOT / "docs" / "examples").glob("*.py"))


def in_a_data_job(folder: Path, rng: np.random.Generator) -> dict[str, object]:
    """Tables of vectors in a column ``emb``, and a budget."""

    def table(n: int) -> pa.Table:
        return pa.table({"emb": list(rng.normal(size=(n, 3)).astype(np.float32))})

    budget = Budget("patient", "zero_out", 4.0, 1e-5)
    BudgetLedger.create(folder / "hospital.ledger", budget)
    uid = pa.array([f"u{i}" for i in range(5_000)])
    return {
        "private": table(200).append_column("patient", pa.array(np.arange(200) // 2)),
        "public_sample": table(300),
        "pool": table(5_000).append_column("uid", uid),
    }
