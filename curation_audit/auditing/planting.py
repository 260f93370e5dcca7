"""Planted rows: what they look like, and the pipeline with them in its pool."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from curation_audit.attacks.fingerprint import Fingerprint
from curation_audit.attacks.planting import absurd_labels, along_influence, between
from curation_audit.auditing.curation import score_shadows
from curation_audit.auditing.plan import AuditPlan
from curation_audit.observations import Linearisation, Planted
from curation_audit.pipelines.base import ALWAYS_IN, Invertible, Rows
from curation_audit.pipelines.rules.cut import tie_order
from curation_audit.streams import Streams
from curation_audit.types import Features, Floats, Inclusion, Indices, Labels, Mask

N_REHEARSALS = 32
N_ROUNDS = 3
ROWS_AT_THRESHOLD = 32
CLEAR_OF_THRESHOLD = 2.0  # standard deviations of the threshold
LONGEST = 0.95  # quantile of the pool rows' lengths: planted rows do not stick out
ON_THE_RAY = np.linspace(0.0, 1.5, 16)


@dataclass(frozen=True, slots=True)
class Planting:
    """The planted rows: features (f, d) in the pool's space, their targets and labels."""

    features: Features
    planted: Planted

    def to_arrays(self) -> dict[str, np.ndarray]:
        """As named arrays for the store."""
        aims = {"target": self.planted.target, "labels": self.planted.labels}
        return {"features": self.features, **aims}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "Planting":
        """The inverse of ``to_arrays``."""
        return cls(arrays["features"], Planted(arrays["target"], arrays["labels"]))


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What the adversary's own shadows do with a pool that holds T planted rows.

    ``thresholds`` (H,), ``scores`` (H, T) of the planted rows, ``pick_rate`` (m,) of the others.
    """

    thresholds: Floats
    scores: Floats
    pick_rate: Floats

    @property
    def margin(self) -> Floats:
        """By how much each planted row clears the threshold on average, (T,)."""
        mean: Floats = (self.scores - self.thresholds[:, None]).mean(axis=0)
        return mean


def n_targets(plan: AuditPlan) -> int:
    """How many candidates the budget of rows, and of queries at them, reaches."""
    threat = plan.threat
    budget = threat.may_insert if threat.queries is None else min(threat.may_insert, threat.queries)
    return min(budget // Fingerprint().rows_per_target, plan.data.private.n_candidates)


def planting_gap(plan: AuditPlan) -> str | None:
    """Why no row can be planted; ``None`` where some can."""
    threat = plan.threat
    unknown = [name for name in ("pool", "candidates", "algorithm") if name not in threat.knows]
    gaps = {
        "the pipeline trains no model": plan.downstream is None,
        "the adversary does not see the model": "model" not in threat.observes,
        f"the adversary does not know: {', '.join(unknown)}": bool(unknown),
        "the adversary does not know the scorer's embedding": threat.embedding != "exact",
        "an external job scores the pool that it knows by its ids": plan.scorer.name == "command",
        "the scorer does not say how its embedding becomes a row (unembed)": not isinstance(
            plan.scorer, Invertible
        ),
        "threat.may_insert or threat.queries allows too few rows": n_targets(plan) < 1,
    }
    return next((gap for gap, there in gaps.items() if there), None)


def plants(plan: AuditPlan) -> bool:
    """Whether an audit plants rows: where it can, and attacks with them."""
    return planting_gap(plan) is None and "fingerprint" in plan.methods("model")


def planting_warnings(plan: AuditPlan) -> list[str]:
    """What a reader should know about planted rows that were allowed."""
    if plan.threat.may_insert == 0:
        return []
    gap = planting_gap(plan)
    if gap is not None:
        return [f"threat.may_insert is {plan.threat.may_insert}, but no row is planted: {gap}."]
    n_aimed_at, n_candidates = n_targets(plan), plan.data.private.n_candidates
    if n_aimed_at == n_candidates or not plants(plan):
        return []
    return [
        f"Rows are planted for {n_aimed_at} of {n_candidates} candidates, chosen at random. The "
        "numbers of 'fingerprint' are over all candidates; of the others it knows nothing."
    ]


def plant(plan: AuditPlan) -> Planting:
    """Choose targets at random, and design their rows with curations of the adversary's own.

    The coins of these rehearsals have nothing to do with the game's. After each round the rows
    are moved by as much as they missed the threshold on average, as planted rows compete with one
    another, and are negatives of a classifier.
    """
    streams = Streams(plan.seed)
    n = plan.data.private.n_candidates
    targets = np.sort(streams.generator("planting targets").permutation(n)[: n_targets(plan)])
    half = streams.generator("planting coins").random((N_REHEARSALS // 2, n)) < 0.5
    coins = np.concatenate([half, ~half])
    copies = Fingerprint().rows_per_target
    rows = plan.data.pool.features[:0]
    rehearsal = rehearse(plan, coins, rows)
    margin = np.zeros(len(targets))
    for _ in range(N_ROUNDS):
        rows = _design(plan, targets, rehearsal, margin, coins).astype(
            plan.data.pool.features.dtype
        )
        rehearsal = rehearse(plan, coins, np.repeat(rows, copies, axis=0))
        margin -= rehearsal.margin[::copies]
    labels = _absurd(plan, rows, rehearsal)
    return Planting(
        np.repeat(rows, copies, axis=0),
        Planted(np.repeat(targets, copies), np.repeat(labels, copies)),
    )


def _absurd(plan: AuditPlan, rows: Features, rehearsal: Rehearsal) -> Labels:
    pool = plan.data.pool
    if pool.labels is None:
        raise ValueError("planted rows need the pool's labels.")
    n_classes = len(plan.data.classes)
    return absurd_labels(rows, pool.features, pool.labels, rehearsal.pick_rate, n_classes)


def with_planted(plan: AuditPlan, planting: Planting) -> AuditPlan:
    """The same pipeline with the planted rows at the end of its pool."""
    pool = plan.data.pool
    prefix = "planted"
    while any(name.startswith(prefix) for name in pool.ids):
        prefix += "-"
    ids = tuple(f"{prefix} {i}" for i in range(len(planting.features)))
    labels = planting.planted.labels
    like = _nearest_rows(planting.features, pool.features)  # whose group and size they have
    grown = Rows(
        pool.ids + ids,
        np.concatenate([pool.features, planting.features]),
        None if pool.labels is None else np.concatenate([pool.labels, labels]),
        {name: of + tuple(of[row] for row in like) for name, of in pool.groups.items()},
        None if pool.sizes is None else np.concatenate([pool.sizes, pool.sizes[like]]),
    )
    return dataclasses.replace(plan, data=dataclasses.replace(plan.data, pool=grown))


def _nearest_rows(rows: Features, pool: Features) -> Indices:
    """The nearest pool row of each row (f, d), int64 (f,)."""
    order = pool.astype(np.float64) @ rows.astype(np.float64).T
    nearest: Indices = (order - (pool.astype(np.float64) ** 2).sum(axis=1)[:, None] / 2).argmax(0)
    return nearest


def rehearse(plan: AuditPlan, coins: Inclusion, rows: Features) -> Rehearsal:
    """Curations of the adversary's own, up to the picks, with rows (f, d) in the pool."""
    nobody = np.zeros(len(rows), dtype=np.int64)
    grown = with_planted(plan, Planting(rows, Planted(nobody, nobody)))
    streams = Streams(plan.seed).for_shadows("rehearsal", range(len(coins)))
    scores = score_shadows(grown, coins, streams)
    rank = tie_order(grown.data.pool.ids, plan.seed)
    picked = plan.rule.select(scores, rank, streams, grown.data.pool).mask()
    m = len(plan.data.pool)
    mine = scores[:, m:].astype(np.float64)
    return Rehearsal(_thresholds(scores, picked), mine, picked[:, :m].mean(axis=0))


