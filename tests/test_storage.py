"""Chunks, atomic writes, the lock and the key: what a crash, a full disk or a stranger leaves."""

import errno
import io
import os
import pickle
import signal
import stat
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, scalar_dtypes

from curation_audit import storage
from curation_audit.checks import InputError
from curation_audit.storage import (
    ChunkStore,
    array_digest,
    content_key,
    locked,
    pack_arrays,
    read_or_make_key,
    unpack_arrays,
    write_arrays_atomically,
    write_atomically,
)

KEY = content_key({"chunk": 1})
ARRAYS = {"scores": np.linspace(0, 1, 12).reshape(3, 4), "mask": np.eye(3, dtype=bool)}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def full_disk(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_arrays_written_one_by_one_are_those_packed_together(tmp_path, monkeypatch):
    path = tmp_path / "evidence.npz"
    write_arrays_atomically(path, ARRAYS, mode=0o600)
    assert path.read_bytes() == pack_arrays(ARRAYS)
    assert mode(path) == 0o600
    with monkeypatch.context() as broken:
        broken.setattr(storage.os, "fsync", full_disk)
        with pytest.raises(OSError, match="No space left"):
            write_arrays_atomically(path, {"scores": np.zeros(3)})
    assert path.read_bytes() == pack_arrays(ARRAYS)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace", "open"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "report.json"
    write_atomically(path, b"old")
    with monkeypatch.context() as broken:
        broken.setattr(storage.os, step, full_disk)
        with pytest.raises(OSError, match="No space left"):
            write_atomically(path, b"new and longer")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    write_atomically(path, b"new and longer")
    assert path.read_bytes() == b"new and longer"


def test_a_file_is_whole_before_it_has_its_name(tmp_path, monkeypatch):
    path, seen = tmp_path / "x", []
    rename = os.replace

    def look(source, target):
        seen.append((Path(source).read_bytes(), Path(target).exists()))
        rename(source, target)

    monkeypatch.setattr(storage.os, "replace", look)
    write_atomically(path, b"payload", mode=0o600)
    assert seen == [(b"payload", False)]
    assert mode(path) == 0o600


named_arrays = st.dictionaries(
    st.text("abcxyz_0", min_size=1, max_size=8),
    arrays(
        st.one_of(scalar_dtypes(), st.just(np.dtype("<U5"))), array_shapes(min_dims=0, min_side=0)
    ),
    max_size=3,
)


@given(content=named_arrays)
def test_arrays_come_back_as_they_were(content):
    back = unpack_arrays(pack_arrays(content))
    assert back.keys() == content.keys()
    for name, array in content.items():
        assert back[name].dtype == array.dtype
        assert back[name].shape == array.shape
        np.testing.assert_array_equal(back[name], array)
    with np.load(io.BytesIO(pack_arrays(content)), allow_pickle=False) as by_numpy:
        assert sorted(by_numpy.files) == sorted(content)


def test_the_same_arrays_give_the_same_bytes_at_any_time(monkeypatch):
    first = pack_arrays(ARRAYS)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    assert pack_arrays(dict(reversed(ARRAYS.items()))) == first
    fortran = {**ARRAYS, "scores": ARRAYS["scores"].copy()}
    assert pack_arrays(fortran) == first


def test_a_store_gives_back_what_was_saved_and_keeps_it_to_the_owner(tmp_path):
    folder = tmp_path / "run" / "cache"
    before = os.umask(0o000)  # even where everything else is open to all
    try:
        store = ChunkStore(folder)
        assert store.load(KEY) is None
        store.save(KEY, ARRAYS)
    finally:
        os.umask(before)
    assert mode(folder) == 0o700
    (chunk,) = folder.iterdir()
    assert mode(chunk) == 0o600
    found = ChunkStore(folder).load(KEY)
    assert found is not None
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
    assert store.load(content_key({"chunk": 2})) is None


def test_a_store_without_a_folder_keeps_nothing():
    store = ChunkStore(None)
    store.save(KEY, ARRAYS)
    assert store.load(KEY) is None


def test_a_folder_that_was_open_is_closed_and_left_overs_go(tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "abc.chunk.123.tmp").write_bytes(b"half")
    ChunkStore(tmp_path)
    assert mode(tmp_path) == 0o700
    assert not list(tmp_path.iterdir())


def flip(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


SPOILED = {
    "empty": lambda content: b"",
    "first line only": lambda content: content.partition(b"\n")[0],
    "one byte short": lambda content: content[:-1],
    "half": lambda content: content[: len(content) // 2],
    "a bit of the head": lambda content: flip(content, 3),
    "a bit of the payload": lambda content: flip(content, len(content) // 2),
    "the last bit": lambda content: flip(content, len(content) - 1),
    "one byte more": lambda content: content + b"\0",
    "something else": lambda content: b"\xff\xfe not ascii \x80\n" + content,
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_a_spoiled_chunk_is_no_chunk(tmp_path, spoil):
    store = ChunkStore(tmp_path)
    store.save(KEY, ARRAYS)
    (path,) = tmp_path.iterdir()
    path.write_bytes(spoil(path.read_bytes()))
    assert store.load(KEY) is None
    store.save(KEY, ARRAYS)
    assert store.load(KEY) is not None


@given(data=st.data())
def test_no_flipped_bit_goes_unseen(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flips")
    store = ChunkStore(folder)
    store.save(KEY, ARRAYS)
    (path,) = folder.iterdir()
    content = bytearray(path.read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    assert store.load(KEY) is None


def test_a_chunk_under_anothers_name_is_no_chunk(tmp_path):
    store, other = ChunkStore(tmp_path), content_key({"chunk": 2})
    store.save(KEY, ARRAYS)
    (path,) = tmp_path.iterdir()
    path.rename(path.with_name(path.name.replace(KEY, other)))
    assert store.load(other) is None
    assert store.load(KEY) is None


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickles_are_never_loaded_and_never_written(tmp_path):
    fuse = tmp_path / "exploded"
    bomb = np.array([Bomb(fuse)], dtype=object)
    member, archive = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array(member, bomb, allow_pickle=True)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("scores.npy", member.getvalue())
    store = ChunkStore(tmp_path / "cache")
    for payload in (archive.getvalue(), pickle.dumps(Bomb(fuse)), b"", b"no npz"):
        path = tmp_path / "cache" / f"{KEY}.chunk"
        path.write_bytes(storage._seal(KEY, payload) + b"\n" + payload)  # a seal that fits
        assert store.load(KEY) is None
    assert not fuse.exists()
    pickle.loads(pickle.dumps(Bomb(fuse)))
    assert fuse.exists()  # the bomb would have worked
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        store.save(KEY, {"scores": bomb})
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [f"{KEY}.chunk"]


PARTS = {"seed": 1, "scorer": {"name": "mean", "metric": "cosine"}, "classes": ["a", "b"]}


def test_a_key_does_not_depend_on_the_order_of_names():
    turned = {name: PARTS[name] for name in reversed(PARTS)}
    turned["scorer"] = dict(reversed(PARTS["scorer"].items()))
    assert content_key(turned) == content_key(PARTS)
    assert len(content_key(PARTS)) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"seed": 1.5},
        {"seed": "1"},
        {"scorer": {"name": "mean", "metric": "inner_product"}},
        {"scorer": {"name": "mean"}},
        {"classes": ["b", "a"]},
        {"classes": ["a,b"]},
        {"more": None},
    ],
)
def test_a_key_changes_with_any_part(change):
    assert content_key(PARTS | change) != content_key(PARTS)


@pytest.mark.parametrize(
    "change",
    [
        {"scores": ARRAYS["scores"].astype(np.float32)},
        {"scores": ARRAYS["scores"].reshape(4, 3)},
        {"scores": ARRAYS["scores"].view(np.int64)},
        {"scores": np.nextafter(ARRAYS["scores"], 2)},
        {"scores": None},
        {"more": np.zeros(0)},
        {"scores": ARRAYS["mask"], "mask": ARRAYS["scores"]},
    ],
)
def test_a_digest_changes_with_any_array(change):
    assert array_digest(ARRAYS | change) != array_digest(ARRAYS)
    moved = {"mask": ARRAYS["mask"], "scores": np.asfortranarray(ARRAYS["scores"])}
    assert array_digest(moved) == array_digest(ARRAYS)


def test_the_code_digest_follows_the_code(tmp_path, monkeypatch):
    package = tmp_path / "package"
    (package / "sub").mkdir(parents=True)
    for name in ("storage.py", "sub/a.py"):
        (package / name).write_text("x = 1\n")
    monkeypatch.setattr(storage, "__file__", str(package / "storage.py"))
    seen = {storage.code_digest()}
    (package / "sub" / "a.py").write_text("x = 2\n")
    seen.add(storage.code_digest())
    (package / "sub" / "a.py").rename(package / "sub" / "b.py")
    seen.add(storage.code_digest())
    assert len(seen) == 3


HOLDER = """
import sys, time
from pathlib import Path
from curation_audit.storage import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_told_and_a_killed_one_frees_the_lock(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        message = f"^{tmp_path}: another process is at work in this folder; wait for it"
        with pytest.raises(InputError, match=message), locked(tmp_path):
            pytest.fail("the lock is held elsewhere")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with locked(tmp_path):
            pass
    finally:
        holder.kill()
        holder.communicate()


def test_a_lock_needs_a_folder(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for place in (file, file / "below"):
        with pytest.raises(InputError, match="no writable folder"), locked(place):
            pytest.fail("there is no folder")


def test_an_error_inside_frees_the_lock(tmp_path):
    with pytest.raises(OSError, match="disk"), locked(tmp_path):
        raise OSError("disk")
    with locked(tmp_path):
        pass


def test_a_key_is_made_once_and_kept_to_the_owner(tmp_path):
    path = tmp_path / "below" / "id.key"
    before = os.umask(0o000)
    try:
        key = read_or_make_key(path)
    finally:
        os.umask(before)
    assert len(key) == 32
    assert bytes.fromhex(path.read_text()) == key
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    assert [file.name for file in path.parent.iterdir()] == ["id.key"]
    assert read_or_make_key(path) == key
    assert read_or_make_key(tmp_path / "other.key") != key


@pytest.mark.parametrize("content", [b"", b"abc", b"00" * 31, b"00" * 33, b"\xff\xfe", b"zz" * 32])
def test_something_else_is_no_key(tmp_path, content):
    path = tmp_path / "id.key"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"^{path}: found no key; expected 64 hex digits"):
        read_or_make_key(path)
    assert path.read_bytes() == content


def test_a_folder_is_no_key(tmp_path):
    with pytest.raises(InputError, match="found no key"):
        read_or_make_key(tmp_path)


def test_audits_that_start_together_get_one_key(tmp_path, monkeypatch):
    path, others, here = tmp_path / "id.key", [], threading.Barrier(2, timeout=10)
    write = storage.write_atomically

    def both_write_before_either_goes_on(place, *rest, **more):
        # two processes have two numbers; two threads need to be told apart
        write(place, *rest, **more)
        here.wait()

    monkeypatch.setattr(storage, "write_atomically", both_write_before_either_goes_on)
    monkeypatch.setattr(storage.os, "getpid", threading.get_ident)
    second = threading.Thread(target=lambda: others.append(read_or_make_key(path)))
    second.start()
    key = read_or_make_key(path)
    second.join()
    assert others == [key]
    assert [file.name for file in tmp_path.iterdir()] == ["id.key"]


def test_a_key_can_be_made_where_there_are_no_links(tmp_path, monkeypatch):
    def no_links(*_args):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(storage.os, "link", no_links)
    key = read_or_make_key(tmp_path / "id.key")
    assert read_or_make_key(tmp_path / "id.key") == key
    assert [file.name for file in tmp_path.iterdir()] == ["id.key"]
