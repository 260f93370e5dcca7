"""Noise for releases: the right distribution, never repeated, never copied.

The noise has no seed, so these tests may fail by chance: each of them once in ``1 / ALARM`` runs.
The wrong numbers that must be found lie 7 standard deviations of the statistic beyond the alarm.
"""

import copy
import pickle

import numpy as np
import pytest
from scipy import stats

from curation_audit.dp.noise import BITS, SecureNoise

ALARM = 1e-9
N = 200_000


class Bytes:
    """A stream of one byte for ever, in place of the cipher's."""

    def __init__(self, byte: int) -> None:
        self.byte = byte

    def update(self, data: bytes) -> bytes:
        return bytes([self.byte]) * len(data)


def of_bytes(byte: int) -> SecureNoise:
    source = SecureNoise()
    source._stream = Bytes(byte)
    return source


def test_uniform_numbers_are_uniform():
    drawn = SecureNoise().random((N,))
    assert stats.kstest(drawn, "uniform").pvalue > ALARM
    counts = np.bincount((drawn * 256).astype(int), minlength=256)
    assert stats.chisquare(counts).pvalue > ALARM
    low_bits = (drawn * 2.0**BITS).astype(np.uint64) & np.uint64(255)
    assert stats.chisquare(np.bincount(low_bits.astype(int), minlength=256)).pvalue > ALARM
    # slightly wrong numbers are rejected
    assert stats.kstest(drawn**1.08, "uniform").pvalue < ALARM
    assert stats.chisquare(counts + np.arange(256)).pvalue < ALARM


def test_normal_numbers_are_normal_and_independent():
    drawn = SecureNoise().standard_normal((N,))
    assert stats.kstest(drawn, "norm").pvalue > ALARM
    assert stats.kstest(drawn * 1.08, "norm").pvalue < ALARM
    assert stats.kstest(drawn + 0.05, "norm").pvalue < ALARM
    for lag in (1, 2, 64):
        assert stats.pearsonr(drawn[:-lag], drawn[lag:]).pvalue > ALARM
    smooth = drawn[:-1] + 0.05 * drawn[1:]
    assert stats.pearsonr(smooth[:-1], smooth[1:]).pvalue < ALARM
    # the tail of the squares: a generator that is cut off would show here
    assert np.abs(drawn).max() > stats.norm.isf(0.5 * (1 - ALARM ** (1 / N)))


@pytest.mark.parametrize("byte", [0, 255], ids=["smallest", "largest"])
def test_the_ends_are_inside(byte):
    """The smallest and the largest number that can be drawn: not 0, not 1, not infinite."""
    source = of_bytes(byte)
    uniform, normal = source.random((3,)), source.standard_normal((3,))
    assert ((uniform > 0) & (uniform < 1)).all()
    assert np.isfinite(normal).all()
    assert (np.abs(normal) > 8).all()
    assert (np.abs(normal) < 8.3).all()


def test_the_ends_lie_evenly():
    assert of_bytes(0).random((1,)) == 1 - of_bytes(255).random((1,))


def test_two_sources_and_two_draws_differ():
    one, other = SecureNoise(), SecureNoise()
    drawn = [one.random((50,)), other.random((50,)), one.random((50,))]
    assert len(np.unique(np.concatenate(drawn))) == 150


def test_numpys_seed_has_no_say():
    drawn = []
    for _ in range(2):
        np.random.seed(0)  # noqa: NPY002  what users might do
        drawn.append(SecureNoise().standard_normal((20,)))
    assert (drawn[0] != drawn[1]).all()


@pytest.mark.parametrize(
    "duplicate", [pickle.dumps, copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"]
)
def test_it_cannot_be_copied(duplicate):
    with pytest.raises(TypeError, match="cannot be copied or sent"):
        duplicate(SecureNoise())


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (1, 0, 4)])
def test_shapes(shape):
    for draw in (SecureNoise().random, SecureNoise().standard_normal):
        assert draw(shape).shape == shape
        assert draw(shape).dtype == np.float64


def test_it_shows_no_key():
    assert not [value for value in vars(SecureNoise()).values() if isinstance(value, bytes | int)]
