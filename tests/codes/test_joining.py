from __future__ import annotations

import numpy as np
import pytest

from fghash.codes import BinaryCodes, Codes, QuantizedCodes, RealCodes, as_labels, concatenate
from fghash.errors import InputError

BOOKS = np.arange(6.0).reshape(1, 3, 2)
WHOLE = [
    BinaryCodes(np.eye(5, dtype=bool)),
    QuantizedCodes(np.array([[0], [1], [2], [1], [0]]), BOOKS, "additive", "l2"),
    RealCodes(np.arange(10.0).reshape(5, 2), "l2"),
]


@pytest.mark.parametrize("codes", WHOLE, ids=lambda codes: type(codes).__name__)
def test_parts_make_the_whole_again(codes) -> None:
    assert isinstance(codes, Codes)
    joined = concatenate(
        [codes.take([0]), codes.take(slice(1, 4)), codes.take(np.array([False] * 4 + [True]))]
    )
    for name in codes.__dataclass_fields__:
        assert np.array_equal(getattr(joined, name), getattr(codes, name)), name
    assert len(joined) == len(codes) == 5


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([], "nothing to concatenate"),
        ([WHOLE[0], WHOLE[2]], "RealCodes of 64 bits and BinaryCodes of 5 bits"),
        ([WHOLE[0], WHOLE[0].prefix(4)], "BinaryCodes of 4 bits and BinaryCodes of 5 bits"),
        ([WHOLE[1], QuantizedCodes([[0]], BOOKS + 1, "additive", "l2")], "different codebooks"),
        ([WHOLE[1], QuantizedCodes([[0]], BOOKS, "additive", "dot")], "different codebooks, structures or"),
        ([WHOLE[2], RealCodes([[1.0, 2.0]], "dot")], "different similarities"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, words: str) -> None:
    with pytest.raises(InputError, match=words):
        concatenate(parts)


def test_labels_become_integers_or_booleans() -> None:
    assert as_labels([3.0, -1.0]).tolist() == [3, -1]
    assert as_labels(np.array([7], dtype=">u2")).dtype == np.int64
    assert as_labels([[0, 1.0]]).tolist() == [[False, True]]
    assert as_labels([True, False]).tolist() == [1, 0]


@pytest.mark.parametrize(
    "labels", [[0.5], [np.nan], [[2, 0]], "cat", np.zeros((2, 0)), np.array([2**63], np.uint64)]
)
def test_other_labels_are_refused(labels) -> None:
    with pytest.raises(InputError, match="labels: "):
        as_labels(labels)
