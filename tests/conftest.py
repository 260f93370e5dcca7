"""What all tests share: a private place for keys, and a small pipeline on disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import settings

# the same cases every time: a red build is a change, never luck; explore with --hypothesis-seed
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _own_data_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """Id keys go to a folder of the test, never to the user's."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data-home")))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261122)


@pytest.fixture
def tables() -> dict[str, dict[str, Any]]:
    """Three sets under names and types that no example uses; a patient has two visits."""
    rng = np.random.default_rng(0)

    def rows(n: int, shift: float) -> dict[str, Any]:
        x = rng.standard_normal((n, 6)) + shift * np.array([1, 0, 1, 0, 1, 0])
        label = np.where(x[:, 0] + x[:, 1] + rng.standard_normal(n) > shift / 2, "ja", "nein")
        return {
            "Blutwert α": x[:, 0].astype(np.float16),
            "Puls": np.round(x[:, 1] * 100).astype(np.int16),
            "raucht": x[:, 2] > 0.5,
            "Vektor": x[:, 3:].astype(np.float64).tolist(),
            "Befund": label,
        }

    private, pool, test = rows(60, 0.8), rows(300, 0.0), rows(80, 0.8)
    private |= {"Besuch": [f"B{i}" for i in range(60)], "Pat.Nr": 1000 + np.arange(60) // 2}
    pool |= {"Satz": np.arange(300)}
    test |= {"Satz": np.arange(80)}
    return {"private": private, "public": pool, "test": test}


@pytest.fixture
def small(tmp_path: Path, tables: dict[str, dict[str, Any]]) -> Callable[..., Path]:
    """Write a small pipeline to disk; ``small(edit=..., tables=...)`` changes it first."""

    def write(
        edit: Callable[[dict[str, Any]], None] | None = None,
        tables: dict[str, dict[str, Any]] = tables,
        text: str | None = None,
    ) -> Path:
        for name, columns in tables.items():
            pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
        tree = {
            "version": 1,
            "name": "small",
            "seed": 5,
            "private": {
                "source": {"kind": "parquet", "path": "private.parquet"},
                "columns": {"id": "Besuch", "embedding": "Vektor", "label": "Befund"},
                "unit": "Pat.Nr",
            },
            "public": {
                "source": {"kind": "parquet", "path": "public.parquet"},
                "columns": {"id": "Satz", "embedding": "Vektor", "label": "Befund"},
            },
            "test": {
                "source": {"kind": "parquet", "path": "test.parquet"},
                "columns": {"id": "Satz", "embedding": "Vektor", "label": "Befund"},
            },
            "curate": {"scorer": {"method": "mean"}, "select": {"rule": "top_k", "k": 40}},
            "train": {"model": "logistic"},
            "attack": {"shadows": 16},
            "run": {"out": str(tmp_path / "run")},
        }
        if edit:
            edit(tree)
        path = tmp_path / "small.yaml"
        path.write_text(text or yaml.safe_dump(tree, allow_unicode=True, sort_keys=False))
        return path

    return write


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Run the command line in this process: (exit code, standard output, standard error)."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        from curation_audit.cli import main

        monkeypatch.setattr("sys.argv", ["curation-audit", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "160")  # the same lines wherever the tests run
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capfd.readouterr()
        return int(stop.value.code or 0), out, err

    return run
