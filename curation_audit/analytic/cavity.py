"""What one record does to a trained network's scores: its influence, with its own part taken out.

At each of a few networks that were really trained on random halves, every candidate is taken out
if it was in, and put in if it was out. To first order around the trained network (its tangent
kernel, Jacot et al. 2018), the record's own loss is solved for exactly: the residual of a record
that a network has fitted says little, that of the network without it says much. Means over the
networks are the shifts of the coins; what the coins do not explain in these networks is noise of
initial weights and orders of rows. A curation trained for t steps has moved by no more than the
kernel's eigenvalues above ``1 / (rate t)`` let it, which counts as a ridge.
"""

from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
from scipy.special import expit
from sklearn.covariance import ledoit_wolf

from curation_audit.analytic.affine import AffineScores, Seen
from curation_audit.analytic.tangents import Tangent, tangent_of_layers
from curation_audit.checks import SettingError
from curation_audit.observations import RELATIVE_RANK, FirstOrder
from curation_audit.pipelines.base import ALWAYS_IN, CurationData
from curation_audit.pipelines.scorers.classifier import background_rows
from curation_audit.pipelines.scorers.mlp_classifier import MlpClassifier, MlpScorers
from curation_audit.streams import ShadowStreams, Streams
from curation_audit.training.mlp import Layer
from curation_audit.types import Features, Floats, Inclusion, Mask, Scores

N_REFERENCES = 16
"""Networks that are trained to find what one record does to them."""
NEWTON_STEPS = 30
MOST_OWN = 0.99
LEAST_CURVATURE = 1e-6


@dataclass(frozen=True, slots=True)
class CavityScores:
    """Scores of a network, linearised at trained references.

    ``reference`` (m,) is their mean; ``basis`` (r, m) spans the candidates' shifts, whose
    coordinates are ``shifts`` (N, r); ``covariance`` (r, r) is that of what coins do not explain.
    """

    reference: Scores
    basis: Floats
    shifts: Floats
    covariance: Floats

    @property
    def first_order(self) -> FirstOrder:
        """The shifts alone."""
        return FirstOrder(self.basis, self.shifts)

    def affine(self) -> AffineScores:
        """How coins move scores; a network's own randomness is noise."""
        center = self.basis @ self.reference.astype(np.float64)
        return AffineScores(center, self.shifts, self.covariance, 0.0)

    def seen(self, scores: Scores) -> Seen:
        """What scores (S, m) show; what lies outside of the shifts tells nothing of coins."""
        return Seen(np.asarray(scores, dtype=np.float64) @ self.basis.T, 0.0)

    def scores(self, inclusion: Inclusion) -> Scores:
        """What first order says that shadows score, (S, N) -> (S, m), without the noise."""
        moved: Scores = self.reference + (inclusion - 0.5) @ self.shifts @ self.basis
        return moved


def has_references(scorer: object) -> TypeGuard[MlpClassifier]:
    """Whether a scorer's networks can be references: the metric takes one ridge for all layers."""
    return isinstance(scorer, MlpClassifier) and scorer.parametrization == "standard"


def at_references(scorer: MlpClassifier, data: CurationData, streams: Streams) -> CavityScores:
    """``cavity_scores`` at ``N_REFERENCES`` networks, whose coins are no shadow's.

    Raises:
        SettingError: for a network whose layers have rates of their own.
    """
    if not has_references(scorer):
        raise SettingError(
            "curate.scorer.parametrization",
            f"found {scorer.parametrization}, for which first order is not worked out",
            "audit it, or use standard",
        )
    coins = streams.generator("reference coins").random((N_REFERENCES, data.private.n_candidates))
    return cavity_scores(
        scorer,
        data,
        coins < 0.5,
        streams.for_shadows("reference", range(N_REFERENCES)),
        streams.generator("random features"),
    )


