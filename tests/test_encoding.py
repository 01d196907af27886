"""Encoded parts make one split in order, and only if every item is there once."""

import numpy as np
import pytest

from fghash.codes import BinaryCodes
from fghash.encoding import assemble
from fghash.methods.base import Encoded


def part(*positions):
    index = np.array(positions)
    return Encoded(index, index * 10, BinaryCodes(index[:, None] % 2 == 0), None)


def test_parts_are_put_in_order():
    split = assemble([part(3, 1), part(0, 2)], 4)
    assert split.labels.tolist() == [0, 10, 20, 30]
    assert split.codes.bits[:, 0].tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([part(0, 1), part(2)], "3 of 4 items encoded.*the last position is 2 instead of 3"),
        ([part(0, 2, 3, 4)], "position 2 where 1 is expected"),
        ([part(0, 1), part(1, 2)], "position 1 where 2 is expected"),
        ([part(0, 1, 2, 3, 4)], "5 of 4 items"),
        ([], "nothing was encoded of 4 items"),
    ],
)
def test_a_part_of_a_split_is_refused(parts, message):
    with pytest.raises(RuntimeError, match=message):
        assemble(parts, 4)
