"""``fghash data``: what it prints, what it leaves on the disk, and how it refuses."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.miniatures import aircraft, lists
from data.server import CONTENT, serving
from fghash.cli import main
from fghash.data.prepare.origins import SOURCES, Archive, Preparation
from fghash.data.sets.csv import read_csv
from fghash.registry import DATASETS


def test_the_list_says_of_each_how_it_is_fetched(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line for line in out.splitlines() if not line.startswith(" ")}
    assert set(rows) == {"name", *DATASETS}
    for name, entry in DATASETS.items():
        assert entry.summary in rows[name]
    assert "  by prepare  " in rows["cub200"]
    assert "  by hand  " in rows["nabirds"]
    assert "  -  " in rows["folder"]
    assert all(source.terms in out for source in SOURCES.values())
    assert max(map(len, out.splitlines())) <= 120


@pytest.mark.parametrize("words", [["data"], ["data", "prepare", "--help"], ["data", "check", "--help"]])
def test_help(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "fghash data check" in out or "fghash data prepare" in out
    assert max(map(len, out.splitlines())) <= 120


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("lst", "data: unknown name 'lst' (known: list, prepare, check, images), did you mean 'list'?"),
        ("list --all", "data list: unknown option '--all'"),
        ("prepare", "data prepare: the following arguments are required: NAME, --root"),
        ("prepare cub200", "data prepare: the following arguments are required: --root"),
        ("prepare cub20 --root x", "data prepare: unknown name 'cub20' (known: aircraft, "),
        ("prepare cub20 --root x", "did you mean 'cub200'?"),
        ("prepare folder --root x", "data prepare: nothing is fetched for 'folder' (known: aircraft, "),
        ("prepare cub200 --root x --rot y", "did you mean '--root'?"),
        ("prepare cub200 --root file", "--root: expected a folder, got the file 'file'"),
        ("prepare cub200 --root file/below", "--root: cannot write below file/below: Not a directory"),
        ("check", "data check: the following arguments are required: NAME"),
        ("check nabirs --root x", "data check: unknown name 'nabirs' (known: aircraft, "),
        ("check nabirs --root x", "did you mean 'nabirds'?"),
        ("check cub200", "--root: data set cub200 needs the folder of its files"),
        ("check cub200 --root nowhere", "--root: no such folder 'nowhere'"),
        ("check cub200 --data.root nowhere", "--root: no such folder 'nowhere'"),
        ("check cub200 --root . --fix-lists x", "did you mean '--fix-list'?"),
        ("check cub200 --root . --fix-list no/x.csv", "--fix-list: expected a file in an existing folder"),
        ("check cub200 --root . --fix-list .", "--fix-list: expected a file in an existing folder, got '.'"),
        ("check cub200 --root .", "--data.root: . has no images.txt"),
        ("check cub200 --root . --data.seed", "--data.seed: a value is missing"),
        ("check vegfru --root . --data.protocol x", "--data.protocol: expected train, trainval, got 'x'"),
        ("check vegfru --root . --data.protcol x", "did you mean 'protocol'?"),
    ],
)
def test_refusals(refused: Callable[..., str], tmp_path: Path, words: str, said: str) -> None:
    (tmp_path / "file").touch()
    assert said in refused("data", *words.split())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_root_that_may_not_be_written_to(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", locked)  # modes do not stop root, whom tests may run as
    said = refused("data", "prepare", "cub200", "--root", "locked")
    assert said == "--root: cannot write below locked: Permission denied"


def test_what_is_fetched_by_hand_ends_with_the_steps(refused: Callable[..., str], tmp_path: Path) -> None:
    said = refused("data", "prepare", "nabirds", "--root", "birds")
    assert "nabirds has to be fetched by hand" in said
    for step in SOURCES["nabirds"].steps:
        assert step.replace("ROOT", "birds") in said
    assert not list(tmp_path.iterdir())


@pytest.fixture
def server() -> Iterator[Any]:
    with serving() as running:
        yield running


@pytest.fixture
def prepare(server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """``fghash data prepare cub200`` of an archive that lies at these paths of the server."""
    monkeypatch.chdir(tmp_path)

    def run(*paths: str, name: str = "birds.tgz") -> int:
        md5 = hashlib.md5(server.content, usedforsecurity=False).hexdigest()
        source = Preparation("none", [Archive(name, [server.url + path for path in paths], md5)])
        monkeypatch.setitem(SOURCES, "cub200", source)
        return main(["data", "prepare", "cub200", "--root", "birds"])

    return run


def tar(*members: tuple[str, bytes, str]) -> bytes:
    """A tar of members: name, type and what a link points to."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as file:
        for name, kind, target in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, target, 4 if kind == tarfile.REGTYPE else 0
            file.addfile(info, io.BytesIO(b"list"))
    return packed.getvalue()


def good_tar() -> bytes:
    return tar(("CUB_200_2011/images.txt", tarfile.REGTYPE, ""))


def test_prepare_fetches_unpacks_and_says_how_to_use_it(server: Any, prepare: Any, capsys: Any) -> None:
    server.content = good_tar()
    for _ in range(2):
        assert prepare("/good") == 0
        out, err = capsys.readouterr()
        assert out == "prepared cub200 in birds; use --data cub200 --data.root birds\n"
        assert err == ""
    assert Path("birds/CUB_200_2011/images.txt").read_text() == "list"
    assert len(server.asked) == 1


def test_prepare_resumes_what_broke_off(server: Any, prepare: Any) -> None:
    server.breaks_after = 200_000
    assert prepare("/breaks", name="list.mat") == 0
    assert Path("birds/list.mat").read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [None, "bytes=200000-", "bytes=400000-"]


