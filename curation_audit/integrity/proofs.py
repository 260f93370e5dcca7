"""Proofs that rows were or were not picked, against a commitment.

A picked row is shown with its audit path. A row that was not picked lies between two neighbours,
which are shown. Nothing else of the picks is in a proof but salted hashes.
"""

import bisect
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from curation_audit.checks import InputError
from curation_audit.integrity.merkle import Tree, leaf_hash, root_of_path
from curation_audit.integrity.picks import (
    NONCE_BYTES,
    Commitment,
    Picked,
    leaf_content,
    nonces,
)

VERSION: Final = 1
MOST_PATH: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A leaf that is shown: its place, what it holds, and its audit path."""

    index: int
    id: bytes
    nonce: bytes
    score: float | None
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was asked of one id; ``problem`` says why its proof is none."""

    id: str
    picked: bool
    problem: str | None


def prove(
    asked: Sequence[str], picked: Picked, tree: Tree, key: bytes, commitment: Commitment
) -> dict[str, Any]:
    """The proofs for some ids, as JSON values; leaves that several need are shown once."""
    salt, shown = nonces(key, len(picked.ids)), dict[int, int]()
    proofs: list[dict[str, Any]] = []
    for text in dict.fromkeys(asked):
        row = text.encode()
        at = bisect.bisect_left(picked.ids, row)
        inside = at < len(picked.ids) and picked.ids[at] == row
        places = [at] if inside else [at - 1 if at else None, at if at < len(picked.ids) else None]
        numbers = [None if i is None else shown.setdefault(i, len(shown)) for i in places]
        proofs.append({"id": text, "picked": inside, "leaves": numbers})
    return {
        "proof_version": VERSION,
        "commitment": commitment.digest,
        "leaves": [_shown(i, picked, salt, tree) for i in shown],
        "proofs": proofs,
    }


def _shown(index: int, picked: Picked, salt: bytes, tree: Tree) -> dict[str, Any]:
    leaf: dict[str, Any] = {
        "index": index,
        "id": picked.ids[index].decode(),
        "nonce": salt[NONCE_BYTES * index : NONCE_BYTES * (index + 1)].hex(),
        "path": [one.hex() for one in tree.path(index)],
    }
    if picked.scores is not None:
        score = picked.scores[index]
        leaf["score"] = None if math.isnan(score) else score
    return leaf


def check_proofs(tree: object, commitment: Commitment) -> tuple[Answer, ...]:
    """What proofs show; a row counts as picked, or not, only where its ``problem`` is ``None``.

    Raises:
        InputError: for what are no proofs, proofs for another commitment, or leaves that are not
            in the tree or not in order.
    """
    try:
        return tuple(_answers(tree, commitment))
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        told = f"({type(error).__name__})"
        raise InputError("proofs", f"are not what 'attest prove' writes {told}") from None


def _answers(tree: Any, commitment: Commitment) -> Iterator[Answer]:
    if tree["proof_version"] != VERSION:
        raise InputError("proofs", "are of another version", f"expected {VERSION}")
    if tree["commitment"] != commitment.digest:
        raise InputError("proofs", "are for another commitment", "name the attestation they are of")
    leaves = [_leaf(one, commitment) for one in tree["leaves"]]
    for leaf in leaves:
        content = leaf_content(leaf.nonce, leaf.id, leaf.score)
        if root_of_path(leaf_hash(content), leaf.index, commitment.n, leaf.path) != commitment.root:
            raise InputError("proofs", f"show a leaf at {leaf.index} that is not in the tree")
    _check_order(leaves)
    for proof in tree["proofs"]:
        chosen = [None if i is None else leaves[i] for i in proof["leaves"]]
        if not isinstance(proof["id"], str) or not isinstance(proof["picked"], bool):
            raise TypeError("a proof is about an id, and says yes or no")
        row = proof["id"].encode()
        problem = _inside(row, chosen) if proof["picked"] else _outside(row, chosen, commitment.n)
        yield Answer(id=proof["id"], picked=proof["picked"], problem=problem)


def _leaf(tree: Mapping[str, Any], commitment: Commitment) -> Leaf:
    index, nonce = tree["index"], bytes.fromhex(tree["nonce"])
    path = tuple(map(bytes.fromhex, tree["path"]))
    whole = isinstance(index, int) and not isinstance(index, bool)
    if not whole or len(nonce) != NONCE_BYTES or len(path) > MOST_PATH:
        raise ValueError("no leaf")
    if ("score" in tree) != commitment.scored or any(len(one) != 32 for one in path):
        raise ValueError("no leaf")
    score = None
    if commitment.scored:
        score = _score(tree["score"])
    return Leaf(index=index, id=tree["id"].encode(), nonce=nonce, score=score, path=path)


def _score(value: object) -> float:
    """A finite number; null stands for NaN, of a row without a score."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("no score")
    return float(value)


def _check_order(leaves: Sequence[Leaf]) -> None:
    """A holder who did not sort could prove both: whatever is shown together must be in order."""
    by_place = sorted(leaves, key=lambda one: one.index)
    for one, other in itertools.pairwise(by_place):
        if one.index == other.index or one.id >= other.id:
            raise InputError("proofs", "show leaves that are not in order: the tree is not sorted")


def _inside(row: bytes, leaves: Sequence[Leaf | None]) -> str | None:
    if len(leaves) != 1 or leaves[0] is None or leaves[0].id != row:
        return "its leaf is another row's"
    return None


def _outside(row: bytes, leaves: Sequence[Leaf | None], n: int) -> str | None:
    """No row lies between two neighbours, before the first, or behind the last."""
    if len(leaves) != 2:
        return "it must show two neighbours"
    left, right = leaves
    before = -1 if left is None else left.index
    behind = n if right is None else right.index
    if behind != before + 1:
        return "the leaves that it shows are no neighbours"
    if (left is not None and left.id >= row) or (right is not None and right.id <= row):
        return "it does not lie between the leaves that it shows"
    return None
