"""Files that somebody else made: links, pipes, bombs and names that lead elsewhere."""

import contextlib
import io
import json
import os
import struct
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_audit.checks import InputError
from curation_audit.integrity import folders
from curation_audit.integrity.arrays import read_arrays
from curation_audit.integrity.findings import compared
from curation_audit.integrity.folders import file_sha256, files_below, parsed_json, read_small
from curation_audit.integrity.pick_files import read_ids
from curation_audit.integrity.statement import (
    MANIFEST,
    PICKS,
    Statement,
    statement_json,
    statement_of,
)
from curation_audit.storage import pack_arrays


def test_files_are_named_by_their_place(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("a", "b/c", ".lock", "left"):
        (tmp_path / name).write_text(name)
    assert list(files_below(tmp_path, but=("left",))) == [".lock", "a", "b/c"]
    (tmp_path / ".lock").write_bytes(b"")  # as the tool leaves it
    assert list(files_below(tmp_path, but=("left",))) == ["a", "b/c"]


@pytest.mark.parametrize("kind", ["link", "folder link", "pipe", "deep"])
def test_what_is_no_plain_file_is_refused(tmp_path, kind):
    folder = tmp_path / "release"
    folder.mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").write_text("x")
    if kind == "link":
        (folder / "x").symlink_to(tmp_path / "out" / "x")
    elif kind == "folder link":
        (folder / "x").symlink_to(tmp_path / "out")
    elif kind == "pipe":
        os.mkfifo(folder / "x")
    else:
        (folder / "/".join("abcdefghijk")).mkdir(parents=True)
    with pytest.raises(InputError):
        files_below(folder)


def test_hashing_follows_no_link_and_waits_for_no_pipe(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert file_sha256(tmp_path / "x").startswith("ba7816bf8f01cfea")
    (tmp_path / "link").symlink_to(tmp_path / "x")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "none"):
        with pytest.raises(InputError):
            file_sha256(tmp_path / name)
    with pytest.raises(InputError, match="is no file"):
        read_small(tmp_path / "pipe", 10)
    with pytest.raises(InputError, match="more than 2 bytes"):
        read_small(tmp_path / "x", 2)
    assert read_small(tmp_path / "x", 3) == b"abc"


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "MOST_FILES", 3)
    for i in range(4):
        (tmp_path / str(i)).write_text("x")
    with pytest.raises(InputError, match="more than 3"):
        files_below(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"a": NaN}',
        '{"a": Infinity}',
        '{"a": 1e999}',
        '{"a": 1, "a": 2}',
        "[" * 100_000,
        '"\\ud800',
        b"\xff",
    ],
)
def test_json_that_readers_take_differently_is_refused(text):
    payload = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(InputError) as refused:
        parsed_json(payload, "there")
    assert str(refused.value).startswith("there: ")


NAMES = ["../x", "/x", "a/../../x", "a\\b", "", ".", "a//b", "./a", "a/./b", "a\nb", "a\x00b", "a/"]


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_names_files_inside_only(name):
    payload = statement_json(
        Statement(subjects={name: "0" * 64}, predicate_type=MANIFEST, predicate={})
    )
    with pytest.raises(InputError, match="outside of the folder"):
        statement_of(payload, MANIFEST, "there")


def test_a_statement_comes_back_as_it_was():
    statement = Statement(
        subjects={"a/b": "0" * 64, "c": "f" * 64}, predicate_type=PICKS, predicate={"x": [1.5, "ä"]}
    )
    assert statement_of(statement_json(statement), PICKS, "there") == statement
    tree = json.loads(statement_json(statement))
    assert tree["_type"] == "https://in-toto.io/Statement/v1"
    assert tree["subject"][0] == {"name": "a/b", "digest": {"sha256": "0" * 64}}
    with pytest.raises(InputError, match="another kind"):
        statement_of(statement_json(statement), MANIFEST, "there")
    for change in (
        {"_type": "x"}, {"subject": 3}, {"predicate": []}, {"subject": [3]},
        {"subject": tree["subject"][:1] * 2},
        {"subject": [{"name": "a", "digest": {"sha256": "0" * 63}}]},
        {"subject": [{"name": "a", "digest": {"sha256": "0" * 64 + "\n"}}]},
        {"subject": [{"name": "a", "digest": {"sha1": "0" * 64}}]},
    ):  # fmt: skip
        with pytest.raises(InputError):
            statement_of(json.dumps(tree | change).encode(), PICKS, "there")


ARRAYS = {
    "a": np.arange(12.0).reshape(3, 4), "b": np.array(["x", "äö"]), "c": np.array([True, False]),
    "d": np.array(3), "e": np.asfortranarray(np.arange(6).reshape(2, 3)), "f": np.zeros((0, 3)),
}  # fmt: skip


