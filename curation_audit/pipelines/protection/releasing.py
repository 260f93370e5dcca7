"""One real run of a mechanism: what may be released, the draw, and the card's facts."""

from dataclasses import replace
from typing import Any, Final

import numpy as np

from curation_audit.checks import InputError
from curation_audit.dp.discrete_sum import DiscreteSum, opendp
from curation_audit.dp.noise import SecureNoise, on_grid
from curation_audit.dp.protection import Protection
from curation_audit.dp.tiers import HARDENED, STRICT, Tier
from curation_audit.pipelines.base import CurationData, PrivateRows, Scorer
from curation_audit.pipelines.protection.module_release import (
    check_module_release,
    module_tier,
    module_weights,
)
from curation_audit.pipelines.protection.protect import Protected
from curation_audit.pipelines.protection.releasing_tuned import best_run
from curation_audit.pipelines.protection.secret_noise import operating_system
from curation_audit.pipelines.scorers.linear import LinearScorers
from curation_audit.pipelines.scorers.noisy_sum import NoisySum
from curation_audit.pipelines.scorers.private_classifier import PrivateClassifier
from curation_audit.pipelines.scorers.private_module import PrivateModule
from curation_audit.pipelines.scorers.tuned import TunedScorer
from curation_audit.releases.maps_file import ScoringMap, has_file
from curation_audit.releases.release import Release
from curation_audit.streams import Streams
from curation_audit.types import Floats, Indices
from curation_audit.version import __version__

NOT_COVERED: Final = (
    "the pool, and private rows that also stand in it",
    "what the private set has in common (its topic, its population)",
    "units that are near-duplicates of one another",
    "anything that was computed from the private set otherwise",
    "that a run was refused, and why: such a message is for those who hold the private set",
    "how long it took, and when its files were written",
)


def make_release(protected: Protected, data: CurationData) -> Release:
    """Run the mechanism once for real, on the whole private set.

    The noise comes from the operating system and is never the same again: store the result before
    it is used.

    Raises:
        InputError: for a mechanism without noise, or one whose release is not a scorer.
    """
    check_releasable(protected)
    if data.shift is None or data.scale is None:
        raise ValueError("the scaling of the features must be known.")
    tier, scorer = tier_of(protected, data), protected.scorer
    if isinstance(scorer, TunedScorer):
        best = best_run(scorer, data, lambda run, of: _drawn(run, of)[1])
        scorer, protected = best.scorer, best.told(protected)
        public, weights = _map_of(scorer), best.weights
    else:
        public, weights = _drawn(scorer, data)
    return Release(
        map=public,
        weights=weights,
        facts=facts_of(protected.protection, tier),
        shift=data.shift,
        scale=data.scale,
        columns=data.columns,
        intercept=isinstance(scorer, PrivateClassifier),
    )


def _map_of(scorer: Scorer) -> ScoringMap:
    if isinstance(scorer, NoisySum | PrivateClassifier) and has_file(scorer.map):
        return scorer.map
    raise TypeError(f"{type(scorer).__name__} has no public map.")


def _drawn(scorer: Scorer, data: CurationData) -> tuple[ScoringMap, Floats]:
    """How rows are scored, and the noisy weights (p,)."""
    if isinstance(scorer, NoisySum) and has_file(scorer.map):
        return scorer.map, _noisy_weights(scorer, data.private)
    if isinstance(scorer, PrivateClassifier) and not scorer.settings.hidden:
        return scorer.map, _linear_weights(scorer, data)
    if isinstance(scorer, PrivateModule):
        return module_weights(scorer, data)
    raise TypeError(f"{type(scorer).__name__} cannot be released.")


def _linear_weights(scorer: PrivateClassifier, data: CurationData) -> Floats:
    private = data.private
    fitted = scorer.fit_units(
        replace(private, features=private.features.astype(np.float64)),
        np.ones((1, private.n_units), dtype=bool),
        replace(data.pool, features=data.pool.features.astype(np.float64)),
        streams=Streams(0).for_shadows("release", (0,)),
        secret=operating_system(),
    )
    if not isinstance(fitted, LinearScorers):
        raise TypeError("a linear scorer has weights.")
    if fitted.weights.dtype != np.float64:
        raise TypeError("noise in fewer bits would show in the weights.")
    return on_grid(fitted.weights[0], scorer.settings.last_noise)


def _noisy_weights(scorer: NoisySum, private: PrivateRows) -> Floats:
    """The released sum, float64 (p,)."""
    of = scorer.mechanism
    if isinstance(of, DiscreteSum):
        return of.draw(vectors_alone(scorer, private))
    everyone = np.ones((1, private.n_units), dtype=bool)
    noisy = of.release(scorer.vectors(private), everyone, [SecureNoise()])[0]
    return on_grid(noisy, of.noise)


