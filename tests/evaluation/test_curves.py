from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from fghash.codes import BinaryCodes, RealCodes
from fghash.errors import InputError
from fghash.evaluation import RetrievalProtocol, TieGroups, evaluate, scores_from_groups, write_curves
from fghash.evaluation.curves import radius_curve, ranks_curve


def groups_of(bits: int = 10, shift: int = 0) -> TieGroups:
    random = np.random.default_rng(bits)
    labels = random.integers(6, size=90)
    codes = random.random((90, bits)) < 0.5
    return evaluate(
        BinaryCodes(codes[:12]), BinaryCodes(codes[12:]), labels[:12] + shift, labels[12:] % 5
    ).groups


def test_curves_at_n_are_the_scores_at_n() -> None:
    groups = groups_of()
    curve = ranks_curve(groups)
    assert curve["n"][0] == 1
    assert curve["n"][-1] == 78
    scores = scores_from_groups(groups, RetrievalProtocol(cutoffs=tuple(curve["n"])))
    for n, precision, recall in zip(*curve.values(), strict=True):
        assert precision == pytest.approx(scores[f"precision_at_{n}"])
        assert recall == pytest.approx(scores[f"recall_at_{n}"])
    assert curve["recall"][-1] == pytest.approx(1)


@pytest.mark.parametrize("bits", [1, 10, 70])
def test_curves_by_radius_are_the_scores_within_each_radius(bits: int) -> None:
    groups = groups_of(bits)
    curve = radius_curve(groups)
    assert curve["radius"].tolist() == list(range(bits + 1))
    for radius, precision in zip(curve["radius"], curve["precision"], strict=True):
        scores = scores_from_groups(groups, RetrievalProtocol(radius=int(radius)))
        assert precision == pytest.approx(scores[f"precision_hamming_radius_{radius}"], abs=1e-12)
    total = groups.n_relevant
    within = [
        np.bincount(groups.query, weights=groups.relevant * (groups.distance <= r), minlength=12)
        for r in curve["radius"]
    ]
    expected = [(found[total > 0] / total[total > 0]).mean() for found in within]
    assert curve["recall"] == pytest.approx(expected)


def test_files_hold_the_curves_and_plots_of_each_format(tmp_path: Path) -> None:
    groups = groups_of()
    written = write_curves(groups, tmp_path / "new" / "curves", plots=("png", "svg"))
    names = {path.name for path in written}
    plots = (
        "precision_at_n",
        "precision_recall_at_n",
        "precision_within_radius",
        "precision_recall_by_radius",
    )
    assert names == {
        "precision_at_n.csv",
        "radius.csv",
        *(f"{name}.{end}" for name in plots for end in ("png", "svg")),
    }
    assert {path.name for path in (tmp_path / "new" / "curves").iterdir()} == names
    with (tmp_path / "new" / "curves" / "radius.csv").open() as file:
        rows = list(csv.DictReader(file))
    curve = radius_curve(groups)
    assert [float(row["precision"]) for row in rows] == curve["precision"].tolist()
    assert [int(row["radius"]) for row in rows] == curve["radius"].tolist()
    folder = tmp_path / "new" / "curves"
    assert (folder / "precision_at_n.png").read_bytes().startswith(b"\x89PNG")
    before = (folder / "precision_at_n.svg").read_bytes()
    assert before.lstrip().startswith(b"<?xml")
    write_curves(groups, folder, plots=("svg",))
    assert (folder / "precision_at_n.svg").read_bytes() == before


def test_codes_without_a_hamming_distance_have_no_radius_curve(tmp_path: Path) -> None:
    vectors, labels = np.random.default_rng(0).standard_normal((30, 4)), np.arange(30) % 3
    groups = evaluate(RealCodes(vectors[:5]), RealCodes(vectors), labels[:5], labels).groups
    assert [path.name for path in write_curves(groups, tmp_path, plots=())] == ["precision_at_n.csv"]


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="plots: 'jpg', expected png or svg"):
        write_curves(groups_of(), tmp_path, plots=("jpg",))
    with pytest.raises(InputError, match="no query has a relevant item"):
        write_curves(groups_of(shift=100), tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        write_curves(groups_of(), tmp_path / "file")


def test_tie_groups_are_saved_and_loaded(tmp_path: Path) -> None:
    groups = groups_of()
    groups.save(tmp_path / "groups.npz")
    again = TieGroups.load(tmp_path / "groups.npz")
    protocol = RetrievalProtocol(cutoffs=(3, 8))
    assert scores_from_groups(again, protocol) == scores_from_groups(groups, protocol)
    np.savez(tmp_path / "other.npz", offsets=[0])
    with pytest.raises(InputError, match=r"other\.npz: no array 'nearer', expected a file of tie groups"):
        TieGroups.load(tmp_path / "other.npz")
    with pytest.raises(InputError, match="no such file"):
        TieGroups.load(tmp_path / "absent.npz")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("bits", lambda bits: [bits, bits]),
        ("n_gallery", lambda n: "many"),
        ("n_gallery", lambda n: n - 1),
        ("size", lambda size: size[:-1]),
        ("size", lambda size: size[:, None]),
        ("size", lambda size: size.astype(str)),
        ("relevant", lambda relevant: relevant + 100),
        ("nearer", lambda nearer: nearer - 1),
        ("distance", lambda distance: distance[1:]),
        ("offsets", lambda offsets: offsets[:0]),
        ("offsets", lambda offsets: offsets[:-1]),
        ("offsets", lambda offsets: offsets[::-1]),
        ("offsets", lambda offsets: offsets + 0.5),
    ],
)
def test_tie_groups_that_cannot_be_are_refused(tmp_path: Path, name: str, damage) -> None:
    groups_of().save(tmp_path / "groups.npz")
    arrays = dict(np.load(tmp_path / "groups.npz"))
    np.savez(tmp_path / "groups.npz", **{**arrays, name: damage(arrays[name])})
    with pytest.raises(InputError, match="arrays that do not fit one another"):
        TieGroups.load(tmp_path / "groups.npz")
