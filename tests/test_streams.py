"""A stream depends on what it is for, and on nothing else."""

import itertools

import numpy as np
import pytest

from curation_audit.streams import Streams

STREAMS = Streams(3)


def first_draws(generators):
    return [rng.integers(0, 2**63, 4).tolist() for rng in generators]


def test_streams_do_not_depend_on_chunks():
    whole = first_draws(STREAMS.for_shadows("shadow", range(8)).generators("scorer"))
    chunks = [range(0, 4), range(4, 8)]
    parts = [first_draws(STREAMS.for_shadows("shadow", c).generators("scorer")) for c in chunks]
    assert parts[0] + parts[1] == whole
    turned = STREAMS.for_shadows("shadow", [5, 2]).generators("scorer")
    assert first_draws(turned) == [whole[5], whole[2]]


def test_streams_do_not_depend_on_what_was_drawn_before():
    before = first_draws([STREAMS.generator("a", 1)])
    STREAMS.generator("a", 1).standard_normal(1000)
    STREAMS.generator("b").standard_normal(10)
    assert first_draws([STREAMS.generator("a", 1)]) == before


def test_every_seed_purpose_scope_and_index_has_a_stream_of_its_own():
    generators = [
        STREAMS.generator("inclusion"),
        STREAMS.generator("inclusion", 0),
        STREAMS.generator("inclusion", 1),
        STREAMS.generator("inclusion", 0, 1),
        STREAMS.generator("inclusion", 1, 0),
        STREAMS.generator("Inclusion", 0),
        Streams(4).generator("inclusion", 0),
        *STREAMS.for_shadows("shadow", range(3)).generators("scorer"),
        *STREAMS.for_shadows("shadow", range(3)).generators("model"),
        *STREAMS.for_shadows("null", range(3)).generators("scorer"),
    ]
    for one, other in itertools.combinations(first_draws(generators), 2):
        assert one != other


def test_streams_of_neighbours_are_uncorrelated():
    shadows = STREAMS.for_shadows("shadow", range(50))
    draws = np.array([rng.standard_normal(2000) for rng in shadows.generators("scorer")])
    products = (draws @ draws.T / np.sqrt(draws.shape[1]))[np.triu_indices(50, 1)]
    # 1225 sums, each nearly standard normal: 5.5 sd has a false-alarm rate below 1e-4
    assert np.abs(products).max() < 5.5


def test_a_stream_is_frozen_for_users_who_publish_their_seed():
    # numpy promises SeedSequence and PCG64; only the order of keys is ours
    key = int.from_bytes(__import__("hashlib").sha256(b"inclusion").digest()[:8], "big")
    expected = np.random.default_rng(np.random.SeedSequence(3, spawn_key=(key, 5)))
    assert first_draws([STREAMS.generator("inclusion", 5)]) == first_draws([expected])


def test_negative_seeds_are_refused():
    with pytest.raises(ValueError, match="non-negative"):
        Streams(-1).generator("inclusion")


def test_every_run_of_a_shadow_has_a_stream_of_its_own():
    streams = STREAMS.for_shadows("shadow", [4, 7])
    of_runs = streams.of_runs([0, 0, 1, 0], [0, 1, 0, 2])
    assert of_runs.shadows == (4, 4, 7, 4)
    draws = first_draws(of_runs.generators("scorer"))
    assert len({*map(tuple, draws)}) == 4
    assert not {*map(tuple, draws)} & {*map(tuple, first_draws(streams.generators("scorer")))}
    alone = STREAMS.for_shadows("shadow", [4]).of_runs([0], [2]).generators("scorer")
    assert first_draws(alone) == draws[3:]
    with pytest.raises(ValueError, match="no runs of their own"):
        of_runs.of_runs([0], [0])
