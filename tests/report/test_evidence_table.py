import stat

import numpy as np
import pyarrow.parquet as pq
import pytest

from curation_audit.checks import InputError
from curation_audit.report import evidence_table
from curation_audit.report.evidence_table import write_evidence
from curation_audit.storage import pack_arrays
from tests.report.runs import arrays_of, run_folder
from tests.report.sample import sample_report

COLUMNS = ["stage", "attack", "shadow", "candidate", "evidence", "member"]


def test_table_is_the_evidence_one_row_a_candidate_and_shadow(tmp_path):
    report, target = sample_report(), tmp_path / "table.parquet"
    write_evidence(run_folder(tmp_path / "run"), report, target)
    table, arrays = pq.read_table(target), arrays_of(report)
    assert table.column_names == COLUMNS
    rows = table.to_pylist()
    names = [name for name in arrays if name.startswith("evidence_")]
    assert len(rows) == len(names) * arrays["inclusion"].size
    where = {str(name): i for i, name in enumerate(arrays["candidate"])}
    for row in rows:
        at = row["shadow"], where[row["candidate"]]
        assert row["evidence"] == arrays[f"evidence_{row['attack']}"][at]
        assert row["member"] == arrays["inclusion"][at]
    stages = {row["attack"]: row["stage"] for row in rows}
    assert stages["mask_trace"] == "selection"
    assert stages["stacked"] == "joint"


def test_evidence_that_an_attack_left_column_by_column_is_the_same(tmp_path):
    report = sample_report()
    folder = run_folder(tmp_path / "run")
    write_evidence(folder, report, tmp_path / "by_row.parquet")
    arrays = {name: np.asfortranarray(one) for name, one in arrays_of(report).items()}
    (folder / "evidence.npz").write_bytes(pack_arrays(arrays))
    write_evidence(folder, report, tmp_path / "by_column.parquet")
    by_row, by_column = (tmp_path / f"by_{how}.parquet" for how in ("row", "column"))
    assert by_column.read_bytes() == by_row.read_bytes()


def test_only_the_owner_may_read_it(tmp_path):
    target = tmp_path / "table.parquet"
    write_evidence(run_folder(tmp_path / "run"), sample_report(), target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.parametrize("rows", [1, 7, 10, 1000])
def test_row_groups_hold_whole_shadows_and_change_no_value(tmp_path, monkeypatch, rows):
    folder = run_folder(tmp_path / "run")
    write_evidence(folder, sample_report(), tmp_path / "whole.parquet")
    monkeypatch.setattr(evidence_table, "ROWS", rows)
    write_evidence(folder, sample_report(), tmp_path / "parts.parquet")
    parts = pq.ParquetFile(tmp_path / "parts.parquet")
    assert parts.read().to_pylist() == pq.read_table(tmp_path / "whole.parquet").to_pylist()
    sizes = {parts.metadata.row_group(i).num_rows for i in range(parts.num_row_groups)}
    assert all(size % 5 == 0 for size in sizes)  # 5 candidates
    assert max(sizes) <= max(rows, 5)
    parts.close()


def test_same_evidence_gives_the_same_bytes(tmp_path):
    folder = run_folder(tmp_path / "run")
    for name in ("a", "b"):
        write_evidence(folder, sample_report(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def broken(change):
    arrays = arrays_of(sample_report())
    change(arrays)
    return pack_arrays(arrays)


@pytest.mark.parametrize(
    "payload",
    [
        b"no archive",
        broken(lambda arrays: arrays.pop("inclusion")),
        broken(lambda arrays: arrays.update(evidence_lira=np.zeros((6, 4)))),
        broken(lambda arrays: arrays.update(evidence_lira=np.zeros((6, 5), np.float32))),
        broken(lambda arrays: arrays.update(evidence_other=np.zeros((6, 5)))),
    ],
)
def test_broken_evidence_is_refused_and_leaves_nothing(tmp_path, payload):
    folder = run_folder(tmp_path / "run", evidence=False)
    (folder / "evidence.npz").write_bytes(payload)
    with pytest.raises(InputError, match="no evidence of an audit"):
        write_evidence(folder, sample_report(), folder / "evidence.parquet")
    assert sorted(p.name for p in folder.iterdir()) == ["evidence.npz", "release", "run.json"]


def test_release_folder_alone_has_no_evidence(tmp_path):
    folder = run_folder(tmp_path / "run", evidence=False)
    with pytest.raises(InputError, match=r"found no evidence\.npz"):
        write_evidence(folder, sample_report(), folder / "evidence.parquet")
    assert not list(folder.glob("evidence*"))
