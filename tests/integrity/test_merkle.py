"""Merkle trees against the definition of RFC 6962, and audit paths that no other leaf passes."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_audit.integrity.merkle import Tree, leaf_hash, root_of_path

# The leaves and roots of the reference tests of Certificate Transparency.
LEAVES = [
    bytes.fromhex(one)
    for one in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657",
                "606162636465666768696a6b6c6d6e6f")
]  # fmt: skip
ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def tree(n):
    return Tree.over([leaf_hash(str(i).encode()) for i in range(n)])


def plain_root(leaves):
    """By the recursion of the RFC: split at the largest power of two below n."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    left, right = plain_root(leaves[:split]), plain_root(leaves[split:])
    return hashlib.sha256(b"\x01" + left + right).digest()


@pytest.mark.parametrize("n", range(9))
def test_roots_are_the_known_ones(n):
    assert Tree.over([leaf_hash(one) for one in LEAVES[:n]]).root.hex() == ROOTS[n]


@given(st.integers(0, 130))
def test_the_root_is_that_of_the_recursion(n):
    leaves = [leaf_hash(str(i).encode()) for i in range(n)]
    assert Tree.over(leaves).root == plain_root(leaves)


@given(st.integers(1, 70), st.data())
def test_a_path_leads_one_leaf_at_one_place_to_the_root(n, data):
    whole, index = tree(n), data.draw(st.integers(0, n - 1))
    path, leaf = whole.path(index), leaf_hash(str(index).encode())
    assert root_of_path(leaf, index, n, path) == whole.root
    for elsewhere in range(n):
        if elsewhere != index:
            assert root_of_path(leaf, elsewhere, n, path) != whole.root
    assert root_of_path(leaf_hash(b"other"), index, n, path) != whole.root
    assert root_of_path(leaf, index, n, [*path, bytes(32)]) is None
    if path:
        assert root_of_path(leaf, index, n, path[:-1]) is None
        k = data.draw(st.integers(0, len(path) - 1))
        changed = [*path[:k], bytes(32), *path[k + 1 :]]
        assert root_of_path(leaf, index, n, changed) != whole.root


@pytest.mark.parametrize("index", [-1, 5, 99])
def test_a_place_outside_of_the_tree_has_no_root(index):
    assert root_of_path(bytes(32), index, 5, []) is None


def test_a_node_passes_for_no_leaf():
    """Without the first bytes, two leaves that are hashes would be a node."""
    four = tree(4)
    node = four.levels[0][0] + four.levels[0][1]
    assert leaf_hash(node) != four.levels[1][0]
    assert root_of_path(leaf_hash(node), 0, 2, [four.levels[1][1]]) != four.root
