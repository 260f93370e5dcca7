"""Noise for a release: from the operating system's entropy, and never the same again.

Audits draw from seeded streams and can be repeated; a release must not be. Both kinds of source
have ``standard_normal`` and ``random``, so that mechanisms take either.
"""

import math
import secrets
from typing import Protocol

import numpy as np
from scipy import special

from curation_audit.types import Floats

GRID_BITS = 20  # a release is rounded to the noise's standard deviation over 2^20, or finer by half
BITS = 52  # with 53 the last half would be rounded, and the largest number be 1


class NormalSource(Protocol):
    """Anything that draws standard normal numbers; a numpy generator does."""

    def standard_normal(self, size: tuple[int, ...]) -> Floats:
        """Float64, of that shape."""
        ...


class SecureNoise:
    """Float64 noise from AES-256 in counter mode, keyed by the operating system.

    A uniform number is ``(k + 1/2) / 2^52``, so a normal one, by the inverse distribution
    function, lies within 8.3 standard deviations, and nothing is 0 or infinite. Float64 sums leave
    traces of the value in the low bits (Mironov 2012; Jin et al. 2022): what is released is rounded
    by ``on_grid``.
    """

    def __init__(self) -> None:
        """Draw a key; it is never stored."""
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        cipher = Cipher(algorithms.AES256(secrets.token_bytes(32)), modes.CTR(bytes(16)))
        self._stream = cipher.encryptor()

    def random(self, size: tuple[int, ...]) -> Floats:
        """Uniform in (0, 1)."""
        count = int(np.prod(size))
        words = np.frombuffer(self._stream.update(bytes(8 * count)), dtype=np.uint64)
        uniform = ((words >> np.uint64(64 - BITS)).astype(np.float64) + 0.5) * 2.0**-BITS
        return uniform.reshape(size)

    def standard_normal(self, size: tuple[int, ...]) -> Floats:
        """Normal, mean 0, variance 1."""
        return np.asarray(special.ndtri(self.random(size)), dtype=np.float64)

    def __reduce__(self) -> str:
        """Refuse to be copied: two copies would draw the same noise."""
        raise TypeError("a source of noise for releases cannot be copied or sent.")


def on_grid(noisy: Floats, noise: float) -> Floats:
    """Noisy numbers without their low bits, which tell the value from the noise.

    Noise is one of 2^52 numbers, so that of an exact sum it can be tested whether what is left
    after a guess of the value is one of them. The grid is public: a power of two, 2^20 times finer
    than ``noise``, the standard deviation of the noise on each number. This takes away what is
    known to be readable; it is no proof for floating-point noise.
    """
    grid = 2.0 ** (math.floor(math.log2(noise)) - GRID_BITS)
    return np.round(noisy / grid) * grid