def cavity_scores(
    scorer: MlpClassifier,
    data: CurationData,
    inclusion: Inclusion,
    streams: ShadowStreams,
    rng: np.random.Generator,
) -> CavityScores:
    """Train R references on coins (R, N), and average what every candidate does to each.

    Args:
        scorer: the settings of the networks.
        data: private rows and pool.
        inclusion: coins of the references; shadows that are attacked must be others.
        streams: of the references.
        rng: for the random features.
    """
    private, pool = data.private, data.pool
    fitted = scorer.fit(private, inclusion, pool, streams=streams)
    if not isinstance(fitted, MlpScorers):
        raise ValueError("references are networks.")
    scores = fitted.score(pool.features).astype(np.float64)
    background = background_rows(pool, scorer.background)
    moved = np.zeros((private.n_candidates, len(pool)))
    at_stake = private.unit != ALWAYS_IN
    held = private.row_inclusion(inclusion)
    for r in range(len(inclusion)):
        network = [Layer(one.weight[r], one.bias[r]) for one in fitted.layers]
        ridge = ridge_of(scorer, int(held[r].sum()) + len(background))
        tangent = tangent_of_layers(network, rng)
        effect = toggled(tangent, private.features, held[r], background, pool.features, ridge)
        np.add.at(moved, private.unit[at_stake], effect[at_stake] / len(inclusion))
    size, axes = np.linalg.svd(moved, full_matrices=False)[1:]
    basis = axes[size > RELATIVE_RANK**0.5 * size.max(initial=0)]
    shifts = moved @ basis.T
    seen = scores @ basis.T
    left = seen - seen.mean(axis=0) - (inclusion - 0.5) @ shifts
    noise = ledoit_wolf(left, assume_centered=True)[0] * len(left) / max(1, len(left) - 1)
    return CavityScores(scores.mean(axis=0), basis, shifts, noise)


def toggled(
    tangent: Tangent,
    private: Features,
    held: Mask,
    background: Features,
    asked: Features,
    ridge: float,
) -> Floats:
    """By how much every private row, from out to in, moves the scores of other rows: (rows, m).

    Args:
        tangent: of the network as it was trained, to first order.
        private: rows of class 1, (rows, d).
        held: which of them it was trained on, (rows,).
        background: rows of class 0, on all of which it was trained.
        asked: rows whose scores are asked for, (m, d).
        ridge: on the mean loss; see ``ridge_of``.
    """
    own, own_logits = tangent(private)
    others, other_logits = tangent(background)
    n_rows = int(held.sum()) + len(background)
    trained = np.concatenate([own[held], others])
    curvature = _curvature(np.concatenate([own_logits[held], other_logits]))
    metric = (trained.T * curvature) @ trained / n_rows
    metric += ridge * np.eye(len(metric))
    solved = np.linalg.solve(metric, own.T)  # (q, rows)
    share = (own * solved.T).sum(axis=1) / n_rows
    residual, without = cavity_residuals(own_logits, share, held)
    effect: Floats = (tangent(asked)[0] @ solved).T * (without * -residual / n_rows)[:, None]
    return effect


def cavity_residuals(logits: Floats, share: Floats, held: Mask) -> tuple[Floats, Floats]:
    """The loss's slope at each row (of class 1) once it is in, and the factor that takes it out.

    Args:
        logits: of the network as it is, (rows,).
        share: ``j' M^-1 j / n``, by how much a row's logit falls with the slope of its own loss.
        held: who was in. Whoever was out is put in: ``z + share * slope(z) = logit`` by Newton's
            method. For whoever was in, the metric holds its own row, which is taken out.
    """
    own = np.minimum(_curvature(logits) * share, MOST_OWN)
    inside = logits.copy()
    for _ in range(NEWTON_STEPS):
        gap = inside + share * (expit(inside) - 1) - logits
        inside -= gap / (1 + share * _curvature(inside))
    at = np.where(held, logits, inside)
    return expit(at) - 1, np.where(held, 1 / (1 - own), 1.0)


def ridge_of(scorer: MlpClassifier, n_rows: int) -> float:
    """Weight decay, and one over the rate times the steps of momentum SGD."""
    steps = scorer.epochs * np.ceil(n_rows / scorer.batch_size)
    rate = scorer.learning_rate / (1 - scorer.momentum)
    return float(scorer.weight_decay + 1 / (rate * steps))


def _curvature(logits: Floats) -> Floats:
    probability = expit(logits)
    curvature: Floats = np.maximum(probability * (1 - probability), LEAST_CURVATURE)
    return curvature
