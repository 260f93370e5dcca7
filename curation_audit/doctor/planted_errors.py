"""Audits that are wrong on purpose: the controls must notice, and must not notice correct twins."""

from typing import Final

import numpy as np

from curation_audit.doctor.base import Check, Outcome
from curation_audit.doctor.known_attacks import private_rows
from curation_audit.game import paired_inclusion, permute_pairs
from curation_audit.pipelines.base import PrivateRows
from curation_audit.statistics import PairedEvidence, auc
from curation_audit.streams import Streams
from curation_audit.types import Evidence, Features, Floats, Inclusion, Mask

LEVEL = 0.001
"""That of the audit's controls; an audit shares it between them."""
N_SHADOWS, N_UNITS, DIMENSION = 64, 60, 8
N_MANY = 300


def blind_classifier() -> Outcome:
    """Membership that can be read off the private rows alone.

    The members of every even shadow are those with a large third feature, then the first half of
    the file, then every other row, then the people with two rows. Twin: fair coins.
    """
    rng = Streams(401).generator("rows")
    plain = private_rows(rng.standard_normal((N_UNITS, DIMENSION)))
    place = np.arange(N_UNITS)
    some = rng.permutation(place % 2 == 0)
    leaks = [
        (plain, plain.features[:, 2] > np.median(plain.features[:, 2])),
        (plain, place < N_UNITS // 2),
        (plain, place % 2 == 0),
        (_two_rows_for(some, plain.features), some),
    ]
    coins = paired_inclusion(N_SHADOWS, N_UNITS, Streams(401))
    wrong = [_blind_p_value(private, _alternating(members)) for private, members in leaks]
    twins = [_blind_p_value(private, coins) for private in (plain, leaks[-1][0])]
    return noticed(wrong, twins)


def _alternating(members: Mask) -> Inclusion:
    """The same members in every even shadow, the others in every odd one."""
    return np.tile(np.stack([members, ~members]), (N_SHADOWS // 2, 1))


def _two_rows_for(members: Mask, features: Features) -> PrivateRows:
    unit = np.concatenate([np.arange(N_UNITS), np.flatnonzero(members)])
    return private_rows(features[unit], unit)


def _blind_p_value(private: PrivateRows, inclusion: Inclusion) -> float:
    from curation_audit.auditing.evidence import blind_evidence, blind_features

    folds = Streams(401).generator("folds")
    evidence = blind_evidence(blind_features(private), inclusion, folds)
    return auc.chance_p_value(PairedEvidence.split(evidence, inclusion))


def attack_that_peeks() -> Outcome:
    """LiRA with means that include the shadow it judges, on signals of nothing.

    It tells the coins that it was given, whatever they are. Twin: the pair is left out.
    """
    from curation_audit.attacks.gaussian import gaussian_evidence

    streams = Streams(402)
    inclusion = paired_inclusion(N_SHADOWS, N_MANY, streams)
    signal = streams.generator("signal").standard_normal(inclusion.shape)
    permuted = permute_pairs(inclusion, streams)
    wrong, twins = [], []
    for coins in (inclusion, permuted):
        wrong.append(_p_value(_peeking(signal, coins), coins))
        twins.append(_p_value(gaussian_evidence(signal, coins), coins))
    return noticed(wrong, twins)


def _peeking(signal: Floats, inclusion: Inclusion) -> Evidence:
    inside, outside = (
        (signal * held).sum(axis=0) / held.sum(axis=0) for held in (inclusion, ~inclusion)
    )
    evidence: Evidence = (signal - outside) ** 2 - (signal - inside) ** 2
    return evidence


def _p_value(evidence: Evidence, inclusion: Inclusion) -> float:
    return auc.chance_p_value(PairedEvidence.split(evidence, inclusion))


def noticed(wrong: list[float], twins: list[float]) -> Outcome:
    """Every p-value of a wrong audit below the level, none of a correct twin."""
    below, above = max(wrong), min(twins)
    return Outcome(
        f"p < {LEVEL:g}; twin: p >= {LEVEL:g}",
        f"p at most {below:.1e}; twin: at least {above:.2g}",
        below < LEVEL <= above,
    )


PLANTED_ERRORS: Final = (
    Check("planted violations", "membership told by the private rows", blind_classifier),
    Check("planted violations", "an attack that peeks", attack_that_peeks),
)