def test_arrays_come_back_as_they_were(tmp_path):
    (tmp_path / "x.npz").write_bytes(pack_arrays(ARRAYS))
    read = read_arrays(tmp_path / "x.npz")
    assert read.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype


def npy(array=None, header=None):
    member = io.BytesIO()
    if header is not None:
        np.lib.format.write_array_header_1_0(member, header)
        member.write(bytes(16))
    else:
        np.lib.format.write_array(member, array)
    return member.getvalue()


HUGE = {"descr": "<f8", "fortran_order": False, "shape": (1 << 60,)}
WRONG = {
    "larger than it says": npy(header={**HUGE, "shape": (1,)}),
    "smaller than it says": npy(header={**HUGE, "shape": (3,)}),
    "far smaller": npy(header=HUGE),
    "overflowing": npy(header={**HUGE, "shape": (1 << 40, 1 << 40, 1 << 40)}),
    "negative": npy(header={**HUGE, "shape": (-1, -2)}),
    "of objects": npy(header={**HUGE, "descr": "|O", "shape": (2,)}),
    "of nothing": npy(header={**HUGE, "descr": "|V0", "shape": (2,)}),
    "no array": b"x",
}


@pytest.mark.parametrize("kind", WRONG)
def test_an_array_that_is_not_what_it_says_is_refused(tmp_path, kind):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", WRONG[kind])
    with pytest.raises(InputError, match="holds no arrays"):
        read_arrays(tmp_path / "x.npz")


def test_pickles_bombs_and_repeats_are_refused(tmp_path):
    np.savez(tmp_path / "pickle.npz", a=np.array([{}, []], dtype=object))
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(1 << 20))
    with zipfile.ZipFile(tmp_path / "twice.npz", "w") as archive:
        archive.writestr("a.npy", npy(np.zeros(2)))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.npy", npy(np.ones(2)))
    (tmp_path / "none.npz").write_bytes(b"x" * 100)
    os.mkfifo(tmp_path / "pipe.npz")
    for name in ("pickle", "bomb", "twice", "none", "missing", "pipe"):
        with pytest.raises(InputError):
            read_arrays(tmp_path / f"{name}.npz")


def test_members_that_lie_in_each_other_are_refused(tmp_path):
    """Three stored members, each inside of the one before: as large as three files together."""
    inner, places = bytes(1000), []
    for i in range(3):
        body = npy(np.frombuffer(inner, np.uint8))
        head = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 0, zlib.crc32(body), len(body),
                           len(body), 5, 0)  # fmt: skip
        inner = head + b"%d.npy" % i + body
        places.append((i, zlib.crc32(body), len(body), len(inner)))
    central = b""
    for i, crc, size, whole in places:
        central += struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, crc, size, size, 5,
                               0, 0, 0, 0, 0, len(inner) - whole) + b"%d.npy" % i  # fmt: skip
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 3, 3, len(central), len(inner), 0)
    (tmp_path / "x.npz").write_bytes(inner + central + tail)
    with pytest.raises(InputError, match="holds no arrays"):
        read_arrays(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("text", "told"),
    [("a\n b", "line 2: begins"), ("a\t", "begins"), ("a\u200bb", "invisible"),
     ("a\x00", "control"),
     ("a\u2028b", "invisible"), ("a\u0308", "NFC"), ("a\u00a0", "begins")],
)  # fmt: skip
def test_an_id_that_looks_like_another_is_refused(tmp_path, text, told):
    (tmp_path / "ids.txt").write_text(text)
    with pytest.raises(InputError, match=told):
        read_ids(tmp_path / "ids.txt")


def test_the_mark_of_utf_8_is_no_part_of_an_id(tmp_path):
    (tmp_path / "ids.txt").write_bytes(b"\xef\xbb\xbfa\r\n\nb c\n")
    assert read_ids(tmp_path / "ids.txt") == ["a", "b c"]


def test_tiny_settings_are_compared_by_their_share():
    for name in ("delta", "confidence", "p_value"):
        assert compared("x", {name: 9e-10}, {name: 1e-12}, "x").status == "failed"
    assert compared("x", {"fpr": [1e-10]}, {"fpr": [2e-10]}, "x").status == "failed"
    assert compared("x", {"auc": 1e-12}, {"auc": 0.0}, "x").status == "ok"


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_no_changed_byte_ends_in_anything_but_one_line(tmp_path_factory, place, value):
    payload = bytearray(pack_arrays({"a": np.arange(20.0), "b": np.array(["x"])}))
    payload[place % len(payload)] = value
    path = tmp_path_factory.mktemp("changed") / "x.npz"
    path.write_bytes(payload)
    with contextlib.suppress(InputError):  # of one line, by its making
        assert set(read_arrays(path)) <= {"a", "b"} or place
