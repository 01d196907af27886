"""Splits, their fingerprint and description, and the validation hold-out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fghash.data.items import Items, Official, Splits, hold_out
from fghash.errors import InputError


def items(labels, prefix: str = "train", root: str = "/somewhere") -> Items:
    return Items.from_files(Path(root), [f"{prefix}/{k}.jpg" for k in range(len(labels))], labels)


def splits(root: str = "/somewhere", **changes) -> Splits:
    train = items([0, 0, 1, 1, 1], root=root)
    return replace(Splits(train, train, items([0, 1], "query", root), ("a", "b")), **changes)


def test_fingerprint_counts_and_ignores_where_the_data_lies():
    fingerprint = splits().fingerprint
    assert fingerprint.startswith("5-5-2-")
    assert fingerprint == splits(root="/elsewhere").fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"query": items([1, 1], "query")},
        {"query": items([0, 1], "test")},
        {"gallery": items([0, 0, 1, 1, 0])},
        {"parameters": "size 64"},
    ],
)
def test_fingerprint_changes_with_names_labels_splits_and_parameters(change):
    assert splits(**change).fingerprint != splits().fingerprint


def test_description_names_subsets():
    assert splits().description == "2 classes, 5 train / 2 query"
    assert splits(official=Official(2, 5, 2)).description == "2 classes, 5 train / 2 query"
    assert splits(official=Official(200, 5994, 5794)).description == "2 of 200 classes, 5 train / 2 query"
    assert splits(official=Official(2, 5994, 2)).description == "2 classes, 5 of 5,994 train / 2 query"
    other = splits(gallery=items([0, 1, 1], "gallery"))
    assert other.description == "2 classes, 5 train / 3 gallery / 2 query"
    assert not other.gallery_is_train


def test_hold_out_is_stratified_complete_and_seeded():
    labels = np.repeat([0, 1, 2, 3], [40, 10, 2, 1])
    rest, held = hold_out(items(labels), 0.1, seed=3)
    assert np.bincount(held.labels, minlength=4).tolist() == [4, 1, 1, 0]
    assert sorted([*rest.names, *held.names]) == sorted(items(labels).names)
    assert list(held.names) == list(hold_out(items(labels), 0.1, seed=3)[1].names)
    assert list(held.names) != list(hold_out(items(labels), 0.1, seed=4)[1].names)


def test_nothing_held_out_keeps_everything():
    rest, held = hold_out(items([0, 1, 1]), 0.0, seed=0)
    assert (len(rest), len(held)) == (3, 0)


def test_multi_hot_labels_are_held_out_without_strata():
    labels = np.eye(4, dtype=int)[np.arange(40) % 4]
    rest, held = hold_out(items(labels), 0.25, seed=0)
    assert (len(rest), len(held)) == (30, 10)
    assert held.labels.shape == (10, 4)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(InputError, match=r"--data\.validation.*below 1"):
        hold_out(items([0, 0]), fraction, 0)


def test_classes_of_one_image_cannot_be_held_out():
    with pytest.raises(InputError, match=r"--data\.validation.*single image"):
        hold_out(items([0, 1, 2]), 0.5, 0)
