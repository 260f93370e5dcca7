"""A finished audit, judged again from its evidence by the functions that judged it.

The coins follow from the seed, everything else from the evidence; models and data are not needed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from curation_audit.attacks import ATTACKS
from curation_audit.auditing.bounding import judge_bounds, judge_claim
from curation_audit.auditing.evidence import AttackEvidence, Game, n_fit_pairs
from curation_audit.auditing.judge import (
    CONTROLS_LEVEL,
    judge_controls,
    judge_policy,
    judge_stage,
    verdict,
)
from curation_audit.auditing.plan import AttackSettings, PolicyRule, Threat
from curation_audit.auditing.release import EVIDENCE_KINDS
from curation_audit.dp.claims import Claim
from curation_audit.game import paired_inclusion, permute_pairs
from curation_audit.integrity.findings import Finding, compared, failed, passed, short, unchecked
from curation_audit.integrity.report_claim import claim_of, curation_claim_of
from curation_audit.observations import Stage
from curation_audit.results import Adjacency, StageResult, to_plain
from curation_audit.streams import Streams
from curation_audit.training.device import one_thread

RULE: Final = ("stage", "metric", "bound", "above")
WORDS: Final = ("title", "source", "needs", "reason")
"""What says what an attack is: versions of the tool word it differently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """The game that the shadows played."""

    adjacency: Adjacency


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTerms:
    """``Terms`` of a finished report; there is no data."""

    seed: int
    attack: AttackSettings
    threat: Threat
    stages: tuple[Stage, ...]
    policy: tuple[PolicyRule, ...]
    claim: Claim | None
    n_claims: int
    scorer: Played
    curation_claim: Claim | None = None
    data: None = field(default=None)

    @property
    def adjacency(self) -> Adjacency:
        """The game that a coin plays."""
        return self.scorer.adjacency

    def claim_at(self, stage: Stage) -> Claim | None:
        """As ``AuditPlan.claim_at``: before a fine-tuned model the curation's own."""
        sees_model = stage == "model" or (stage == "joint" and "model" in self.stages)
        return self.claim if sees_model or self.curation_claim is None else self.curation_claim


