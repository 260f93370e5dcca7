"""Training health from the command line, beside an audit, its release and its signature."""

import json
import stat

import pytest

from curation_audit.integrity.manifest import sign_run
from curation_audit.integrity.verify import verify_run
from tests.integrity.finished import KEY, PINNED, failures, found
from tests.report.page import Parsed, loads_nothing


@pytest.fixture
def pipeline(small):
    """A few shadows of a curation whose scorer is a regression and whose model descends."""

    def edit(tree):
        tree["attack"] = {"shadows": 8}
        tree["curate"]["scorer"] = {"method": "classifier"}
        tree["train"] = {"model": "mlp", "hidden": [4], "epochs": 3}
        tree["report"] = {"formats": ["html", "markdown", "json"]}

    return small(edit)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def text(path):
    return Parsed(path.read_text()).text


def test_an_audit_with_health_leaves_the_figures_with_their_owner(pipeline, command, tmp_path):
    run = tmp_path / "run"
    code, out, err = command("attack", "--pipeline", pipeline, "--quiet", "--health")
    assert code == 0, err
    private, release = run / "private", run / "release"
    assert sorted(files(private)) == ["health.json", "report.html", "report.md"]
    assert [str(private / "report.html") in one for one in (out, err)] == [False, True]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private.iterdir()} == {0o600}
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    tree = json.loads((private / "health.json").read_text())
    assert [one["of"] for one in tree["spectra"]] == ["shifts of scores", "gradients"]
    assert [one["part"] for one in tree["edges_of_stability"]] == ["model"]
    assert sorted(files(release)) == ["report.html", "report.json", "report.md"]
    assert "Measured, and private." in text(release / "report.html")
    own = (private / "report.html").read_text()
    loads_nothing(own)
    ids = [one["candidate"] for one in tree["vulnerability"]]
    assert any(one in own for one in ids[:10])

    # signed, it stays so whatever is measured and rendered beside it
    sign_run(run, KEY)
    signed = files(release)
    checked = verify_run(run, PINNED)
    assert failures(checked) == set()
    assert found(checked, "report.html") == found(checked, "report.md") == {"ok"}
    code, _, err = command("health", "--pipeline", pipeline, "--shadows", 0)
    assert code == 0, err
    assert err.count("Written, and private") == 3
    assert files(release) == signed
    assert "on no exact shadow" in text(private / "report.html")
    assert failures(verify_run(run, PINNED)) == set()

    # whoever hands on his own report in the place of the other is told, though it is signed
    for name in ("report.html", "report.md"):
        (release / name).write_bytes((private / name).read_bytes())
    sign_run(run, KEY)
    assert failures(verify_run(run, PINNED)) == {"report.html", "report.md"}

    # how hard it is attacked is no other training; another seed is
    harder = ("--set", "attack.shadows=10", "--quiet")
    assert command("attack", "--pipeline", pipeline, *harder)[0] == 0
    assert sorted(files(private)) == ["health.json", "report.html", "report.md"]
    assert "Measured, and private." in text(release / "report.html")
    assert command("attack", "--pipeline", pipeline, "--seed", 6, "--quiet")[0] == 0
    assert sorted(files(private)) == ["health.json"]  # of the audit before
    assert "Not measured. Spectra" in text(release / "report.html")
    code, _, err = command("report", run)
    assert code == 0
    assert "of another pipeline, seed or data" in err


def test_health_of_another_pipeline_than_the_audit_is_kept_and_not_rendered(
    pipeline, command, tmp_path
):
    assert command("attack", "--pipeline", pipeline, "--quiet")[0] == 0
    other = ("--set", "curate.select.k=30", "--shadows", 0)
    code, _, err = command("health", "--pipeline", pipeline, *other)
    assert code == 0
    assert "Not rendered: " in err
    assert sorted(files(tmp_path / "run" / "private")) == ["health.json"]
    assert "Not measured. Spectra" in text(tmp_path / "run" / "release" / "report.html")


def test_where_the_release_is_gone_no_earlier_report_stands_beside_new_figures(
    pipeline, command, tmp_path
):
    private = tmp_path / "run" / "private"
    private.mkdir(parents=True)
    (private / "report.html").write_text("of an earlier audit")
    assert command("health", "--pipeline", pipeline, "--shadows", 0)[0] == 0
    assert sorted(files(private)) == ["health.json"]
