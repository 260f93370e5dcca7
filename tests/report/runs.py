"""Run folders on disk, made of the sample report."""

import json

import numpy as np

from curation_audit.report.numbers import headline_numbers
from curation_audit.storage import pack_arrays
from tests.report.sample import sample_report, sample_run

HOSTILE = "<script>alert(1)</script>\"'&$x^{ [a](b) ![c](d) `e` *f* _g_ | # h"


def run_folder(folder, report=None, *, evidence=True):
    """A finished run; its evidence is of the attacks that ran, over 6 shadows of 5 candidates."""
    report = sample_report() if report is None else report
    (folder / "release").mkdir(parents=True)
    (folder / "release" / "report.json").write_text(json.dumps(report))
    (folder / "run.json").write_text(json.dumps(sample_run()))
    if evidence:
        (folder / "evidence.npz").write_bytes(pack_arrays(arrays_of(report)))
    return folder


def arrays_of(report, n_shadows=6, n=5):
    rng = np.random.default_rng(8)
    half = rng.random((n_shadows // 2, n)) < 0.5
    inclusion = np.stack([half, ~half], axis=1).reshape(n_shadows, n)
    ran = [
        attack["attack"]
        for stage in report["stages"]
        for attack in stage["attacks"]
        if attack["status"] == "run"
    ]
    return {
        "inclusion": inclusion,
        "candidate": np.array([f"{i:016x}" for i in range(n)]),
        **{f"evidence_{name}": rng.standard_normal((n_shadows, n)) for name in ran},
    }


def hostile_report():
    """A report whose names and free texts are markup."""
    report = sample_report()
    report["name"] = report["design"]["unit"] = report["design"]["scorer"] = HOSTILE
    report["verdict"]["text"] = HOSTILE
    report["warnings"] = [HOSTILE, f"1. {HOSTILE}", f"- {HOSTILE}", "https://evil.example/x"]
    report["configuration"] = {"folder": HOSTILE, HOSTILE: 1}
    report["context"]["purpose"] = HOSTILE
    report["protection"]["mechanism"] = report["protection"]["unit"] = HOSTILE
    for stage in report["stages"]:
        stage["headline"]["attack"] = stage["attacks"][0]["attack"] = HOSTILE
        stage["headline"]["chosen_by"] = HOSTILE
        if stage["headline"]["subgroups"]:
            stage["headline"]["subgroups"]["slices"][0]["group"] = HOSTILE
    report["numbers"] = headline_numbers(report)
    return report
