"""The adversary of a threat model: what he knows, and how he sees what shadows show."""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy import stats

from curation_audit.analytic.cavity import at_references, has_references
from curation_audit.auditing.curation import Curated, asked, queried_rows, score_shadows
from curation_audit.auditing.plan import AuditPlan, ScoreView
from curation_audit.auditing.planting import planting_gap
from curation_audit.observations import (
    Candidates,
    FirstOrder,
    Knowledge,
    Linearisation,
    Observation,
    Selection,
)
from curation_audit.pipelines.base import ALWAYS_IN
from curation_audit.pipelines.rules.cut import tie_order
from curation_audit.streams import Streams
from curation_audit.types import Features, Floats, Inclusion, Indices, Labels, Probabilities, Scores


def knowledge_of(plan: AuditPlan) -> Knowledge:
    """What the threat model grants, in the scorer's embedding or in the adversary's own.

    Rows that he planted are added when they are there (``Knowledge.planted``).
    """
    data, knows = plan.data, plan.threat.knows
    exact = plan.threat.embedding == "exact" and {"algorithm", "candidates", "pool"} <= {*knows}
    rank = tie_order(data.pool.ids, plan.seed)
    queried = _queried(plan, rank)
    beside = rank[queried] < _beside_candidates(plan)
    view = plan.threat.scores_as
    linearisation = plan.scorer.linearise(data.private, data.pool) if exact else None
    candidates = _candidates(plan, linearisation) if "candidates" in knows else None
    pool = None
    if "pool" in knows:
        pool = _embedded(plan, data.pool.features, data.pool.labels, linearisation)
    granted: dict[str, bool] = {
        **dict.fromkeys(knows, True),
        **dict.fromkeys(plan.observed, True),
        "several stages": len(plan.observed) > 1,
        "labels": candidates is not None and candidates.labels is not None,
        "linear scorer": linearisation is not None,
        "analytic models": exact and plan.analytic_models,
        "trained references": exact and has_references(plan.scorer),
        "nearest scorer": exact and plan.scorer.family == "nearest",
        "score values": view in ("exact", "rounded"),
        "score values of picked rows": view != "ranks",
        "score ranks": view == "ranks",
        "top scores only": view == "top only",
        "picks in scores": view == "top only" or (view == "ranks" and plan.rule.by_rank),
        "the scorer's embedding": plan.threat.embedding == "exact",
        "confidences": plan.threat.model_as == "confidences",
        "insertions": planting_gap(plan) is None,
        "one cut": plan.rule.one_cut,
        "queries at the candidates": _beside_candidates(plan) >= 0,
        "queries at both": bool(beside.any()),
        "queries at pool rows": len(queried) > 0 and "pool" in knows,
    }
    return Knowledge(
        granted=frozenset(name for name, there in granted.items() if there),
        pool=pool,
        pool_labels=data.pool.labels if "pool" in knows else None,
        candidates=candidates,
        linearisation=linearisation,
        score=_scoring(plan) if exact else None,
        select=_selecting(plan, rank) if exact else None,
        train=_training(plan, rank) if exact and plan.analytic_models else None,
        first_order=_at_references(plan) if exact else None,
        queried=queried if "pool" in knows else None,
        beside=beside if "pool" in knows else None,
    )


def _candidates(plan: AuditPlan, linearisation: Linearisation | None) -> Candidates:
    private = plan.data.private
    at_stake = private.unit != ALWAYS_IN
    known = private.labels if "labels" in plan.threat.knows else None
    labels = None if known is None else known[at_stake]
    return Candidates(
        features=_embedded(plan, private.features[at_stake], labels, linearisation),
        unit=private.unit[at_stake],
        n_candidates=private.n_candidates,
        labels=labels,
    )


