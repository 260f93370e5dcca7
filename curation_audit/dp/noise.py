"""Noise for a release: from the operating system's entropy, and never the same again.

Audits draw from seeded streams and can be repeated; a release must not be. Both kinds of source
have ``standard_normal`` and ``random``, so that mechanisms take either.
"""

import secrets
from typing import Protocol

import numpy as np
from scipy import special

from curation_audit.types import Floats

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
    traces of the value in the low bits (Mironov 2012; Jin et al. 2022): release what follows from
    the noisy numbers, such as picks, rather than the numbers, where it will do.
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
