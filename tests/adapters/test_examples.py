"""The examples are short, tested, and do what a reader of them expects."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from curation_audit import Release
from tests.adapters import job

EXAMPLES = sorted(job.EXAMPLES.glob("*.py"))
MOST_LINES = 15
TOOLS = ("dask", "datasets", "datatrove", "pandas", "pyarrow")


def test_there_is_an_example_for_every_tool():
    assert {path.stem for path in EXAMPLES} >= {
        "fit",
        "with_arrow",
        "with_dask",
        "with_datasets",
        "with_datasets_streaming",
        "with_datatrove",
        "with_pandas",
    }


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short_and_tested(path):
    assert len([line for line in path.read_text().splitlines() if line.strip()]) <= MOST_LINES
    tests = [other.read_text() for other in Path(__file__).parent.glob("test_*.py")]
    assert any(f'"{path.name}"' in text for text in tests)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_hides_no_package(path):
    # python puts the script's folder first: examples/datasets.py would be imported as datasets
    assert importlib.util.find_spec(path.stem) is None


def test_fitting_is_paid_for_once(tmp_path):
    job.make_job(tmp_path)
    assert job.bookings(tmp_path) == 0
    job.run_example("fit.py", tmp_path)
    first = (tmp_path / "release.npz").read_bytes()
    assert job.bookings(tmp_path) == 1
    job.run_example("fit.py", tmp_path)
    assert (tmp_path / "release.npz").read_bytes() == first
    assert job.bookings(tmp_path) == 1
    release = Release.load(tmp_path / "release.npz")
    assert release.columns == ("emb",)
    assert release.card()["epsilon"] <= 1


def test_the_core_imports_none_of_the_tools():
    code = (
        "import sys, curation_audit, curation_audit.adapters\n"
        "from curation_audit import Cut, Release, TopK, select\n"
        f"print([name for name in {TOOLS} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("adapter", "own"),
    [
        ("arrow", {"pyarrow"}),
        ("dask", {"dask", "pandas", "pyarrow"}),
        ("datatrove", {"datatrove", "pandas", "pyarrow"}),  # datatrove.data imports the others
        ("huggingface", {"datasets", "pandas", "pyarrow", "dask"}),
    ],
)
def test_an_adapter_imports_its_own_tool_only(adapter, own):
    pytest.importorskip(adapter.replace("huggingface", "datasets").replace("arrow", "pyarrow"))
    code = (
        f"import sys, curation_audit.adapters.{adapter}\n"
        f"print(*[name for name in {(*TOOLS, 'torch')} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= own
