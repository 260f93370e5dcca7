"""Where the curve bends, and what one sentence may say of it."""

import pytest

from curation_audit.sweeping.judge import KEEPS, conclude, kept_share, knee_of
from tests.sweeping.world import attacked, point, worth

UNPROTECTED, RANDOM = worth(0.9), worth(0.5)
BARE = point(None, 0.9, None, stages=(attacked(0.81, refuted=None),))


def curve(mechanism: str = "gaussian_mean", **accuracies):
    """Points by epsilon, as ``e1=.6, e8=.9, none=.9``."""
    by_epsilon = {
        None if name == "none" else float(name[1:].replace("_", ".")): accuracy
        for name, accuracy in accuracies.items()
    }
    return [point(epsilon, accuracy, mechanism) for epsilon, accuracy in by_epsilon.items()]


def knee(points, unprotected=UNPROTECTED, random=RANDOM):
    return knee_of("gaussian_mean", points, unprotected, random)


def test_the_share_of_the_gain_that_is_kept():
    assert kept_share(worth(0.8), UNPROTECTED, RANDOM) == pytest.approx(0.75)
    assert kept_share(worth(0.95), UNPROTECTED, RANDOM) == pytest.approx(1.125)
    assert kept_share(worth(0.4), UNPROTECTED, RANDOM) == pytest.approx(-0.25)


def test_the_knee_is_the_first_epsilon_that_keeps_most_of_the_gain():
    assert pytest.approx(0.9) == KEEPS
    found = knee(curve(e0_5=0.52, e1=0.7, e4=0.861, e16=0.88, none=0.9))
    assert found.epsilon == 4
    assert found.share == pytest.approx(0.361 / 0.4)
    assert found.reason is None


def test_just_below_is_not_enough():
    assert knee(curve(e1=0.7, e4=0.859, e16=0.88)).epsilon == 16


def test_the_order_of_points_does_not_matter():
    points = curve(e16=0.88, none=0.9, e1=0.7, e4=0.87)
    assert knee(points) == knee(points[::-1])
    assert knee(points).epsilon == 4


def test_a_single_lucky_point_is_no_knee():
    assert knee(curve(e0_5=0.9, e1=0.6, e4=0.87, e16=0.88)).epsilon == 4
    assert knee(curve(e0_5=0.9, e1=0.6)).epsilon is None


def test_a_point_without_noise_is_recommended_to_nobody_but_must_hold():
    only = knee(curve(e1=0.6, none=0.9))
    assert (only.epsilon, only.reason) == (
        None,
        "no point keeps 90% of what curation gains over random picks",
    )
    assert knee(curve(e4=0.88, none=0.7)).epsilon is None  # clipping alone costs more: luck at 4


def test_other_mechanisms_do_not_count():
    points = [*curve(e1=0.6, e4=0.7), *curve("centroid_votes", e1=0.9, e4=0.9)]
    assert knee(points).epsilon is None
    assert knee_of("centroid_votes", points, UNPROTECTED, RANDOM).epsilon == 1


@pytest.mark.parametrize(
    ("unprotected", "random", "reason"),
    [
        (worth(0.9, half=0.45), worth(0.5), "gains nothing over random picks that could be told"),
        (worth(0.5), worth(0.9), "gains nothing over random picks"),
        (worth(0.9), worth(0.9), "gains nothing over random picks"),
        (worth(None), worth(None), "utility was not measured"),
    ],
    ids=["within the interval", "worse", "the same", "no test set"],
)
def test_without_a_gain_there_is_no_knee_and_the_reason_is_told(unprotected, random, reason):
    found = knee(curve(e1=0.9, e4=0.9), unprotected, random)
    assert (found.epsilon, found.share) == (None, None)
    assert reason in found.reason
    assert kept_share(worth(0.9), unprotected, random) is None


def test_a_mechanism_without_points_has_no_knee():
    assert knee([]).epsilon is None


def told(points, unprotected=BARE, *, adjacency="zero_out", unit="patient_id", delta=1e-5) -> str:
    mechanisms = dict.fromkeys(one.mechanism for one in points)
    knees = [knee_of(name, points, unprotected.usefulness, RANDOM) for name in mechanisms]
    return conclude(knees, points, unprotected, adjacency=adjacency, unit=unit, delta=delta)


