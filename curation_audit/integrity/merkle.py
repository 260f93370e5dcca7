"""Merkle trees over leaves in a fixed order, as in RFC 6962: an audit path shows one leaf's place.

Leaves and nodes are hashed under different first bytes, so that no node passes for a leaf. A tree
of n leaves has one shape only: a level of odd width hands its last node up as it is.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

LEAF, NODE = b"\x00", b"\x01"


@dataclass(frozen=True, slots=True)
class Tree:
    """All hashes, 32 bytes each: the leaves first, the root in the last level; () for none."""

    levels: tuple[Sequence[bytes], ...]

    @classmethod
    def over(cls, leaves: Sequence[bytes]) -> "Tree":
        """The tree over the hashes of leaves."""
        if not leaves:
            return cls(())
        levels = [leaves]
        while len(levels[-1]) > 1:
            levels.append(_level_above(levels[-1]))
        return cls(tuple(levels))

    @property
    def root(self) -> bytes:
        """The root; of no leaves the hash of nothing."""
        return self.levels[-1][0] if self.levels else hashlib.sha256().digest()

    def path(self, index: int) -> list[bytes]:
        """The siblings of a leaf and of all above it, upwards."""
        siblings, at = [], index
        for level in self.levels[:-1]:
            if at ^ 1 < len(level):
                siblings.append(level[at ^ 1])
            at >>= 1
        return siblings


def _level_above(level: Sequence[bytes]) -> list[bytes]:
    sha256 = hashlib.sha256
    pairs = zip(level[0::2], level[1::2], strict=False)
    above = [sha256(NODE + left + right).digest() for left, right in pairs]
    return [*above, level[-1]] if len(level) % 2 else above


def leaf_hash(content: bytes) -> bytes:
    """The hash of what a leaf holds."""
    return hashlib.sha256(LEAF + content).digest()


def root_of_path(leaf: bytes, index: int, n: int, path: Sequence[bytes]) -> bytes | None:
    """The root that a leaf's hash at one of n places leads to; ``None`` for another shape."""
    if not 0 <= index < n:
        return None
    reached, at, width, rest = leaf, index, n, list(reversed(path))
    while width > 1:
        if at ^ 1 < width:
            if not rest:
                return None
            sibling = rest.pop()
            pair = sibling + reached if at & 1 else reached + sibling
            reached = hashlib.sha256(NODE + pair).digest()
        at, width = at >> 1, (width + 1) >> 1
    return None if rest else reached
