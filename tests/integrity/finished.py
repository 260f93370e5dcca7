"""A small finished run, private or not, made once and copied for every test."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from curation_audit import AttackSettings, Pipeline, PolicyRule, RunSettings, Threat
from curation_audit.auditing.engine import run_audit
from curation_audit.auditing.release import render_again
from curation_audit.dp.event_codec import encoded
from curation_audit.dp.events import Gaussian
from curation_audit.dp.ledger import Ledger, guarantee_of
from curation_audit.integrity.attestation import ATTESTATION, OF_RELEASE, attest
from curation_audit.integrity.picks import Picked
from curation_audit.pipelines.protection.base import Budget
from curation_audit.pipelines.protection.gaussian_mean import GaussianMean
from curation_audit.pipelines.protection.protect import ProtectSettings
from curation_audit.pipelines.rules.top import TopK
from curation_audit.pipelines.scorers.mean import Mean
from curation_audit.releases.public_maps import MeanMap
from curation_audit.releases.release import Release
from curation_audit.version import __version__

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
PINNED = KEY.public_key()
METHODS = {"scores": ("trace", "matched_filter"), "selection": ("mask_trace",), "joint": ()}


def make_run(out: Path, *, private: bool, key: Path) -> None:
    """Few candidates in few shadows: every part of a report is there, and it takes seconds."""
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((24, 8))
    pipeline = Pipeline(
        name="small",
        private=rows / np.linalg.norm(rows, axis=1, keepdims=True),
        public=rng.standard_normal((80, 8)),
        scorer=Mean(metric="inner_product"),
        select=TopK(k=10),
        train=None,
        standardise="none",
        seed=11,
        run=RunSettings(out=out, dtype="float64", device="cpu", id_key=key),
        attack=AttackSettings(shadows=32, fpr=(0.1,), confidence=0.9, methods=METHODS),
        threat=Threat(observes=("scores", "selection")),
        policy=(PolicyRule(stage="scores", metric="auc", above=0.4),),
        protect=ProtectSettings(
            mechanism="gaussian_mean",
            budget=Budget(epsilon=20.0, delta=1e-5),
            adjacency="zero_out",
            scorer=GaussianMean(clip=1.0, metric="inner_product"),
        )
        if private
        else None,
    )
    run_audit(dataclasses.replace(pipeline.plan(), n_claims=3 if private else 1), None)
    render_again(out, ["html", "markdown", "card"])


def report_of(run: Path):
    return json.loads((run / "release" / "report.json").read_text())


def write_report(run: Path, report) -> None:
    (run / "release" / "report.json").write_text(json.dumps(report))


def copied(made: Path, folder: Path, *without: str) -> Path:
    """A copy of a run, without its cache and some files of the release."""
    shutil.copytree(made, folder / "run", ignore=shutil.ignore_patterns("cache", *without))
    return folder / "run"


def edited(run: Path, change) -> None:
    """Change the report; its renderings as text are removed, as they would tell."""
    report = report_of(run)
    change(report)
    write_report(run, report)
    for path in (run / "release").glob("*.md"):
        path.unlink()


def failures(checked) -> set[str]:
    return {one.check for one in checked.failures}


def found(checked, check) -> set[str]:
    return {one.status for one in checked.findings if one.check == check}


def release_facts(**changes):
    """What a release's card says of a mean under Gaussian noise."""
    events = (Gaussian(mu=1.0, what="mean"),)
    return {
        "tool": f"curation-audit {__version__}", "mechanism": "gaussian_mean", "delta": 1e-5,
        "epsilon": guarantee_of(events, "add_remove").epsilon_at(1e-5), "unit": "row",
        "adjacency": "add_remove", "coded_events": [encoded(one) for one in events],
        "events": list(Ledger("add_remove", "row", events).lines(1e-5)), "noise_tier": "hardened",
    } | changes  # fmt: skip


def make_release(facts) -> Release:
    return Release(
        map=MeanMap("inner_product"), weights=np.ones(3), facts=facts, shift=np.zeros(3),
        scale=np.ones(3),
    )  # fmt: skip


def put_picks(folder: Path, opening: Path, key=KEY) -> Release:
    """A release and its attestation, as ``curate`` writes them."""
    facts = release_facts()
    release = make_release(facts)
    release.save(folder / "release.npz")
    said = {"fingerprint": release.fingerprint} | {name: facts[name] for name in OF_RELEASE}
    picked, rule = Picked.of(["a", "b"], [2.0, 1.0]), {"name": "top_k", "k": 2}
    about = {"release": said, "rule": rule, "seed": 0, "pool": None}
    attest(picked, about, folder / ATTESTATION, opening, key)
    return release