def test_prepare_resumes_what_an_earlier_command_left(server: Any, prepare: Any, capsys: Any) -> None:
    assert prepare("/breaks", name="list.mat") == 2
    err = capsys.readouterr().err
    assert err.startswith("fghash: error: data: cannot download list.mat (")
    assert err.endswith("broke off after 300,000 of 512,000 bytes); call again to resume\n")
    assert sorted(path.name for path in Path("birds").iterdir()) == ["list.mat.part"]
    assert prepare("/good", name="list.mat") == 0
    assert server.asked[-1] == ("/good", "bytes=300000-")


def test_prepare_goes_from_mirror_to_mirror(server: Any, prepare: Any) -> None:
    server.content = good_tar()
    assert prepare("/gone", "/wrong", "/good") == 0
    assert [path for path, _ in server.asked] == ["/gone", "/wrong", "/good"]


def test_prepare_keeps_nothing_of_a_wrong_file(server: Any, prepare: Any, capsys: Any) -> None:
    assert prepare("/gone", "/wrong") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "/gone: HTTP 404; " in err
    assert "/wrong: wrong checksum" in err
    assert not list(Path("birds").iterdir())


@pytest.mark.parametrize(
    "harm",
    [("../../x", tarfile.REGTYPE, ""), ("/x", tarfile.REGTYPE, ""), ("x", tarfile.SYMTYPE, "/etc/passwd")],
)
def test_prepare_unpacks_nothing_of_a_malicious_archive(
    server: Any, prepare: Any, capsys: Any, tmp_path: Path, harm: tuple[str, bytes, str]
) -> None:
    server.content = tar(("images.txt", tarfile.REGTYPE, ""), harm)
    assert prepare("/good") == 2
    err = capsys.readouterr().err
    assert f"archive birds/birds.tgz: member {harm[0]!r}" in err
    assert err.endswith("refused\n")
    assert err.count("\n") == 1
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["birds", "birds/birds.tgz"]


@pytest.fixture
def planes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """FGVC-Aircraft in miniature, every picture another: the folder that its names are below."""
    monkeypatch.chdir(tmp_path)
    return drawn(Path("planes/fgvc-aircraft-2013b/data"), aircraft(Path("planes")))


def drawn(folder: Path, listed: Any) -> Path:
    for k, (name, _) in enumerate(row for rows in listed.values() for row in rows):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(k).integers(0, 255, (12, 16, 3), np.uint8)
        Image.fromarray(noise).save(folder / name)
    return folder


CHECK = ["data", "check", "aircraft", "--root", "planes"]


def test_check_of_a_good_folder(planes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(CHECK) == 0
    out, err = capsys.readouterr()
    fingerprint = DATASETS["aircraft"].load()(root="planes").read().fingerprint
    assert out.splitlines() == [
        "3 of 100 classes, 9 train / 6 query",
        "training images of a class: 3 to 3",
        f"fingerprint: {fingerprint}",
        "unreadable files: 0",
        "queries that are in the gallery: 0",
    ]
    assert err == ""


@pytest.fixture
def broken(planes: Path) -> Path:
    """A training picture is cut, and a query is a copy of a training picture."""
    whole = planes / "images" / "0000001.jpg"
    whole.write_bytes(whole.read_bytes()[:-100])
    shutil.copy(planes / "images" / "0000002.jpg", planes / "images" / "0000014.jpg")
    return planes


def test_check_names_what_is_wrong(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(CHECK) == 2
    out, err = capsys.readouterr()
    unreadable, shared = out.splitlines()[-3], out.splitlines()[-1]
    assert unreadable.startswith("  images/0000001.jpg: ")
    assert shared == "  images/0000014.jpg = images/0000002.jpg"
    assert "unreadable files: 1\n" in out
    assert "queries that are in the gallery: 1\n" in out
    assert err.count("\n") == 1
    assert "--fix-list FILE" in err


def test_the_fixed_list_is_what_the_command_says_it_is(
    broken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*CHECK, "--fix-list", "fixed.csv"]) == 2
    *_, left_out, use = capsys.readouterr().out.splitlines()
    assert left_out == "left out: 2"
    words = use.removeprefix("use ").split()
    assert words[:2] == ["--data", "csv"]
    fixed = read_csv(words[3], words[5])
    assert (len(fixed.train), len(fixed.query), fixed.gallery_is_train) == (8, 5, True)
    assert {"images/0000001.jpg", "images/0000014.jpg"}.isdisjoint([*fixed.train.names, *fixed.query.names])
    assert main(["data", "check", "csv", *words[2:]]) == 0


def test_check_takes_the_settings_of_the_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    drawn(Path("mine"), lists(Path("mine")))
    Path("mine/other.txt").write_text("images/4.jpg 1\n")
    words = ["--data.query", "other.txt", "lists", "--data.labels=one", "--root", "mine"]
    assert main(["data", "check", *words]) == 0
    assert capsys.readouterr().out.startswith("3 classes, 9 train / 1 query\n")


def test_check_of_drawn_data_needs_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    small = {"families": 1, "train_images": 3, "query_images": 1, "image_size": 16}
    settings = [f"--data.{name}={value}" for name, value in small.items()]
    assert main(["data", "check", "synthetic", *settings]) == 0
    assert "queries that are in the gallery: 0" in capsys.readouterr().out


def test_an_interrupted_download_says_that_it_resumes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fghash.data.prepare.download.prepare", interrupt)
    assert main(["data", "prepare", "cub200", "--root", "x"]) == 130
    assert capsys.readouterr().err == "\nfghash: interrupted; the same command resumes the download\n"
