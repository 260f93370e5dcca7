"""What a stage's result rests on."""

import dataclasses

import numpy as np
import pytest

from curation_audit.auditing.evidence import AttackEvidence, Game, n_fit_pairs
from curation_audit.auditing.judge import judge_stage, verdict
from curation_audit.statistics import PairedEvidence, summarise_records
from tests.auditing.null_games import Named, leaky, plan_of
from tests.statistics.evidence import random_coins


@dataclasses.dataclass(frozen=True)
class Described(Named):
    """A title and a source, too."""

    title: str = "made by hand"
    source: str = "nobody"


def game_of(rng, n_pairs, n_candidates):
    coins = random_coins(rng, n_pairs, n_candidates)
    fit = np.arange(n_pairs) < n_fit_pairs(2 * n_pairs)
    return Game(coins, np.roll(coins, 2, axis=0), np.zeros(coins.shape), fit)


def found(rng, game, **runs):
    """Evidence of a leak by hand, and what was learnt from the fit block alone."""
    made = {
        name: leaky(rng, game, 1.0) for name in ("evidence", "null", "permuted", "fitted")
    } | runs
    return AttackEvidence("by_hand", "scores", Described("by_hand"), (), **made)


@pytest.mark.parametrize(
    ("n_shadows", "first"), [(8, 2), (10, 3), (32, 8), (300, 75)], ids=lambda one: str(one)
)
def test_single_records_are_judged_on_pairs_that_were_not_learnt_from(n_shadows, first):
    rng = np.random.default_rng(n_shadows)
    game, plan = game_of(rng, n_shadows // 2, 12), plan_of(shadows=n_shadows)
    one = found(rng, game)
    records = judge_stage(plan, "scores", [one], game, None).headline.records
    apart = PairedEvidence.split(one.fitted, game.inclusion).pairs(slice(first, None))
    assert records == summarise_records(apart, None, confidence=0.95)
    # what was learnt from all pairs, and what happens in pairs that chose, are not looked at
    late = np.arange(n_shadows) >= 2 * first
    other = dataclasses.replace(
        one,
        evidence=np.where(late[:, None], leaky(rng, game, 1.0), one.evidence),
        fitted=np.where(late[:, None], one.fitted, 0.0),
    )
    assert judge_stage(plan, "scores", [other], game, None).headline.records == records


def test_single_records_are_read_in_reverse_where_the_headline_is():
    rng = np.random.default_rng(3)
    game, plan = game_of(rng, 16, 12), plan_of(shadows=32)
    one = found(rng, game)
    turned = dataclasses.replace(one, evidence=-one.evidence, fitted=-one.fitted)
    straight, reverse = (
        judge_stage(plan, "scores", [each], game, None).headline for each in (one, turned)
    )
    assert (straight.reversed, reverse.reversed) == (False, True)
    assert reverse.records == straight.records


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        (["scores"], "from: scores."),
        (["scores", "selection"], "from: scores and selection."),
        (["scores", "selection", "model", "joint"], "from: scores, selection, model and joint."),
    ],
)
def test_the_verdict_lists_stages_as_people_do(stages, told):
    rng = np.random.default_rng(0)
    game, plan = game_of(rng, 16, 12), plan_of(shadows=32)
    one = judge_stage(plan, "scores", [found(rng, game)], game, None)
    leaking = [dataclasses.replace(one, stage=stage) for stage in stages]
    assert verdict(leaking, (), ()).text.endswith(told)