def _thresholds(scores: Features, picked: Mask) -> Floats:
    """The lowest picked score of each shadow; the highest score where nothing was picked."""
    lowest = np.where(picked, scores, np.inf).min(axis=1)
    thresholds: Floats = np.where(np.isfinite(lowest), lowest, scores.max(axis=1))
    return thresholds.astype(np.float64)


def _design(
    plan: AuditPlan, targets: Indices, rehearsal: Rehearsal, margin: Floats, coins: Inclusion
) -> Features:
    """Features (T, d) of one row for each target, to clear the threshold by ``margin``."""
    linearised = plan.scorer.linearise(plan.data.private, plan.data.pool)
    if plan.scorer.family == "nearest":
        return _unembedded(plan, _near(plan, targets, rehearsal))
    if linearised is not None and linearised.blocks is None:
        return _unembedded(plan, _along(plan, linearised, targets, rehearsal, margin))
    return _on_the_ray(plan, targets, rehearsal, coins)


def _unembedded(plan: AuditPlan, rows: Floats) -> Features:
    if not isinstance(plan.scorer, Invertible):
        raise ValueError("rows can be planted only where the scorer has unembed().")
    lengths = np.linalg.norm(plan.data.pool.features, axis=1)
    return plan.scorer.unembed(rows, float(np.quantile(lengths, LONGEST)))


