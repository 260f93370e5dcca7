"""What every attack keeps to. A new attack gets a row in ``CASES``."""

import dataclasses
from typing import get_args

import numpy as np
import pytest

from curation_audit.attacks import ATTACKS
from curation_audit.attacks.binary_lira import BinaryLira
from curation_audit.attacks.extract import Extract
from curation_audit.attacks.lira import Lira
from curation_audit.attacks.lira_best_row import LiraBestRow
from curation_audit.attacks.loss import Loss
from curation_audit.attacks.mask_extract import MaskExtract
from curation_audit.attacks.mask_trace import MaskTrace
from curation_audit.attacks.trace import Trace
from curation_audit.observations import Candidates, Knowledge, Stage
from curation_audit.statistics import PairedEvidence, chance_p_value, clustered_auc
from tests.attacks.world import frozen, make_world, shadows_in_order, with_shadow

CASES = {
    "lira_best_row": [LiraBestRow()],
    "trace": [Trace()],
    "extract": [Extract()],
    "binary_lira": [BinaryLira()],
    "mask_trace": [MaskTrace(), MaskTrace(center="nothing")],
    "mask_extract": [MaskExtract(), MaskExtract(l2=0.1)],
    "loss": [Loss()],
    "lira": [Lira()],
}
ALL = pytest.mark.parametrize(
    "attack", [attack for name in sorted(CASES) for attack in CASES[name]], ids=repr
)
WORLD = frozen(make_world())
N_SHADOWS, N_CANDIDATES = WORLD.inclusion.shape


def evidence(attack, world, **changes):
    world = dataclasses.replace(world, **changes)
    return attack.evidence(
        world.observation, world.inclusion, world.knowledge, streams=world.streams
    )