def vectors_alone(scorer: NoisySum, private: PrivateRows) -> Floats:
    """What every unit adds to the sum, float64 (U, p), each from its own rows and nothing else.

    A product of many rows may round one of them otherwise when another leaves. Next to noise on a
    grid such a bit is one step more, of every other unit; so here units are never computed
    together. Slow (about a tenth of a millisecond a unit), and done once.
    """
    order = np.argsort(private.owners, kind="stable")
    ends = np.cumsum(np.bincount(private.owners, minlength=private.n_units))[:-1]
    of_units = np.split(order, ends)
    return np.concatenate([scorer.vectors(_unit(private, rows)) for rows in of_units if len(rows)])


def _unit(private: PrivateRows, rows: Indices) -> PrivateRows:
    """One unit's rows as a private set, int64 (rows,)."""
    alone = np.zeros(len(rows), dtype=np.int64)
    return PrivateRows(
        ids=tuple(private.ids[i] for i in rows.tolist()),
        features=private.features[rows],
        unit=alone,
        unit_ids=("",),
        labels=None if private.labels is None else private.labels[rows],
        owner=alone,
    )


def tier_of(protected: Protected, data: CurationData) -> Tier:
    """How good the noise of a release of this mechanism is."""
    scorer = protected.scorer
    if isinstance(scorer, PrivateModule):
        return module_tier(scorer, data.pool.features.shape[1])
    return STRICT if _is_strict(scorer) else HARDENED


def _is_strict(scorer: Scorer) -> bool:
    return isinstance(scorer, NoisySum) and isinstance(scorer.mechanism, DiscreteSum)


def check_tier(protected: Protected, data: CurationData, *, allow_research: bool) -> None:
    """Refuse noise that is not for release, unless somebody insists: before anything is booked.

    Raises:
        InputError: for such noise, a module that has no release, or a sum too large to be exact.
    """
    scorer = protected.scorer
    if isinstance(scorer, PrivateModule):
        check_module_release(scorer, data)
    if isinstance(scorer, NoisySum) and isinstance(scorer.mechanism, DiscreteSum):
        scorer.mechanism.check(data.private.n_units)
    if not (tier_of(protected, data).for_release or allow_research):
        raise InputError(
            "curate.protect.module",
            "adds its noise in float32, which is research and not for release",
            "make the module in float64 (its function returns module.double()), or add "
            "--allow-research-noise, in Python allow_research_noise=True",
        )


def check_releasable(protected: Protected) -> None:
    """Refuse what has no release: to be asked before anything is booked.

    Noise on the selection leaves the scorer bare, so that it must never leave.

    Raises:
        InputError: for a mechanism without noise, or one whose release is not a linear scorer.
    """
    if protected.claim is None:
        raise InputError("curate.protect.epsilon", "is infinite", "a release needs noise")
    if "scores" not in protected.protection.covers:
        raise InputError(
            "curate.protect.mechanism",
            f"{protected.protection.mechanism} puts noise on the selection only, so that its "
            "scorer must never leave",
            "use gaussian_mean, centroid_votes, rff_density, ulsif, dp_gd or dp_sgd without hidden "
            "layers",
        )
    scorer = protected.scorer
    runs = scorer.candidates if isinstance(scorer, TunedScorer) else (scorer,)
    if not (isinstance(scorer, PrivateModule) or all(map(_is_linear, runs))):
        raise InputError(
            "curate.protect.mechanism",
            f"{protected.protection.mechanism} has no scorer that a file could hold",
            "use gaussian_mean, centroid_votes, rff_density, ulsif, dp_gd or dp_sgd without hidden "
            "layers",
        )
    if _is_strict(scorer):
        opendp()  # a missing package is told before anything is booked


def _is_linear(scorer: Scorer) -> bool:
    """Whether a file can hold it: weights, and a map of features alone."""
    if isinstance(scorer, PrivateClassifier):
        return not scorer.settings.hidden
    return isinstance(scorer, NoisySum) and has_file(scorer.map)


def facts_of(of: Protection, tier: Tier) -> dict[str, Any]:
    """What a card says, as JSON values."""
    return {
        "tool": f"curation-audit {__version__}",
        "mechanism": of.mechanism,
        "unit": of.unit,
        "adjacency": of.adjacency,
        "epsilon": of.epsilon,
        "delta": of.delta,
        "covers": list(of.covers),
        "events": list(of.events),
        "coded_events": None if of.coded_events is None else list(of.coded_events),
        "sensitivities": list(of.sensitivities),
        "assumptions": dict(of.assumptions),
        "tuning": of.tuning,
        "noise_tier": tier.name,
        "noise": tier.noise,
        "not_covered": list(NOT_COVERED),
    }