def _near(plan: AuditPlan, targets: Indices, rehearsal: Rehearsal) -> Floats:
    private, thresholds = plan.data.private, rehearsal.thresholds
    at_stake = private.unit != ALWAYS_IN
    spread = CLEAR_OF_THRESHOLD * thresholds.std()
    embedded = plan.scorer.embed(private.features, private.labels)
    return between(
        embedded[private.first_rows[targets]],
        embedded[at_stake],
        private.unit[at_stake] == targets[:, None],
        float(thresholds.mean() - spread),
        float(thresholds.mean() + spread),
    )


def _along(
    plan: AuditPlan,
    linearised: Linearisation,
    targets: Indices,
    rehearsal: Rehearsal,
    margin: Floats,
) -> Floats:
    embedded = plan.scorer.embed(plan.data.pool.features, plan.data.pool.labels).astype(np.float64)
    away = np.abs(embedded @ linearised.reference - rehearsal.thresholds.mean())
    centre = embedded[np.argsort(away, kind="stable")[:ROWS_AT_THRESHOLD]].mean(axis=0)
    lengths = np.linalg.norm(embedded[:, linearised.slopes], axis=1)
    radius = float(np.quantile(lengths, LONGEST))
    return along_influence(linearised, targets, centre, margin, radius)


def _on_the_ray(
    plan: AuditPlan, targets: Indices, rehearsal: Rehearsal, coins: Inclusion
) -> Features:
    """For a scorer of which nothing is known: where the ray to the target meets the threshold.

    The ray starts in the middle of the pool. Scores there change with the target's coin if they
    do anywhere near it, and at the threshold a change of the score is a change of the pick.
    """
    private, pool = plan.data.private, plan.data.pool
    middle = pool.features.mean(axis=0)
    towards = private.features[private.first_rows[targets]] - middle
    tried = middle + ON_THE_RAY[:, None, None] * towards  # (L, T, d)
    streams = Streams(plan.seed).for_shadows("rehearsal", range(len(coins)))
    fitted = plan.scorer.fit(private, coins, pool, streams=streams)
    scores = fitted.score(tried.reshape(-1, tried.shape[2]).astype(pool.features.dtype))
    missed = np.abs((scores - rehearsal.thresholds[:, None]).mean(axis=0))
    best = missed.reshape(len(ON_THE_RAY), -1).argmin(axis=0)
    chosen: Features = tried[best, np.arange(len(targets))]
    return chosen
