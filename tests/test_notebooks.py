"""The notebooks run from a clean kernel, are committed without outputs, and draw something."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECONDS = 240  # a minute on an idle core is meant
IDS = [path.stem for path in NOTEBOOKS]


def read(path: Path) -> nbformat.NotebookNode:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def source(notebook: nbformat.NotebookNode, kind: str) -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == kind)


def test_there_are_four_and_the_readme_names_them():
    text = (ROOT / "notebooks" / "README.md").read_text()
    assert len(NOTEBOOKS) == 4
    assert all(f"]({path.name})" in text for path in NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_a_notebook_is_committed_without_outputs(path):
    notebook = read(path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
    ast.parse(source(notebook, "code"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_links_of_a_notebook_lead_somewhere(path):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", source(read(path), "markdown"))
    assert links
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.notebooks
@pytest.mark.filterwarnings("default")  # of the client; the kernel has its own
@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_a_notebook_runs_from_a_clean_kernel(path, tmp_path, monkeypatch):
    from nbclient import NotebookClient

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))  # no settings of the user
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    notebook = read(path)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources=resources).execute()
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", [])]
    assert any("image/png" in one.get("data", {}) for one in outputs), "no plot"
    assert not [one.text for one in outputs if one.get("name") == "stderr"]
    assert list(folder.iterdir()) == []  # nothing is left where it ran
