"""The membership game: who is in which shadow, in complementary pairs.

Row 2j of the inclusion holds independent fair coins, row 2j+1 is its complement. Given all other
pairs, the coins of a row are independent and fair, and every candidate is in exactly half of the
shadows. Evidence for a row may use neither that row nor its partner.
"""

import numpy as np

from curation_audit.streams import Streams
from curation_audit.types import Inclusion


def paired_inclusion(n_shadows: int, n_candidates: int, streams: Streams) -> Inclusion:
    """Draw the inclusion of all shadows, bool (n_shadows, n_candidates).

    Pair j has a stream of its own, so that adding shadows keeps the pairs that are there.

    Raises:
        ValueError: if ``n_shadows`` is odd or below 4 (no other pair to learn from).
    """
    if n_shadows % 2 or n_shadows < 4:
        raise ValueError(f"n_shadows must be even and at least 4, got {n_shadows}.")
    coins = np.stack(
        [
            streams.generator("inclusion", j).integers(0, 2, n_candidates, dtype=np.uint8)
            for j in range(n_shadows // 2)
        ]
    ).astype(bool)
    return np.stack([coins, ~coins], axis=1).reshape(n_shadows, n_candidates)


def check_pairs(inclusion: Inclusion) -> None:
    """Raise ``ValueError`` unless rows 2j and 2j+1 are complements for every j."""
    if inclusion.ndim != 2 or inclusion.dtype != np.bool_ or inclusion.shape[0] % 2:
        raise ValueError(
            f"inclusion must be bool (even S, N), got {inclusion.dtype} {inclusion.shape}."
        )
    if not np.array_equal(inclusion[0::2], ~inclusion[1::2]):
        raise ValueError("inclusion rows 2j and 2j+1 must be complements.")


def permute_pairs(inclusion: Inclusion, streams: Streams) -> Inclusion:
    """Hand the coins of every pair to another pair: the permuted-inclusion control.

    A cyclic shift of the pairs. Shifts by half of their number are left out: there two pairs
    would swap their coins, and the product of the two wrong assignments would be right again.

    Raises:
        ValueError: with fewer than 3 pairs, where every shift maps two pairs to each other.
    """
    check_pairs(inclusion)
    n_pairs = inclusion.shape[0] // 2
    if n_pairs < 3:
        raise ValueError(f"permuted inclusion needs at least 3 pairs, got {n_pairs}.")
    shifts = [shift for shift in range(1, n_pairs) if 2 * shift != n_pairs]
    shift = int(streams.generator("permuted inclusion").choice(shifts))
    pairs = inclusion.reshape(n_pairs, 2, -1)
    return np.roll(pairs, shift, axis=0).reshape(inclusion.shape)
