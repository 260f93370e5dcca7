"""One real run of a mechanism: what may be released, the draw, and the card's facts."""

from dataclasses import replace
from typing import Any, Final

import numpy as np

from curation_audit.checks import InputError
from curation_audit.dp.noise import SecureNoise, on_grid
from curation_audit.pipelines.base import CurationData
from curation_audit.pipelines.protection.protect import Protected
from curation_audit.pipelines.scorers.linear import LinearScorers
from curation_audit.pipelines.scorers.noisy_sum import NoisySum
from curation_audit.pipelines.scorers.private_classifier import PrivateClassifier
from curation_audit.releases.release import Release
from curation_audit.streams import Streams
from curation_audit.training.dp_noise import ArrayNoise, SecretRandomness
from curation_audit.version import __version__

NOT_COVERED: Final = (
    "the pool, and private rows that also stand in it",
    "what the private set has in common (its topic, its population)",
    "units that are near-duplicates of one another",
    "anything that was computed from the private set otherwise",
    "that a run was refused, and why: such a message is for those who hold the private set",
)
SOURCE: Final = (
    "AES-256 in counter mode, keyed by the operating system and never stored; float64, released "
    "on a grid 2^20 times finer than the noise; the guarantee is that of exact numbers, and not "
    "proven for floating-point ones"
)


def make_release(protected: Protected, data: CurationData) -> Release:
    """Run the mechanism once for real, on the whole private set.

    The noise comes from the operating system and is never the same again: store the result before
    it is used.

    Raises:
        InputError: for a mechanism without noise, or one whose release is not a scorer.
    """
    scorer, private = protected.scorer, data.private
    check_releasable(protected)
    if data.shift is None or data.scale is None:
        raise ValueError("the scaling of the features must be known.")
    everyone = np.ones((1, private.n_units), dtype=bool)
    if isinstance(scorer, NoisySum):
        of = scorer.mechanism
        noisy = of.release(scorer.vectors(private), everyone, [SecureNoise()])[0]
        weights = on_grid(noisy, of.noise)
    elif isinstance(scorer, PrivateClassifier) and not scorer.settings.hidden:
        fitted = scorer.fit_units(
            replace(private, features=private.features.astype(np.float64)),
            everyone,
            replace(data.pool, features=data.pool.features.astype(np.float64)),
            streams=Streams(0).for_shadows("release", (0,)),
            secret=_operating_system(),
        )
        if not isinstance(fitted, LinearScorers):
            raise TypeError("a linear scorer has weights.")
        if fitted.weights.dtype != np.float64:
            raise TypeError("noise in fewer bits would show in the weights.")
        weights = on_grid(fitted.weights[0], scorer.settings.last_noise)
    else:
        raise TypeError(f"{type(scorer).__name__} cannot be released.")
    return Release(
        map=scorer.map,
        weights=weights,
        facts=_facts(protected),
        shift=data.shift,
        scale=data.scale,
        columns=data.columns,
        intercept=isinstance(scorer, PrivateClassifier),
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
            "use gaussian_mean, centroid_votes, dp_gd or dp_sgd without hidden layers",
        )
    scorer = protected.scorer
    linear = isinstance(scorer, PrivateClassifier) and not scorer.settings.hidden
    if not isinstance(scorer, NoisySum) and not linear:
        raise InputError(
            "curate.protect.mechanism",
            f"{protected.protection.mechanism} has no linear scorer to release",
            "use gaussian_mean, centroid_votes, dp_gd or dp_sgd without hidden layers",
        )


def _operating_system() -> SecretRandomness:
    """Noise and sampling that nobody can repeat."""
    return SecretRandomness([SecureNoise()], ArrayNoise(SecureNoise().standard_normal))


def _facts(protected: Protected) -> dict[str, Any]:
    of = replace(protected.protection, noise_source=SOURCE)
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
        "noise": of.noise_source,
        "not_covered": list(NOT_COVERED),
    }
