"""Downloading from a server on this machine that misbehaves in every way."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from data.server import CONTENT, serving
from fghash.data.prepare import download
from fghash.data.prepare.download import fetch, prepare
from fghash.data.prepare.origins import SOURCES, Archive, Preparation
from fghash.data.prepare.unpack import unpack
from fghash.errors import InputError
from fghash.registry import DATASETS


@pytest.fixture
def server():
    with serving() as running:
        yield running


def archive(server, *paths: str, content: bytes = CONTENT, name: str = "list.mat") -> Archive:
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return Archive(name, [server.url + path for path in paths], md5)


def test_download(server, tmp_path: Path):
    file = fetch(archive(server, "/good"), tmp_path)
    assert file.read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["list.mat"]
    fetch(archive(server, "/good"), tmp_path)
    assert len(server.asked) == 1  # there already


def test_an_interrupted_transfer_is_resumed_where_it_broke_off(server, tmp_path: Path):
    server.breaks_after = 200_000
    assert fetch(archive(server, "/breaks"), tmp_path).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [None, "bytes=200000-", "bytes=400000-"]


def test_what_came_is_kept_for_the_next_call(server, tmp_path: Path):
    with pytest.raises(InputError, match=r"broke off after 300,000 of 512,000 bytes\); call again to resume"):
        fetch(archive(server, "/breaks"), tmp_path)
    assert (tmp_path / "list.mat.part").stat().st_size == 300_000
    assert fetch(archive(server, "/good"), tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == ("/good", "bytes=300000-")


def test_a_server_that_cannot_resume_sends_it_all(server, tmp_path: Path):
    (tmp_path / "list.mat.part").write_bytes(b"the beginning")
    assert fetch(archive(server, "/no-ranges"), tmp_path).read_bytes() == CONTENT


def test_a_part_of_something_else_is_thrown_away(server, tmp_path: Path):
    (tmp_path / "list.mat.part").write_bytes(b"of another file")
    assert fetch(archive(server, "/good"), tmp_path).read_bytes() == CONTENT
    (tmp_path / "list.mat").unlink()
    (tmp_path / "list.mat.part").write_bytes(b"x" * (len(CONTENT) + 1))
    assert fetch(archive(server, "/good"), tmp_path).read_bytes() == CONTENT


def test_a_complete_part_needs_no_transfer(server, tmp_path: Path):
    (tmp_path / "list.mat.part").write_bytes(CONTENT)
    assert fetch(archive(server, "/good"), tmp_path).read_bytes() == CONTENT


def test_404_then_mirror(server, tmp_path: Path):
    assert fetch(archive(server, "/gone", "/good"), tmp_path).read_bytes() == CONTENT
    assert [path for path, _ in server.asked] == ["/gone", "/good"]


def test_wrong_checksum_then_mirror(server, tmp_path: Path):
    assert fetch(archive(server, "/wrong", "/good"), tmp_path).read_bytes() == CONTENT


def test_no_mirror_is_one_line_with_every_reason(server, tmp_path: Path):
    with pytest.raises(InputError, match=r"/gone: HTTP 404; .*/wrong: wrong checksum") as caught:
        fetch(archive(server, "/gone", "/wrong"), tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_no_server_at_all(tmp_path: Path):
    with pytest.raises(InputError, match=r"cannot download list\.mat"):
        fetch(Archive("list.mat", ["http://127.0.0.1:9/x"], "0"), tmp_path)


def test_other_schemes_are_refused(tmp_path: Path):
    (tmp_path / "secret").write_text("x")
    with pytest.raises(InputError, match="only http and https"):
        fetch(Archive("list.mat", [f"file://{tmp_path}/secret"], "0"), tmp_path)


def test_a_full_disk_is_one_line(server, tmp_path: Path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download, "_copy", full)
    sources = {"some": Preparation("none", [archive(server, "/good")])}
    with pytest.raises(InputError, match=r"--root: cannot write below .*: the disk is full"):
        prepare("some", tmp_path / "root", sources)


def tar_of(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def test_prepare_downloads_unpacks_and_is_quick_the_second_time(server, tmp_path: Path):
    server.content = tar_of(**{"set/images/a.jpg": b"a", "set/list.txt": b"b"})
    packed = archive(server, "/good", content=server.content, name="set.tgz")
    sources = {"some": Preparation("none", [packed])}
    assert prepare("some", tmp_path / "root", sources) == tmp_path / "root"
    assert (tmp_path / "root" / "set" / "images" / "a.jpg").read_bytes() == b"a"
    assert not (tmp_path / "root" / "set.tgz").exists()
    prepare("some", tmp_path / "root", sources)
    assert len(server.asked) == 1


def test_what_was_removed_since_is_fetched_again(server, tmp_path: Path):
    server.content = tar_of(**{"set/list.txt": b"b"})
    packed = archive(server, "/good", content=server.content, name="set.tgz")
    sources = {"some": Preparation("none", [packed])}
    for _ in range(2):
        prepare("some", tmp_path, sources)
        shutil.rmtree(tmp_path / "set")
    assert len(server.asked) == 2


def test_a_root_that_is_no_folder(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"--root: expected a folder, got the file '.*file'"):
        prepare("cub200", tmp_path / "file")
    with pytest.raises(InputError, match=r"--root: cannot write below .*below: Not a directory"):
        prepare("cub200", tmp_path / "file" / "below")


def test_prepare_leaves_other_files_alone(server, tmp_path: Path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.txt").write_text("mine")
    server.content = tar_of(**{"set/list.txt": b"b"})
    packed = archive(server, "/good", content=server.content, name="set.tgz")
    prepare("some", tmp_path, {"some": Preparation("none", [packed])})
    assert {path.name for path in (tmp_path / "set").iterdir()} == {"mine.txt", "list.txt"}


def test_what_a_person_must_do_is_said_in_one_line(tmp_path: Path):
    with pytest.raises(
        InputError, match=r"nabirds has to be fetched by hand \(.*terms.*\): Accept"
    ) as caught:
        prepare("nabirds", tmp_path / "birds")
    assert f"-C {tmp_path / 'birds'}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_names_get_the_nearest(tmp_path: Path):
    with pytest.raises(InputError, match=r"cannot fetch 'cub20' \(known: .*\), did you mean 'cub200'\?"):
        prepare("cub20", tmp_path)


def test_every_source_is_a_data_set_and_says_its_terms():
    assert set(SOURCES) <= set(DATASETS)
    assert {name for name, info in DATASETS.items() if info.year} == set(SOURCES)
    for source in SOURCES.values():
        assert source.terms
        assert bool(source.archives) != bool(source.steps)
        assert all(len(one.md5) == 32 and one.urls for one in source.archives)


def write_tar(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as file:
        for member in members:
            file.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 1) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size if kind == tarfile.REGTYPE else 0
    return info


MALICIOUS = {
    "up": member("../../x"),
    "up inside": member("a/../../x"),
    "absolute": member("/etc/x"),
    "windows": member("..\\x"),
    "drive": member("C:/x"),
    "symlink": member("a", tarfile.SYMTYPE, "/etc"),
    "hard link": member("a", tarfile.LNKTYPE, "../x"),
    "device": member("a", tarfile.CHRTYPE),
}


@pytest.mark.parametrize("harm", MALICIOUS)
def test_malicious_members_are_refused_and_nothing_is_written(tmp_path: Path, harm: str):
    packed = write_tar(tmp_path / "bad.tar", member("good.txt"), MALICIOUS[harm])
    (tmp_path / "root").mkdir()
    with pytest.raises(InputError, match=r"archive .*bad\.tar: member .* refused$"):
        unpack(packed, tmp_path / "root")
    assert not list((tmp_path / "root").iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"bad.tar", "root"}


def test_malicious_zip_members(tmp_path: Path):
    for name, attributes in (("../x", 0), ("link", 0o120777 << 16)):
        info = zipfile.ZipInfo(name)
        info.external_attr = attributes
        with zipfile.ZipFile(tmp_path / "bad.zip", "w") as file:
            file.writestr(info, "/etc")
        with pytest.raises(InputError, match="refused"):
            unpack(tmp_path / "bad.zip", tmp_path / "root")
        assert not list((tmp_path / "root").iterdir())


def test_zip(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "good.zip", "w") as file:
        file.writestr("a/b.txt", "b")
    unpack(tmp_path / "good.zip", tmp_path / "root")
    assert (tmp_path / "root" / "a" / "b.txt").read_text() == "b"


def test_too_much_is_refused(tmp_path: Path):
    packed = write_tar(tmp_path / "big.tar", member("a", size=600), member("b", size=600))
    with pytest.raises(InputError, match=r"unpacks to more than 1,000 bytes, refused"):
        unpack(packed, tmp_path / "root", limit=1000)
    assert not list((tmp_path / "root").iterdir())


@pytest.mark.parametrize("name", ["cut.tgz", "text.tar", "text.zip"])
def test_damaged_archives(tmp_path: Path, name: str):
    content = tar_of(**{f"{k}.bin": os.urandom(5000) for k in range(5)})
    (tmp_path / name).write_bytes(content[:9000] if name == "cut.tgz" else b"no archive")
    with pytest.raises(InputError, match=r"archive .*: damaged"):
        unpack(tmp_path / name, tmp_path / "root")
    assert not list((tmp_path / "root").iterdir())
