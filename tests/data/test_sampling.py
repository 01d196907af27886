"""Order, balance and shards."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from fghash.data import sampling
from fghash.data.sampling import ClassBalanced, Deck, EvaluationSampler, FromSampler, Shuffled, TrainSampler
from fghash.errors import InputError


@pytest.fixture
def as_process(monkeypatch):
    def pretend(rank: int, world: int) -> None:
        monkeypatch.setattr(sampling, "process", lambda: (rank, world))

    return pretend


def epoch_of(order, batch_size: int, epoch: int) -> list[tuple[int, int]]:
    sampler = TrainSampler(order, batch_size)
    sampler.set_epoch(epoch)
    keys = list(sampler)
    assert len(keys) == len(sampler)
    return keys


def test_every_item_once_and_the_incomplete_batch_dropped():
    keys = epoch_of(Shuffled(22, seed=0), 4, epoch=3)
    assert len({index for index, _ in keys}) == len(keys) == 20
    assert {epoch for _, epoch in keys} == {3}


def test_order_is_a_function_of_seed_and_epoch():
    first = epoch_of(Shuffled(50, 0), 10, 1)
    assert first == epoch_of(Shuffled(50, 0), 10, 1)
    assert first != epoch_of(Shuffled(50, 0), 10, 2)
    assert [i for i, _ in first] != [i for i, _ in epoch_of(Shuffled(50, 1), 10, 1)]


@pytest.mark.parametrize("world", [2, 4])
def test_shards_in_order_of_rank_are_the_batches_of_one_process(as_process, world: int):
    labels = np.arange(60) % 5
    for order in (Shuffled(60, 0), ClassBalanced(labels, 8, 4, 0)):
        whole = np.array(epoch_of(order, 8, 2))[:, 0].reshape(-1, 8)
        shards = []
        for rank in range(world):
            as_process(rank, world)
            shards.append(np.array(epoch_of(order, 8, 2))[:, 0].reshape(-1, 8 // world))
        as_process(0, 1)
        assert (np.concatenate(shards, axis=1) == whole).all()


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("n_items", [1, 7, 12])
def test_evaluation_shards_hold_every_item_once(as_process, world: int, n_items: int):
    seen: list[int] = []
    for rank in range(world):
        as_process(rank, world)
        sampler = EvaluationSampler(n_items)
        mine = [index for index, _ in sampler]
        assert len(mine) == len(sampler)
        seen += mine
    assert sorted(seen) == list(range(n_items))


def test_balanced_batches_have_equal_shares_of_distinct_classes():
    labels = np.repeat(np.arange(7), [30, 3, 12, 12, 5, 20, 18])
    items = ClassBalanced(labels, batch_size=12, classes_per_batch=4, seed=0).epoch(1)
    assert len(items) == 100 // 12 * 12
    for batch in items.reshape(-1, 12):
        assert sorted(Counter(labels[batch].tolist()).values()) == [3, 3, 3, 3]
        assert len(set(batch.tolist())) == 12


def test_classes_and_their_items_take_turns():
    labels = np.repeat(np.arange(6), 40)
    items = ClassBalanced(labels, batch_size=8, classes_per_batch=4, seed=0).epoch(0)
    turns = Counter(labels[items].tolist())
    assert max(turns.values()) - min(turns.values()) <= 2
    assert len(set(items.tolist())) == len(items)


def test_a_class_smaller_than_its_share_repeats_its_items():
    labels = np.array([0] * 20 + [1] * 2)
    batches = ClassBalanced(labels, batch_size=8, classes_per_batch=2, seed=0).epoch(0).reshape(-1, 8)
    for batch in batches:
        assert Counter(labels[batch].tolist()) == {0: 4, 1: 4}
        assert Counter(batch[labels[batch] == 1].tolist()) == {20: 2, 21: 2}


def test_a_hand_has_no_card_twice_unless_it_must():
    deck = Deck(np.arange(5), 0)
    hands = [deck.draw(3) for _ in range(50)]
    assert all(len(set(hand)) == 3 for hand in hands)
    dealt = Counter(card for hand in hands for card in hand)
    assert dealt == dict.fromkeys(range(5), 30)
    assert Counter(Deck(np.arange(2), 0).draw(5)).most_common()[0][1] == 3


def test_a_methods_own_order_is_cut_like_any_other():
    class Own(list):
        def set_epoch(self, epoch: int) -> None:
            self[:] = [i + 10 * epoch for i in range(6)]

    assert epoch_of(FromSampler(Own(range(6))), 4, 2) == [(20, 2), (21, 2), (22, 2), (23, 2)]


def test_batch_must_divide_by_processes(as_process):
    as_process(0, 3)
    with pytest.raises(InputError, match=r"--batch_size.*3 processes, got 8"):
        TrainSampler(Shuffled(50, 0), 8)


def test_no_batch_fills():
    with pytest.raises(InputError, match=r"--batch_size: 8 is more than the 5 training images"):
        TrainSampler(Shuffled(5, 0), 8)


@pytest.mark.parametrize(
    ("batch_size", "classes", "message"),
    [
        (8, 3, "--batch_size.*multiple of --data.classes_per_batch 3"),
        (8, 9, "--data.classes_per_batch.*got 9"),
    ],
)
def test_impossible_shares_are_refused(batch_size, classes, message):
    with pytest.raises(InputError, match=message):
        ClassBalanced(np.arange(40) % 4 if classes == 3 else np.arange(40) % 8, batch_size, classes, 0)


def test_multi_hot_labels_have_no_classes_to_balance():
    with pytest.raises(InputError, match=r"--data\.sampler: pk.*multi-hot"):
        ClassBalanced(np.ones((10, 3)), 4, 2, 0)
