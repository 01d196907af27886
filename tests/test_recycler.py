"""Memory that is used again only when nobody holds it."""

from __future__ import annotations

from fghash.backbone.pixels import Recycler


def test_memory_comes_back_when_the_last_view_is_gone():
    recycler = Recycler()
    first = recycler.floats((4, 5))
    where = first.data_ptr()
    part = first[2:, 1]
    del first
    assert recycler.floats((4, 5)).data_ptr() != where  # a part is still held
    del part
    assert recycler.floats((4, 5)).data_ptr() == where


def test_held_batches_keep_their_values():
    recycler = Recycler()
    held = [recycler.floats((3,)).fill_(k) for k in range(10)]
    assert [float(one.mean()) for one in held] == list(range(10))


def test_other_shapes_get_their_own_memory():
    recycler = Recycler()
    recycler.floats((8,))
    assert recycler.floats((2, 3)).shape == (2, 3)
    assert recycler.floats((8,)).shape == (8,)


def test_a_batch_outlives_its_recycler():
    batch = Recycler().floats((2,)).fill_(7)
    assert batch.tolist() == [7, 7]