def recompute(report: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Iterator[Finding]:
    """Everything in a report that follows from the evidence, computed again and compared."""
    if "blind" not in arrays or "n_claims" not in arrays:
        hint = "give the 'attack' command again, which takes its chunks from the cache"
        yield unchecked("numbers", f"this run kept too little evidence; {hint}")
        return
    terms, names = terms_of(report, int(arrays["n_claims"])), _attacks_run(report)
    unknown = sorted({name for name, _ in names} - ATTACKS.keys())
    if unknown:
        yield unchecked("numbers", f"this version has no attack {', '.join(unknown)}")
        return
    shape = (terms.attack.shadows, report["design"]["n_candidates"])
    if arrays["inclusion"].shape != shape:  # before coins are drawn for whatever it says
        yield failed("coins", f"{short(list(shape))} shadows and candidates are not the evidence's")
        return
    drawn = _coins(report, terms)
    if not np.array_equal(drawn, arrays["inclusion"]):
        yield failed("coins", "who was in which shadow does not follow from the seed")
        return
    yield from _left_out(arrays, names)
    yield from _settings(report, terms)
    yield passed("coins", f"{drawn.shape[0]} shadows of {drawn.shape[1]} candidates, by the seed")
    with one_thread():
        yield from _judged_again(report, arrays, terms, _game(drawn, arrays, terms), names)


def _left_out(
    arrays: Mapping[str, np.ndarray], names: Sequence[tuple[str, Stage]]
) -> Iterator[Finding]:
    """An attack that ran and is not told of is a number that somebody did not like."""
    told = {f"{EVIDENCE_KINDS[0]}_{name}" for name, _ in names}
    for array in sorted(arrays):
        if array.startswith(f"{EVIDENCE_KINDS[0]}_") and array not in told:
            yield failed("attacks", f"{short(array)} is of an attack that the report leaves out")


def terms_of(report: Mapping[str, Any], n_claims: int) -> StoredTerms:
    """The settings that judging needs, as the results state them."""
    bounds = report["bounds"]
    return StoredTerms(
        seed=report["seed"],
        attack=_attack_settings(report),
        threat=Threat(knows=tuple(report["threat"]["knows"])),
        stages=tuple(one["stage"] for one in report["stages"] if one["status"] == "attacked"),
        policy=tuple(PolicyRule(**{key: line[key] for key in RULE}) for line in report["policy"]),
        claim=claim_of(report),
        curation_claim=curation_claim_of(report),
        n_claims=n_claims,
        scorer=Played(adjacency=bounds[0]["adjacency"] if bounds else "add_remove"),
    )


def _attack_settings(report: Mapping[str, Any]) -> AttackSettings:
    shadows = report["design"]["n_shadows"]
    measured = [
        attack["metrics"]
        for stage in report["stages"]
        for attack in stage["attacks"]
        if attack["metrics"] is not None
    ]
    if not measured:
        return AttackSettings(shadows=shadows)
    first, bounds = measured[0], report["bounds"]
    return AttackSettings(
        shadows=shadows,
        fpr=tuple(point["fpr"] for point in first["tpr_at_fpr"]),
        confidence=first["auc"]["confidence"],
        delta=bounds[0]["results"][0]["delta"],
        estimand=first["auc_estimand"],
    )


def _settings(report: Mapping[str, Any], terms: StoredTerms) -> Iterator[Finding]:
    """The settings of the results against those of the configuration, where it holds them."""
    attack = report["configuration"].get("attack")
    if attack is None:
        yield unchecked("settings", "the pipeline came from Python: no configuration states them")
        return
    told = {"confidence": attack["confidence"], "delta": attack["delta"]}
    told |= {"fpr": sorted(attack["fpr"]), "shadows": attack["shadows"]}
    lines = report["configuration"].get("report", {}).get("policy", [])
    told["policy"] = [[line["stage"], line["metric"], line["above"]] for line in lines]
    of = terms.attack
    used = {"confidence": of.confidence, "delta": of.delta, "fpr": sorted(of.fpr)}
    used |= {"shadows": of.shadows, "policy": [[r.stage, r.metric, r.above] for r in terms.policy]}
    yield compared("settings", told, used, "confidence, delta, rates and policy as configured")


def _attacks_run(report: Mapping[str, Any]) -> list[tuple[str, Stage]]:
    return [
        (attack["attack"], stage["stage"])
        for stage in report["stages"]
        for attack in stage["attacks"]
        if attack["status"] == "run"
    ]


def _coins(report: Mapping[str, Any], terms: StoredTerms) -> np.ndarray:
    n_candidates = report["design"]["n_candidates"]
    return paired_inclusion(terms.attack.shadows, n_candidates, Streams(terms.seed))


def _game(drawn: np.ndarray, arrays: Mapping[str, np.ndarray], terms: StoredTerms) -> Game:
    return Game(
        inclusion=drawn,
        permuted=permute_pairs(drawn, Streams(terms.seed)),
        blind=arrays["blind"],
        fit_pairs=np.arange(len(drawn) // 2) < n_fit_pairs(terms.attack.shadows),
    )


def _judged_again(
    report: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    terms: StoredTerms,
    game: Game,
    names: Sequence[tuple[str, Stage]],
) -> Iterator[Finding]:
    found = tuple(
        AttackEvidence(
            name, stage, ATTACKS[name], (), **{k: arrays[f"{k}_{name}"] for k in EVIDENCE_KINDS}
        )
        for name, stage in names
    )
    stages: list[StageResult] = []
    for stored in report["stages"]:
        again = judge_stage(terms, stored["stage"], found, game, arrays["candidate"].tolist())
        stages.append(again)
        yield _stage(stored, again)
    yield from _subgroups(report)
    controls = judge_controls(terms, found, game)
    what = f"{len(controls)} tests"
    head = {"family_wise_level": CONTROLS_LEVEL, "n_tests": len(controls)}
    told = {name: report["controls"][name] for name in head}
    yield compared("controls", told, head, "their number and level")
    yield compared("controls", report["controls"]["results"], to_plain(controls), what)
    bounds, claim = judge_bounds(terms, found, game), judge_claim(terms, found, game)
    yield compared("bounds", report["bounds"], to_plain(bounds), "lower bounds on epsilon")
    if report["claim"] is not None:
        yield compared("claim", report["claim"], to_plain(claim), "the claim, and what refutes it")
    policy = judge_policy(terms, stages)
    yield compared("policy", report["policy"], to_plain(policy), f"{len(policy)} lines")
    concluded = verdict(stages, controls, policy, claim)
    yield compared("verdict", report["verdict"], to_plain(concluded), report["verdict"]["status"])


def _stage(stored: dict[str, Any], again: StageResult) -> Finding:
    """One stage without its words, and without groups, which the evidence does not know."""
    check, n_run = f"stage {stored['stage']}", 0
    told, computed = _numbers_of(stored), _numbers_of(to_plain(again))
    # what did not run has no evidence; that it could not is told by the threat model
    n_run = len(told["attacks"])
    return compared(check, told, computed, f"AUC, rates and intervals of {n_run} attacks")


def _numbers_of(stage: dict[str, Any]) -> dict[str, Any]:
    headline = stage["headline"]
    if headline is not None:
        headline = {key: value for key, value in headline.items() if key != "subgroups"}
    attacks = [
        {key: value for key, value in attack.items() if key not in WORDS}
        for attack in stage["attacks"]
        if attack["status"] == "run"
    ]
    return {**stage, "headline": headline, "attacks": attacks}


def _subgroups(report: Mapping[str, Any]) -> Iterator[Finding]:
    if any(one["headline"] and one["headline"]["subgroups"] for one in report["stages"]):
        yield unchecked("groups", "numbers by group: who is in which is not kept")
