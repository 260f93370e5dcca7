"""A job is made once, and every test works on a copy of it."""

import shutil
from pathlib import Path

import pytest

from tests.adapters import job


@pytest.fixture(scope="session")
def finished_job(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("job")
    job.make_job(folder)
    job.make_release(folder)
    return folder


@pytest.fixture(scope="session")
def best_ids(finished_job) -> set[str]:
    return job.best_ids(finished_job)


@pytest.fixture
def job_folder(finished_job, tmp_path) -> Path:
    """A copy that an example may write into."""
    folder = tmp_path / "job"
    shutil.copytree(finished_job, folder)
    return folder
