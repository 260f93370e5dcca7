"""A finished run, made once, and copies of it for every test."""

import pytest

from curation_audit.integrity.manifest import sign_run
from tests.integrity.finished import KEY, copied, make_run


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    make_run(folder / "run", private=False, key=folder / "id.key")
    return folder / "run"


@pytest.fixture(scope="session")
def made_private(tmp_path_factory):
    folder = tmp_path_factory.mktemp("private")
    make_run(folder / "run", private=True, key=folder / "id.key")
    return folder / "run"


@pytest.fixture
def run(made, tmp_path):
    """Without the page, which takes a second to draw again."""
    return copied(made, tmp_path, "report.html")


@pytest.fixture
def private_run(made_private, tmp_path):
    return copied(made_private, tmp_path, "report.html")


@pytest.fixture
def signed(run):
    sign_run(run, KEY)
    return run


@pytest.fixture
def light(made, tmp_path):
    """A signed release with all files and without its evidence: nothing is judged again."""
    run = copied(made, tmp_path)
    (run / "evidence.npz").unlink()
    sign_run(run, KEY)
    return run
