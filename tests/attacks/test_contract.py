"""What every attack keeps to. A new attack gets a row in ``CASES``."""

import dataclasses
from typing import get_args

import numpy as np
import pytest

from curation_audit.attacks import ATTACKS, ENSEMBLES
from curation_audit.attacks.analytic_model import AnalyticModel
from curation_audit.attacks.analytic_picks import AnalyticPicks
from curation_audit.attacks.base_ratio import BaseRatio
from curation_audit.attacks.bavaria import Bavaria
from curation_audit.attacks.binary_lira import BinaryLira
from curation_audit.attacks.bottleneck import Bottleneck
from curation_audit.attacks.cavity_filter import CavityFilter
from curation_audit.attacks.extract import Extract
from curation_audit.attacks.fingerprint import Fingerprint
from curation_audit.attacks.gibbs import Gibbs
from curation_audit.attacks.iterative import Iterative
from curation_audit.attacks.jaccard import Jaccard
from curation_audit.attacks.known_others import KnownOthers
from curation_audit.attacks.label_only import LabelOnly
from curation_audit.attacks.least_squares import LeastSquares
from curation_audit.attacks.lira import Lira
from curation_audit.attacks.lira_best_row import LiraBestRow
from curation_audit.attacks.lira_offline import LiraOffline
from curation_audit.attacks.loss import Loss
from curation_audit.attacks.mask_extract import MaskExtract
from curation_audit.attacks.mask_filter import MaskFilter
from curation_audit.attacks.mask_trace import MaskTrace
from curation_audit.attacks.matched_filter import MatchedFilter
from curation_audit.attacks.nearest_pool import NearestPool
from curation_audit.attacks.quantile import Quantile
from curation_audit.attacks.rank_filter import RankFilter
from curation_audit.attacks.rmia import Rmia
from curation_audit.attacks.rmia_offline import RmiaOffline
from curation_audit.attacks.score_match import ScoreMatch
from curation_audit.attacks.shadow_filter import ShadowFilter
from curation_audit.attacks.through_mask import ThroughMask
from curation_audit.attacks.top_filter import TopFilter
from curation_audit.attacks.trace import Trace
from curation_audit.attacks.voting import Voting
from curation_audit.observations import KNOWABLE, Memo, Stage
from curation_audit.statistics import PairedEvidence, chance_p_value, clustered_auc
from tests.attacks import world as worlds
from tests.attacks.world import frozen, make_world, shadows_in_order, with_shadow, with_shadows

CASES = {
    "lira_best_row": [LiraBestRow()],
    "trace": [Trace()],
    "extract": [Extract()],
    "matched_filter": [MatchedFilter()],
    "shadow_filter": [ShadowFilter()],
    "cavity_filter": [CavityFilter()],
    "rank_filter": [RankFilter(), RankFilter(steps=3)],
    "top_filter": [TopFilter(), TopFilter(steps=1)],
    "known_others": [KnownOthers()],
    "least_squares": [LeastSquares()],
    "voting": [Voting()],
    "score_match": [ScoreMatch()],
    "binary_lira": [BinaryLira()],
    "mask_trace": [MaskTrace(), MaskTrace(center="nothing")],
    "mask_extract": [MaskExtract(), MaskExtract(steps=4)],
    "mask_filter": [MaskFilter(), MaskFilter(steps=40)],
    "analytic_picks": [AnalyticPicks(), AnalyticPicks(shadows=256)],
    "jaccard": [Jaccard()],
    "iterative": [Iterative(), Iterative(rounds=3, nearest=4)],
    "gibbs": [Gibbs(), Gibbs(rounds=3, nearest=4)],
    "loss": [Loss()],
    "lira": [Lira(), Lira(signal="loss", variance="shared"), Lira(variance="own")],
    "lira_offline": [LiraOffline(), LiraOffline(variance="own")],
    "rmia": [Rmia(), Rmia(gamma=2.0), Rmia(form="information")],
    "rmia_offline": [RmiaOffline(), RmiaOffline(a=0.3), RmiaOffline(form="information")],
    "base": [BaseRatio(), BaseRatio(temperature=1.0)],
    "bavaria": [Bavaria()],
    "quantile": [Quantile()],
    "label_only": [LabelOnly()],
    "nearest_pool": [NearestPool(), NearestPool(rows=5)],
    "through_mask": [ThroughMask()],
    "bottleneck": [Bottleneck()],
    "analytic_model": [AnalyticModel(), AnalyticModel(shadows=256)],
    "fingerprint": [Fingerprint()],
    **{ensemble.name: [ensemble] for ensemble in ENSEMBLES},
}
ALL = pytest.mark.parametrize(
    "attack", [attack for name in sorted(CASES) for attack in CASES[name]], ids=repr
)
# the adversary of differential privacy reads the other coins of the row that he attacks
COINLESS = pytest.mark.parametrize(
    "attack",
    [
        attack
        for name in sorted(CASES)
        for attack in CASES[name]
        if "memberships" not in attack.needs
    ],
    ids=repr,
)
LINEAR, NEAREST = frozen(make_world()), frozen(make_world(scorer=worlds.NEAREST))
N_SHADOWS, N_CANDIDATES = LINEAR.inclusion.shape


