"""S curations at once: scores, selection, downstream model, utility."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from sklearn.metrics import roc_auc_score

from curation_audit.auditing.plan import AuditPlan
from curation_audit.checks import SettingError
from curation_audit.observations import Observation, Selection
from curation_audit.pipelines.base import ALWAYS_IN, FittedModels
from curation_audit.pipelines.rules.cut import tie_order
from curation_audit.streams import ShadowStreams
from curation_audit.types import Features, Floats, Inclusion, Indices, Labels, Probabilities, Scores

Scope: TypeAlias = Literal["real", "shadow", "null", "planted", "planted null"]
MOST_POOL_QUERIES = 4096


@dataclass(frozen=True, slots=True)
class Curated:
    """What S curations show, and what their models are worth on the test set.

    ``utility`` float64 (S,) is ``None`` without a labelled test set or a downstream model.
    """

    observation: Observation
    utility: Floats | None

    def to_arrays(self) -> dict[str, np.ndarray]:
        """As named arrays for a chunk."""
        seen = self.observation
        arrays = {
            "scores": seen.scores,
            "indices": seen.selection.indices,
            "offsets": seen.selection.offsets,
            "probabilities": seen.probabilities,
        }
        if seen.at_pool is not None:
            arrays["at_pool"] = seen.at_pool
        return arrays if self.utility is None else {**arrays, "utility": self.utility}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "Curated":
        """The inverse of ``to_arrays``."""
        selection = Selection(arrays["indices"], arrays["offsets"], arrays["scores"].shape[1])
        seen = Observation(
            arrays["scores"], selection, arrays["probabilities"], arrays.get("at_pool")
        )
        return cls(seen, arrays.get("utility"))

    @classmethod
    def concatenate(cls, parts: "Sequence[Curated]") -> "Curated":
        """The curations of several chunks of shadows as one."""
        seen = [part.observation for part in parts]
        utility = [part.utility for part in parts if part.utility is not None]
        at_pool = [one.at_pool for one in seen if one.at_pool is not None]
        return cls(
            Observation(
                np.concatenate([one.scores for one in seen]),
                Selection.concatenate([one.selection for one in seen]),
                np.concatenate([one.probabilities for one in seen]),
                np.concatenate(at_pool) if at_pool else None,
            ),
            np.concatenate(utility) if utility else None,
        )


def queried_rows(rank: Indices) -> Indices:
    """The pool rows that the model is asked about, ascending: (m,) -> (Q,).

    All of them, or the first ``MOST_POOL_QUERIES`` by ``tie_order``: a choice that is public.
    """
    return np.flatnonzero(rank < MOST_POOL_QUERIES)


def score_shadows(plan: AuditPlan, inclusion: Inclusion, streams: ShadowStreams) -> Scores:
    """Fit S scorers on what each shadow holds, and score the pool: (S, m)."""
    fitted = plan.scorer.fit(plan.data.private, inclusion, plan.data.pool, streams=streams)
    return fitted.score(plan.data.pool.features, plan.data.pool.labels)


def shuffled_scores(real: Scores, streams: ShadowStreams, n_planted: int = 0) -> Scores:
    """Scores that ignore who is in: the real ones (1, m), shuffled over the pool per shadow.

    With any selection rule they pick as many rows as the real curation, at random. Planted rows
    get scores of pool rows drawn at random.
    """
    return np.stack(
        [
            np.concatenate([rng.permutation(real[0]), rng.choice(real[0], n_planted)])
            for rng in streams.generators("null scores")
        ]
    )


def select_and_train(
    plan: AuditPlan, scores: Scores, streams: ShadowStreams, held: Inclusion | None = None
) -> Curated:
    """From scores (S, m) to picked rows, models and their utility.

    ``held`` bool (S, N): whom each model is fine-tuned on, where the plan fine-tunes.
    """
    pool, private, test = plan.data.pool, plan.data.private, plan.data.test
    rank = tie_order(pool.ids, plan.seed)
    selection = plan.rule.select(scores, rank, streams, pool)
    if plan.downstream is None:
        nothing = np.zeros((scores.shape[0], 0, 0), dtype=np.float32)
        return Curated(Observation(scores, selection, nothing), None)
    models = trained(plan, selection, streams, held)
    probabilities = asked(plan, models, private.features[private.unit != ALWAYS_IN])
    utility = None
    if test is not None and test.labels is not None:
        utility = measure_utility(asked(plan, models, test.features), test.labels, plan.utility)
    at_pool = asked(plan, models, pool.features[queried_rows(rank)])
    return Curated(Observation(scores, selection, probabilities, at_pool), utility)


def trained(
    plan: AuditPlan, selection: Selection, streams: ShadowStreams, held: Inclusion | None
) -> FittedModels:
    """S models on their picks, then fine-tuned on the private rows they hold, if the plan says so.

    Raises:
        ValueError: without a model, or where it is not said who is held.
    """
    if plan.downstream is None:
        raise ValueError("no model is trained.")
    models = plan.downstream.fit(plan.data.pool, selection, len(plan.data.classes), streams=streams)
    if plan.fine_tuned is None:
        return models
    if held is None:
        raise ValueError("fine-tuning needs to know who is held.")
    return plan.fine_tuned.model.fit(models, plan.data.private, held, streams=streams)


def select_and_ask(
    plan: AuditPlan,
    scores: Scores,
    n_rows: int,
    streams: ShadowStreams,
    held: Inclusion | None = None,
) -> Curated:
    """As ``select_and_train``, but only what happens to the last ``n_rows`` of the pool.

    Scores, picks and probabilities are those of these rows.
    """
    pool = plan.data.pool
    if plan.downstream is None:
        raise ValueError("rows are planted only where a model is trained.")
    selection = plan.rule.select(scores, tie_order(pool.ids, plan.seed), streams, pool)
    models = trained(plan, selection, streams, held)
    picked = Selection.from_mask(selection.mask()[:, -n_rows:])
    probabilities = asked(plan, models, pool.features[-n_rows:])
    return Curated(Observation(scores[:, -n_rows:], picked, probabilities), None)


def asked(plan: AuditPlan, models: FittedModels, features: Features) -> Probabilities:
    """What S models say of rows: (rows, d) -> (S, rows, C).

    Raises:
        SettingError: if it is not finite.
    """
    probabilities = models.predict_proba(features)
    name = "" if plan.downstream is None else f"{plan.downstream.name} "
    if not np.isfinite(probabilities).all():
        raise SettingError(
            "train",
            f"the {name}model gave probabilities that are NaN",
            "its training may have diverged; try a smaller learning rate",
        )
    return probabilities


def measure_utility(
    probabilities: Probabilities, labels: Labels, metric: Literal["accuracy", "auc"]
) -> Floats:
    """Utility of S models on a test set, (S,): probabilities (S, rows, C), labels (rows,).

    Only the classes that the test set holds compete. ``auc`` is for two of them: the ROC AUC of
    the second one's share.

    Raises:
        InputError: if ``auc`` is asked for and the test set does not hold two classes.
    """
    classes = np.unique(labels)
    if metric == "auc" and len(classes) != 2:
        raise SettingError(
            "test.metric",
            f"found 'auc', but the test set holds {len(classes)} classes",
            "expected two; or use metric: accuracy",
        )
    competing = probabilities[:, :, classes].astype(np.float64)
    truth = np.searchsorted(classes, labels)
    if metric == "accuracy":
        hits: Floats = (competing.argmax(axis=2) == truth).mean(axis=1)
        return hits
    share = competing[:, :, 1] / np.maximum(competing.sum(axis=2), np.finfo(np.float64).tiny)
    return np.array([roc_auc_score(truth, one) for one in share])