def _embedded(
    plan: AuditPlan, features: Features, labels: Labels | None, linearisation: Linearisation | None
) -> Features:
    """Rows in the scorer's embedding, or in half as many random directions of it."""
    exact = plan.scorer.embed(features, labels)
    if linearisation is not None:
        exact = linearisation.read(exact)
    if plan.threat.embedding == "exact":
        return exact
    n_columns = exact.shape[1]
    rng = Streams(plan.seed).generator("surrogate embedding")
    basis = np.linalg.qr(rng.standard_normal((n_columns, max(1, n_columns // 2))))[0]
    surrogate: Features = exact @ basis.astype(exact.dtype)
    return surrogate


def _scoring(plan: AuditPlan) -> Callable[[Inclusion], Scores]:
    def score(inclusion: Inclusion) -> Scores:
        shadows = range(inclusion.shape[0])
        return score_shadows(plan, inclusion, Streams(plan.seed).for_shadows("tried", shadows))

    return score


def _selecting(plan: AuditPlan, rank: Indices) -> Callable[[Scores, range], Selection]:
    def select(scores: Scores, trials: range) -> Selection:
        streams = Streams(plan.seed).for_shadows("tried", trials)
        return plan.rule.select(scores, rank, streams, plan.data.pool)

    return select


def _training(plan: AuditPlan, rank: Indices) -> Callable[[Scores, Indices, range], Probabilities]:
    select, downstream, pool = _selecting(plan, rank), plan.downstream, plan.data.pool

    def train(scores: Scores, rows: Indices, trials: range) -> Probabilities:
        if downstream is None:
            raise ValueError("no model is trained.")
        streams, picks = Streams(plan.seed).for_shadows("tried", trials), select(scores, trials)
        models = downstream.fit(pool, picks, len(plan.data.classes), streams=streams)
        return asked(plan, models, pool.features[rows])

    return train


def _at_references(plan: AuditPlan) -> Callable[[], FirstOrder] | None:
    scorer = plan.scorer
    if not has_references(scorer):
        return None
    return lambda: at_references(scorer, plan.data, Streams(plan.seed)).first_order


def _budget(plan: AuditPlan) -> float:
    return np.inf if plan.threat.queries is None else plan.threat.queries


def _beside_candidates(plan: AuditPlan) -> float:
    """How many queries remain when every row of a candidate has been asked about."""
    return float(_budget(plan) - (plan.data.private.unit != ALWAYS_IN).sum())


def _queried(plan: AuditPlan, rank: Indices) -> Indices:
    """The pool rows that the whole budget allows to ask about, ascending."""
    if plan.downstream is None:
        return np.zeros(0, dtype=np.int64)
    all_asked = queried_rows(rank)
    return all_asked[rank[all_asked] < _budget(plan)]


def seen_by(plan: AuditPlan, curated: Curated) -> Observation:
    """What the adversary of a plan sees of what the shadows show."""
    threat, shown = plan.threat, curated.observation
    rank = tie_order(plan.data.pool.ids, plan.seed)
    probabilities, at_pool, planted = shown.probabilities, shown.at_pool, shown.planted
    if at_pool is not None:
        at_pool = at_pool[:, np.isin(queried_rows(rank), _queried(plan, rank))]
    if threat.model_as == "labels":
        probabilities = one_hot(probabilities)
        at_pool = None if at_pool is None else one_hot(at_pool)
        planted = None if planted is None else one_hot(planted)
    return dataclasses.replace(
        shown,
        scores=viewed(shown.scores, shown.selection, threat.scores_as, threat.decimals),
        probabilities=probabilities,
        at_pool=at_pool,
        planted=planted,
        thresholds=lowest_picked(shown) if "thresholds" in threat.knows else None,
    )


def viewed(scores: Scores, selection: Selection, view: ScoreView, decimals: int) -> Scores:
    """Scores (S, m) as the adversary sees them.

    ``ranks``: the share of rows below, ties averaged. ``top only``: rows that were not picked
    show the lowest picked score.
    """
    if view == "rounded":
        rounded: Scores = np.round(scores, decimals)
        return rounded
    if view == "ranks":
        ranks: Scores = stats.rankdata(scores, axis=1).astype(scores.dtype) / scores.shape[1]
        return ranks
    if view == "top only":
        picked = np.where(selection.mask(), scores, np.inf)
        lowest = picked.min(axis=1, keepdims=True)
        lowest = np.where(np.isfinite(lowest), lowest, 0).astype(scores.dtype)
        top: Scores = np.where(np.isfinite(picked), scores, lowest)
        return top
    return scores


def lowest_picked(shown: Observation) -> Floats:
    """The lowest score that each shadow picked, float64 (S,); infinite where it picked none."""
    picked = np.where(shown.selection.mask(), shown.scores, np.inf)
    lowest: Floats = picked.min(axis=1).astype(np.float64)
    return lowest


def one_hot(probabilities: Probabilities) -> Probabilities:
    """Only the likeliest class, float32: (S, rows, C) -> (S, rows, C)."""
    if probabilities.shape[2] == 0:
        return probabilities
    likeliest = probabilities.argmax(axis=2)[:, :, None]
    sure: Probabilities = (likeliest == np.arange(probabilities.shape[2])).astype(np.float32)
    return sure
