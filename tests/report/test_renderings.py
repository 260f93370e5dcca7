"""The contract of every rendering in the registry."""

import io
import stat
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from curation_audit.checks import InputError
from curation_audit.report.renderings import (
    RENDERINGS,
    check_formats,
    finished_run,
    write_renderings,
)
from tests.report.runs import run_folder
from tests.report.sample import sample_report, sparse_report

EVERY = ",".join(RENDERINGS)


def available(name):
    """Skip where a rendering's extra is not installed."""
    if RENDERINGS[name].needs:
        pytest.importorskip(RENDERINGS[name].needs)


@pytest.mark.parametrize("name", RENDERINGS)
@pytest.mark.parametrize("report", [sample_report, sparse_report])
def test_rendering_is_the_same_every_time_and_changes_nothing_else(tmp_path, name, report):
    available(name)
    folder = run_folder(tmp_path / "run", report())
    before = contents(folder)
    (path,) = write_renderings(finished_run(folder), [name])
    assert path == folder / RENDERINGS[name].place
    content = path.read_bytes()
    assert len(content) > 500
    assert {where: what for where, what in contents(folder).items() if where != path} == {
        where: what for where, what in before.items() if where != path
    }
    write_renderings(finished_run(folder), [name])
    assert path.read_bytes() == content


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_tells_of_single_candidates_stays_out_of_the_release_folder(tmp_path):
    folder = run_folder(tmp_path / "run")
    write_renderings(finished_run(folder), ["parquet"])
    assert RENDERINGS["parquet"].place == "evidence.parquet"
    assert stat.S_IMODE((folder / "evidence.parquet").stat().st_mode) == 0o600
    assert [path.name for path in (folder / "release").iterdir()] == ["report.json"]


def test_every_format_comes_from_the_command_line(tmp_path, command):
    for name in RENDERINGS:
        available(name)
    folder = run_folder(tmp_path / "run")
    code, out, err = command("report", folder, "--format", EVERY.replace(",", ", "))
    assert code == 0, err
    assert out.split() == [str(folder / one.place) for one in RENDERINGS.values()]
    assert all((folder / one.place).stat().st_size for one in RENDERINGS.values())
    assert command("report", folder)[1].split() == [str(folder / "release" / "report.html")]


@pytest.mark.parametrize("formats", ["markdwon", "html,markdwon", "html,"])
def test_unknown_format_is_told_with_a_near_one(tmp_path, command, formats):
    code, _, err = command("report", run_folder(tmp_path / "run"), "--format", formats)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "did you mean 'markdown'" in err or "expected one of card, html" in err


def test_missing_extra_is_told_in_one_line(tmp_path, command, monkeypatch, small):
    monkeypatch.setitem(sys.modules, "fpdf", None)
    folder = run_folder(tmp_path / "finished")
    code, _, err = command("report", folder, "--format", "html,pdf")
    assert code == 2
    assert "pip install 'curation-audit[pdf]'" in err
    assert len(err.splitlines()) == 1
    assert not (folder / "release" / "report.html").exists()  # nothing was begun
    pipeline = small(lambda tree: tree.update(report={"formats": ["pdf"]}))
    code, _, err = command("validate", "--pipeline", pipeline)
    assert code == 2
    assert "small.yaml" in err
    assert "curation-audit[pdf]" in err


def test_pipeline_file_takes_the_same_names(command, small):
    pipeline = small(lambda tree: tree.update(report={"formats": ["markdwon"]}))
    code, _, err = command("validate", "--pipeline", pipeline)
    assert code == 2
    assert "report.formats" in err
    assert "did you mean 'markdown'?" in err
    with pytest.raises(InputError):
        check_formats("report.formats", ["jsn"])


def test_editors_are_told_the_names(command):
    assert f'"{next(iter(RENDERINGS))}"' in command("schema")[1]
    assert '"parquet"' in command("schema")[1]


# privacy

PLANTED = "kanarienvogel"


def planted(tables):
    """Row ids, unit ids, and free text in a column that no setting names."""
    private = tables["private"]
    n = len(private["Besuch"])
    private["Besuch"] = [f"{PLANTED}-row-{i}" for i in range(n)]
    private["Pat.Nr"] = [f"{PLANTED}-unit-{i // 2}" for i in range(n)]
    private["Notiz"] = [f"{PLANTED}-note-{i}" for i in range(n)]
    return tables


def told(path: Path) -> bytes:
    """What a file says, however it is packed."""
    content = path.read_bytes()
    if path.suffix == ".pdf":
        pypdf = pytest.importorskip("pypdf")
        pages = pypdf.PdfReader(io.BytesIO(content)).pages
        return content + "".join(page.extract_text() for page in pages).encode()
    if path.suffix == ".parquet":
        return content + str(pq.read_table(path).to_pylist()).encode()
    return content


def test_no_rendering_tells_a_row_a_unit_a_note_or_a_folder(command, small, tables, tmp_path):
    for name in RENDERINGS:
        available(name)
    secret = tmp_path / f"{PLANTED}-folder"

    def edit(tree):
        tree["report"] = {"formats": [*RENDERINGS]}
        tree["private"]["source"]["path"] = str(secret / "private.parquet")
        tree["attack"] = {"shadows": 8}

    pipeline = small(edit, planted(tables))
    secret.mkdir()
    (tmp_path / "private.parquet").rename(secret / "private.parquet")
    code, _, err = command("attack", "--pipeline", pipeline, "--quiet")
    assert code == 0, err
    run = tmp_path / "run"
    written = [run / one.place for one in RENDERINGS.values()]
    assert all(path.stat().st_size for path in written)
    assert command("report", "--compare", run, run, "--out", tmp_path / "both.html")[0] == 0
    texts = {path.name: told(path) for path in [*written, tmp_path / "both.html", run / "run.json"]}
    assert PLANTED.encode() in told(secret / "private.parquet")  # this search does find
    assert b"scores" in texts["report.pdf"]
    assert b"mask_" in texts["evidence.parquet"]
    assert [name for name, text in texts.items() if PLANTED.encode() in text.lower()] == []

    # a rendering of an earlier audit would tell of another one
    again = (*("--set", "report.formats=[json]"), "--quiet", "--seed", "6")
    assert command("attack", "--pipeline", pipeline, *again)[0] == 0
    assert [path.name for path in written if path.exists()] == ["report.json"]
