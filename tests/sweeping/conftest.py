"""A finished sweep, and what quickens the tests of sweeps."""

import functools
import json
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from curation_audit import software, storage
from curation_audit.report import sweep_page
from curation_audit.sweeping import run as running
from curation_audit.sweeping.run import SweepOutcome, run_sweep
from tests.sweeping.world import (
    nothing_drawn,
    planned,
)

Finished: TypeAlias = tuple[Path, SweepOutcome, dict[str, Any]]


def quicken(patched: pytest.MonkeyPatch) -> None:
    """Nothing is drawn, which test_sweep_page.py does, and the code is read once."""
    patched.setattr(sweep_page, "_figures", nothing_drawn)
    patched.setattr(software, "code_digest", CODE)


CODE = functools.cache(storage.code_digest)


@pytest.fixture
def _quickened(monkeypatch):
    quicken(monkeypatch)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Finished:
    """A sweep that nothing disturbed; nobody writes into its folder."""
    return undisturbed(tmp_path_factory)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory) -> Finished:
    """The same at an epsilon of 1 alone."""
    return undisturbed(tmp_path_factory, epsilons=(1.0,))


def undisturbed(tmp_path_factory, **changes: Any) -> Finished:
    out = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("home")))
        quicken(patched)
        outcome = run_sweep(planned(out, **changes))
    return out, outcome, json.loads((out / "release" / "sweep.json").read_text())


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "sweep"


@pytest.fixture
def audited(monkeypatch) -> list[str]:
    """The folders of the audits that run, in order."""
    names: list[str] = []
    run_audit = running.run_audit

    def noted(plan, *rest):
        names.append(plan.run.out.name)
        return run_audit(plan, *rest)

    monkeypatch.setattr(running, "run_audit", noted)
    return names