def test_the_sentence_says_all_that_a_reader_needs():
    assert told(curve(e1=0.6, e4=0.88, none=0.9)) == (
        "At epsilon 4 (delta 1e-5, one patient_id blanked), gaussian_mean reaches accuracy 0.880: "
        "95% of what curation gains over random picks. The strongest attack that was run, attack "
        "on scores on scores, tells who was in with an AUC of 0.550 (its guarantee allows 0.600 "
        "on average); without protection it reached 0.810."
    )


@pytest.mark.parametrize(
    ("adjacency", "words"),
    [
        ("add_remove", "one ward more or less"),
        ("zero_out", "one ward blanked"),
        ("replace_one", "one ward replaced"),
    ],
)
def test_neighbours_are_named_with_their_unit(adjacency, words):
    sentence = told(curve(e4=0.88), adjacency=adjacency, unit="ward", delta=2.5e-6)
    assert f"(delta 2.5e-6, {words})" in sentence


def test_the_smallest_epsilon_of_all_mechanisms_is_recommended():
    points = [*curve(e2=0.89, e8=0.9), *curve("centroid_votes", e2=0.7, e8=0.9)]
    assert told(points).startswith("At epsilon 2 (")
    assert ", gaussian_mean reaches" in told(points)
    both = [*curve(e2=0.88, e8=0.9), *curve("centroid_votes", e2=0.89, e8=0.9)]
    assert ", centroid_votes reaches accuracy 0.890" in told(both)  # of equal ones the better


def test_the_strongest_attack_is_told():
    stages = (attacked(0.55), attacked(0.58, "selection"), attacked(0.52, "model"))
    sentence = told([point(4.0, 0.88, stages=stages)])
    assert "attack on selection on selection, tells who was in with an AUC of 0.580" in sentence
    assert "without protection it reached" not in sentence  # that stage was not attacked there


def test_an_ablation_is_never_recommended():
    points = [point(1.0, 0.9, "noisy_top_k", ablation=True), *curve(e1=0.6, e4=0.88)]
    assert ", gaussian_mean reaches" in told(points)
    sentence = told(points[:1])
    assert sentence == "No point of this sweep is recommended (noisy_top_k: an ablation)."


def test_where_nothing_is_recommended_it_says_so():
    points = [*curve(e1=0.6, e4=0.7), *curve("centroid_votes", e1=0.5)]
    reason = "no point keeps 90% of what curation gains over random picks"
    assert told(points) == (
        "No point of this sweep is recommended "
        f"(gaussian_mean: {reason}; centroid_votes: {reason})."
    )
    assert told([]) == "No point of this sweep is recommended (no mechanism is possible here)."


def test_a_refuted_guarantee_is_told_in_place_of_a_recommendation():
    bad = point(8.0, 0.9, "dp_gd", stages=(attacked(0.9), attacked(0.9, "model", refuted=True)))
    sentence = told([*curve(e1=0.9, e4=0.9), bad])
    assert sentence.startswith(
        "Do not use these results: the guarantee of dp_gd at epsilon 8 is refuted by what was "
        "measured."
    )
    assert "reaches" not in sentence
    worse = point(2.0, 0.9, stages=(attacked(0.9, refuted=True),))
    assert "the guarantee of gaussian_mean at epsilon 2, dp_gd at epsilon 8 is" in told(
        [worse, bad]
    )


@pytest.mark.parametrize("where", ["unprotected", "point", "without noise"])
def test_a_failed_control_is_told_in_place_of_everything(where):
    broken = {"verdict": "audit invalid"}
    bare = point(None, 0.9, None, **(broken if where == "unprotected" else {}))
    points = [
        point(4.0, 0.9, stages=(attacked(0.9, refuted=True),)),
        point(8.0, 0.9, **(broken if where == "point" else {})),
        point(None, 0.9, **(broken if where == "without noise" else {})),
    ]
    named = {
        "unprotected": "the unprotected pipeline",
        "point": "gaussian_mean at epsilon 8",
        "without noise": "gaussian_mean without noise",
    }
    sentence = told(points, bare)
    assert sentence.startswith(
        f"Do not use these results: a control of the audit of {named[where]}"
    )
    assert "refuted" not in sentence