def close(found, expected):
    """Equal up to 1e-9 of the scale of the evidence."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_every_attack_has_a_row():
    assert sorted(CASES) == sorted(ATTACKS)
    for name, attacks in CASES.items():
        assert {type(attack) for attack in attacks} == {ATTACKS[name]}
        assert ATTACKS[name].name == name


@ALL
def test_attacks_describe_themselves(attack):
    assert attack.stage in get_args(Stage)
    for text in (attack.title, attack.source, attack.cost):
        assert isinstance(text, str)
        assert text == text.strip()
        assert text
    # what it may ask for is what a threat model may grant, and something is needed
    assert attack.needs
    assert attack.needs <= WORLD.knowledge.granted()


def test_titles_are_all_different():
    assert len({attack.title for attack in ATTACKS.values()}) == len(ATTACKS)


@ALL
def test_settings_are_frozen(attack):
    for field in dataclasses.fields(attack):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(attack, field.name, None)


@pytest.mark.parametrize("l2", [0.0, -1.0])
def test_settings_out_of_range_are_refused(l2):
    with pytest.raises(ValueError, match="l2 must be positive"):
        MaskExtract(l2=l2)


@ALL
def test_evidence_is_one_finite_number_per_shadow_and_candidate(attack):
    # the arrays of the world are read-only, so that an attack that writes to them fails
    found = evidence(attack, WORLD)
    assert found.shape == (N_SHADOWS, N_CANDIDATES)
    assert found.dtype == np.float64
    assert np.isfinite(found).all()


@ALL
def test_the_same_streams_give_the_same_evidence(attack):
    np.testing.assert_array_equal(evidence(attack, WORLD), evidence(attack, WORLD))


LEAKY = make_world(n_pairs=40, n_candidates=10, d=16)


@ALL
def test_members_stand_above_outsiders_where_it_leaks(attack):
    paired = PairedEvidence.split(evidence(attack, LEAKY), LEAKY.inclusion)
    found = clustered_auc(paired)
    assert found.auc > 0.5 + 3 * np.sqrt(2 * found.variance_by_pair)
    # and where the coins have nothing to do with what is seen, they do not
    blind = frozen(make_world(seed=99, n_pairs=40, n_candidates=10, d=16)).inclusion
    paired = PairedEvidence.split(evidence(attack, LEAKY, inclusion=blind), blind)
    assert chance_p_value(paired) > 1e-3


@ALL
def test_more_shadows_change_no_shape_and_few_do_not_break_it(attack):
    world = make_world(n_pairs=4, n_candidates=5, n_pool=40)
    found = evidence(attack, world)
    assert found.shape == (8, 5)
    assert np.isfinite(found).all()


@ALL
def test_order_of_pairs_does_not_count(attack):
    pairs = np.random.default_rng(0).permutation(N_SHADOWS // 2)
    order = (2 * pairs[:, None] + [0, 1]).ravel()
    turned = evidence(
        attack,
        WORLD,
        observation=shadows_in_order(WORLD.observation, order),
        inclusion=WORLD.inclusion[order],
    )
    close(turned, evidence(attack, WORLD)[order])


@ALL
def test_order_within_pairs_does_not_count(attack):
    order = np.arange(N_SHADOWS).reshape(-1, 2)
    order[[0, 3, 5]] = order[[0, 3, 5], ::-1]
    order = order.ravel()
    turned = evidence(
        attack,
        WORLD,
        observation=shadows_in_order(WORLD.observation, order),
        inclusion=WORLD.inclusion[order],
    )
    close(turned, evidence(attack, WORLD)[order])


@ALL
def test_order_of_candidates_does_not_count(attack):
    order = np.random.default_rng(1).permutation(N_CANDIDATES)
    place = np.argsort(order)  # candidate n becomes candidate place[n]
    known, linear = WORLD.knowledge.candidates, WORLD.knowledge.linearisation
    turned = evidence(
        attack,
        WORLD,
        inclusion=WORLD.inclusion[:, order],
        knowledge=dataclasses.replace(
            WORLD.knowledge,
            candidates=dataclasses.replace(known, unit=place[known.unit]),
            linearisation=dataclasses.replace(linear, influence=linear.influence[order]),
        ),
    )
    close(turned, evidence(attack, WORLD)[:, order])


@ALL
@pytest.mark.parametrize("tested", [0, 7, N_SHADOWS - 2])
def test_evidence_uses_neither_its_row_nor_the_partner(attack, tested):
    partner = tested + 1 if tested % 2 == 0 else tested - 1
    for seed in (1, 2):
        # coins that have nothing to do with the old ones: flipping would keep who is together
        fresh = np.random.default_rng(seed).random(N_CANDIDATES) < 0.5
        inclusion = WORLD.inclusion.copy()
        inclusion[tested], inclusion[partner] = fresh, ~fresh
        other = make_world(seed=seed + 10).observation
        changed = evidence(
            attack,
            WORLD,
            inclusion=inclusion,
            observation=with_shadow(WORLD.observation, partner, other),
        )
        close(changed[tested], evidence(attack, WORLD)[tested])
        assert (changed[partner] != evidence(attack, WORLD)[partner]).any()


@ALL
def test_what_is_not_granted_is_told(attack):
    known = WORLD.knowledge.candidates
    without_labels = Candidates(known.features, known.unit, known.n_candidates)
    poorer = {
        "pool": dataclasses.replace(WORLD.knowledge, pool=None),
        "candidates": dataclasses.replace(WORLD.knowledge, candidates=None),
        "labels": dataclasses.replace(WORLD.knowledge, candidates=without_labels),
        "linear scorer": dataclasses.replace(WORLD.knowledge, linearisation=None),
        "algorithm": dataclasses.replace(WORLD.knowledge, algorithm=False),
    }
    for need, knowledge in poorer.items():
        missing = attack.needs - knowledge.granted()
        assert (need in missing) == (need in attack.needs)
    if attack.name in ("lira_best_row", "binary_lira"):
        # what they need was needed to make the shadows, and went into the observation
        assert evidence(attack, WORLD, knowledge=Knowledge()).shape == WORLD.inclusion.shape
    else:
        with pytest.raises(ValueError, match="this attack needs"):
            evidence(attack, WORLD, knowledge=Knowledge())


@pytest.mark.parametrize(
    "attack", [LiraBestRow(), Extract(), BinaryLira(), MaskExtract(), Lira()], ids=repr
)
def test_coins_without_pairs_are_refused(attack):
    with pytest.raises(ValueError, match="complements"):
        evidence(attack, WORLD, inclusion=np.roll(WORLD.inclusion, 1, axis=0))