def of_nearest(attack):
    return "nearest scorer" in attack.needs


def world_of(attack):
    """A world with a scorer of the family that the attack is for."""
    return NEAREST if of_nearest(attack) else LINEAR


def another_world(attack, **settings):
    scorer = worlds.NEAREST if of_nearest(attack) else worlds.SCORER
    return make_world(scorer=scorer, **settings)


def evidence(attack, world, **changes):
    world = dataclasses.replace(world, **changes)
    return attack.evidence(
        world.observation, world.inclusion, world.knowledge, streams=world.streams
    )


def in_order(streams, order):
    """A shadow keeps its number, and so its stream, wherever it stands."""
    return dataclasses.replace(streams, shadows=tuple(np.array(streams.shadows)[order]))


def close(found, expected):
    """Equal up to 1e-9 of the scale of the evidence."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_every_attack_has_a_row():
    assert sorted(CASES) == sorted(ATTACKS)
    for name, attacks in CASES.items():
        assert {type(attack) for attack in attacks} == {type(ATTACKS[name])}
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
    assert attack.needs <= KNOWABLE


def test_titles_are_all_different():
    assert len({attack.title for attack in ATTACKS.values()}) == len(ATTACKS)


@ALL
def test_settings_are_frozen(attack):
    for field in dataclasses.fields(attack):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(attack, field.name, None)


@pytest.mark.parametrize("steps", [0, -1])
def test_settings_out_of_range_are_refused(steps):
    with pytest.raises(ValueError, match="steps must be positive"):
        MaskExtract(steps=steps)


@ALL
def test_evidence_is_one_finite_number_per_shadow_and_candidate(attack):
    here = world_of(attack)
    # the arrays of the world are read-only, so that an attack that writes to them fails
    found = evidence(attack, here)
    assert found.shape == (N_SHADOWS, N_CANDIDATES)
    assert found.dtype == np.float64
    assert np.isfinite(found).all()


@ALL
def test_the_same_streams_give_the_same_evidence(attack):
    here = world_of(attack)
    np.testing.assert_array_equal(evidence(attack, here), evidence(attack, here))


SIZE = {"n_pairs": 40, "n_candidates": 10, "d": 16}


@ALL
def test_members_stand_above_outsiders_where_it_leaks(attack):
    leaky = another_world(attack, **SIZE)
    paired = PairedEvidence.split(evidence(attack, leaky), leaky.inclusion)
    found = clustered_auc(paired)
    assert found.auc > 0.5 + 3 * np.sqrt(2 * found.variance_by_pair)
    # and where the coins have nothing to do with what is seen, they do not
    blind = make_world(seed=99, **SIZE).inclusion
    paired = PairedEvidence.split(evidence(attack, leaky, inclusion=blind), blind)
    assert chance_p_value(paired) > 1e-3


@ALL
def test_more_shadows_change_no_shape_and_few_do_not_break_it(attack):
    found = evidence(attack, another_world(attack, n_pairs=4, n_candidates=5, n_pool=40))
    assert found.shape == (8, 5)
    assert np.isfinite(found).all()


@ALL
def test_order_of_pairs_does_not_count(attack):
    here = world_of(attack)
    pairs = np.random.default_rng(0).permutation(N_SHADOWS // 2)
    order = (2 * pairs[:, None] + [0, 1]).ravel()
    turned = evidence(
        attack,
        here,
        observation=shadows_in_order(here.observation, order),
        inclusion=here.inclusion[order],
        streams=in_order(here.streams, order),
    )
    close(turned, evidence(attack, here)[order])


@ALL
def test_order_within_pairs_does_not_count(attack):
    here = world_of(attack)
    order = np.arange(N_SHADOWS).reshape(-1, 2)
    order[[0, 3, 5]] = order[[0, 3, 5], ::-1]
    order = order.ravel()
    turned = evidence(
        attack,
        here,
        observation=shadows_in_order(here.observation, order),
        inclusion=here.inclusion[order],
        streams=in_order(here.streams, order),
    )
    close(turned, evidence(attack, here)[order])


def in_candidates_order(knowledge, order):
    """What references show where candidates stand in another order."""
    if knowledge.first_order is None:
        return None
    found = knowledge.first_order()
    return dataclasses.replace(found, shifts=found.shifts[order])


@ALL
def test_order_of_candidates_does_not_count(attack):
    here = world_of(attack)
    order = np.random.default_rng(1).permutation(N_CANDIDATES)
    place = np.argsort(order)  # candidate n becomes candidate place[n]
    known, linear = here.knowledge.candidates, here.knowledge.linearisation
    if linear is not None:
        linear = dataclasses.replace(linear, influence=linear.influence[order])
    first_order = in_candidates_order(here.knowledge, order)
    turned = evidence(
        attack,
        here,
        inclusion=here.inclusion[:, order],
        knowledge=dataclasses.replace(
            here.knowledge,
            candidates=dataclasses.replace(known, unit=place[known.unit]),
            linearisation=linear,
            planted=dataclasses.replace(
                here.knowledge.planted, target=place[here.knowledge.planted.target]
            ),
            score=lambda inclusion: here.knowledge.score(inclusion[:, place]),
            first_order=None if first_order is None else lambda: first_order,
        ),
    )
    close(turned, evidence(attack, here)[:, order])


def without_memberships(world):
    """So that the members of an ensemble read no coins of the row under attack either."""
    granted = world.knowledge.granted - {"memberships"}
    return dataclasses.replace(
        world, knowledge=dataclasses.replace(world.knowledge, granted=granted)
    )


@COINLESS
@pytest.mark.parametrize("tested", [0, 7, N_SHADOWS - 2])
def test_evidence_uses_neither_its_row_nor_the_partner(attack, tested):
    here = without_memberships(world_of(attack))
    partner = tested + 1 if tested % 2 == 0 else tested - 1
    for seed in (1, 2):
        # coins that have nothing to do with the old ones: flipping would keep who is together
        fresh = np.random.default_rng(seed).random(N_CANDIDATES) < 0.5
        inclusion = here.inclusion.copy()
        inclusion[tested], inclusion[partner] = fresh, ~fresh
        other = another_world(attack, seed=seed + 10).observation
        changed = evidence(
            attack,
            here,
            inclusion=inclusion,
            observation=with_shadow(here.observation, partner, other),
        )
        close(changed[tested], evidence(attack, here)[tested])
        assert (changed[partner] != evidence(attack, here)[partner]).any()


@COINLESS
def test_evidence_uses_no_pair_that_is_not_known(attack):
    here = without_memberships(world_of(attack))
    # what bounds rest on: of the pairs that are not known, nothing but the tested observation
    fit = np.arange(N_SHADOWS // 2) < 7
    knowledge = dataclasses.replace(here.knowledge, known_pairs=fit)
    before = evidence(attack, here, knowledge=knowledge)
    hidden = np.flatnonzero(~np.repeat(fit, 2))
    for seed, scale in ((1, 1.0), (2, 1e8)):  # not even by centres, or by what counts as rounding
        world = another_world(attack, seed=seed + 20)
        shown = dataclasses.replace(
            world.observation,
            scores=scale * world.observation.scores,
            thresholds=scale * world.observation.thresholds,
        )
        inclusion = here.inclusion.copy()
        inclusion[hidden] = world.inclusion[hidden]
        for tested in (hidden[0], hidden[3]):
            other = with_shadows(here.observation, np.setdiff1d(hidden, tested), shown)
            changed = evidence(
                attack, here, inclusion=inclusion, observation=other, knowledge=knowledge
            )
            close(changed[tested], before[tested])
        close(changed[: hidden[0]], before[: hidden[0]])


def other_linearisation(linear):
    if linear is None:
        return None
    return dataclasses.replace(linear, influence=linear.influence[::-1].copy())


def other_training(knowledge):
    return lambda scores, rows, trials: knowledge.train(-scores, rows, trials)


def other_references(knowledge):
    found = in_candidates_order(knowledge, np.arange(N_CANDIDATES)[::-1])
    return None if found is None else lambda: found


def questions(world):
    """The same shadows with other coins, a fit block, and other things known."""
    knowledge = world.knowledge
    known, linear = knowledge.candidates, knowledge.linearisation
    fit = np.arange(N_SHADOWS // 2) < 7
    apart = dataclasses.replace(known, features=known.features[::-1].copy())
    return [
        {},
        {"inclusion": make_world(seed=99).inclusion},
        {"knowledge": dataclasses.replace(knowledge, known_pairs=fit)},
        {"knowledge": dataclasses.replace(knowledge, candidates=apart)},
        {"knowledge": dataclasses.replace(knowledge, linearisation=other_linearisation(linear))},
        {"knowledge": dataclasses.replace(knowledge, pool=knowledge.pool[::-1].copy())},
        {"knowledge": dataclasses.replace(knowledge, train=other_training(knowledge))},
        {"knowledge": dataclasses.replace(knowledge, first_order=other_references(knowledge))},
        {},
    ]


@pytest.mark.parametrize("name", sorted(CASES))
def test_what_was_worked_out_before_changes_nothing(name):
    """Attacks share what they work out, but never the answer to another question."""
    here = world_of(ATTACKS[name])
    shared = dataclasses.replace(here.observation)
    for changes in questions(here):
        for attack in CASES[name]:
            fresh = dataclasses.replace(here.observation)
            found = evidence(attack, here, **changes, observation=shared)
            knowledge = changes.get("knowledge", here.knowledge)
            changes_of_fresh = changes | {"knowledge": dataclasses.replace(knowledge, memo=Memo())}
            np.testing.assert_array_equal(
                found, evidence(attack, here, **changes_of_fresh, observation=fresh)
            )


# what the shadow under attack does not show to who attacks that stage
HIDDEN = {
    "scores": ("probabilities", "at_pool"),
    "selection": ("scores", "probabilities", "at_pool"),
    "model": ("scores", "selection", "thresholds"),
    "joint": (),
}


@ALL
@pytest.mark.parametrize("tested", [0, 7])
def test_evidence_uses_nothing_that_the_tested_shadow_does_not_show(attack, tested):
    here, other = world_of(attack), another_world(attack, seed=30).observation
    changed = with_shadow(here.observation, tested, other)
    hidden = {name: getattr(changed, name) for name in HIDDEN[attack.stage]}
    found = evidence(attack, here, observation=dataclasses.replace(here.observation, **hidden))
    close(found[tested], evidence(attack, here)[tested])
    # and what it does show is used
    shown = evidence(attack, here, observation=changed)
    assert (shown[tested] != evidence(attack, here)[tested]).any()


@pytest.mark.parametrize(
    "attack", [one for name in CASES for one in CASES[name] if "memberships" in one.needs], ids=repr
)
@pytest.mark.parametrize("known", [None, 7], ids=["all pairs", "a fit block"])
def test_who_knows_the_other_coins_uses_all_but_the_candidates_own(attack, known):
    here = world_of(attack)
    fit = None if known is None else np.arange(N_SHADOWS // 2) < known
    knowledge = dataclasses.replace(here.knowledge, known_pairs=fit)
    before = evidence(attack, here, knowledge=knowledge)
    tested, n = N_SHADOWS - 3, 5
    flipped = here.inclusion.copy()
    flipped[[tested - 1, tested], n] ^= True
    partner = with_shadow(here.observation, tested - 1, another_world(attack, seed=9).observation)
    changed = evidence(attack, here, inclusion=flipped, observation=partner, knowledge=knowledge)
    np.testing.assert_allclose(changed[tested, n], before[tested, n], rtol=1e-9)
    assert (changed[tested] != before[tested]).any()


@ALL
def test_what_is_not_granted_is_told(attack):
    here = world_of(attack)
    for need in KNOWABLE:
        told = dataclasses.replace(here.knowledge, granted=KNOWABLE - {need}).missing(attack.needs)
        assert told == ((need,) if need in attack.needs else ())


@pytest.mark.parametrize(
    "attack", [LiraBestRow(), Extract(), BinaryLira(), MaskExtract(), Lira()], ids=repr
)
def test_coins_without_pairs_are_refused(attack):
    with pytest.raises(ValueError, match="complements"):
        evidence(attack, LINEAR, inclusion=np.roll(LINEAR.inclusion, 1, axis=0))
