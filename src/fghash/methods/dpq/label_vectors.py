"""A vector for each class: averaged word vectors of its name, or random ones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from fghash.codes.archives import load_arrays
from fghash.errors import InputError

_ARGUMENT = "method.label_vectors"


def random_vectors(num_classes: int, width: int) -> Tensor:
    """Gaussian vectors (classes, width), always the same: nearly orthogonal, so every margin is about 1."""
    return torch.randn(num_classes, width, generator=torch.Generator().manual_seed(0))


def vector_width(path: Path) -> int:
    """Width of the vectors in a file, without reading it further than needed.

    Raises:
        InputError: no such file, neither ``.npz`` nor ``.txt``, or not of the form that :func:`read_vectors`
        says.
    """
    if not path.is_file():
        raise InputError(f"{_ARGUMENT}: no such file: {path} (a .npz or .txt of word vectors is needed)")
    if path.suffix == ".npz":
        return int(_arrays(path)["vectors"].shape[1])
    if path.suffix == ".txt":
        return _text_width(path)
    raise InputError(f"{_ARGUMENT}: got {path.name}, allowed are .npz and .txt files of word vectors")


def read_vectors(path: Path, class_names: Sequence[str]) -> Tensor:
    """Vectors (classes, width) of the classes: each the mean of the vectors of the words in its name.

    ``.txt``: a line a word, the word and its numbers separated by blanks (the text form of word2vec, whose
    first line may give counts, and of GloVe). ``.npz``: ``words`` (n,) and ``vectors`` (n, width); without
    ``words`` the vectors are those of the classes, in their order. Unknown words and classes of equal vectors
    give a warning.

    Raises:
        InputError: a class without any known word, a number of vectors other than that of the classes, or a
        file
            that cannot be read.
    """
    tokens = {name: class_words(name) for name in class_names}
    if path.suffix == ".npz":
        arrays = _arrays(path)
        if "words" not in arrays:
            return _checked(_in_order(arrays["vectors"], class_names), class_names)
        known = dict(zip((str(word).lower() for word in arrays["words"]), arrays["vectors"], strict=True))
    else:
        known = dict(_text_vectors(path, {word for words in tokens.values() for word in words}))
    return _checked(_means(tokens, known), class_names)


def class_words(name: str) -> list[str]:
    """The words of a class name, lower-case, without a data set's identifiers.

    >>> class_words("001.Black_footed_Albatross"), class_words("n02085620-Chihuahua")
    (['black', 'footed', 'albatross'], ['chihuahua'])
    """
    bare = re.sub(r"^(\d+\.|n\d{8}-)", "", name)
    return [word for word in re.split(r"[\W_]+", bare.lower()) if word]


def _arrays(path: Path) -> dict[str, np.ndarray]:
    arrays = load_arrays(path)
    vectors, words = arrays.get("vectors"), arrays.get("words")
    if vectors is None or vectors.ndim != 2 or vectors.dtype.kind != "f" or not np.isfinite(vectors).all():
        raise InputError(f"{_ARGUMENT}: {path} needs an array 'vectors' (words, width) of finite floats")
    if words is not None and (words.shape != vectors.shape[:1] or words.dtype.kind != "U"):
        raise InputError(f"{_ARGUMENT}: {path} needs one text in 'words' for each of {len(vectors)} vectors")
    return arrays


def _text_width(path: Path) -> int:
    with path.open(encoding="utf-8", errors="replace") as file:
        first, second = file.readline().split(), file.readline().split()
    fields = second if len(first) == 2 else first  # word2vec's header: how many words, how wide
    if len(fields) < 3:
        raise InputError(
            f"{_ARGUMENT}: {path} is no text of word vectors (a word and its numbers in each line)"
        )
    return len(fields) - 1


def _text_vectors(path: Path, wanted: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
    """The wanted words of a text file; the first of several spellings counts."""
    width, missing = _text_width(path), set(wanted)
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            word, *fields = line.rstrip().rsplit(" ", width)
            if word.lower() not in missing or (number == 1 and len(fields) == 1):
                continue
            missing.discard(word.lower())
            yield word.lower(), _numbers(fields, width, f"{path} line {number}")


def _numbers(fields: Sequence[str], width: int, where: str) -> np.ndarray:
    try:
        numbers = np.array([float(field) for field in fields])
    except ValueError:
        numbers = np.array([])
    if len(numbers) != width or not np.isfinite(numbers).all():
        raise InputError(f"{_ARGUMENT}: {where} does not hold {width} finite numbers")
    return numbers


def _in_order(vectors: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    if len(vectors) != len(class_names):
        raise InputError(f"{_ARGUMENT}: {len(vectors)} vectors without words for {len(class_names)} classes")
    return vectors


def _means(tokens: Mapping[str, Sequence[str]], known: Mapping[str, np.ndarray]) -> np.ndarray:
    nameless = [name for name, words in tokens.items() if not any(word in known for word in words)]
    if nameless:
        raise InputError(f"{_ARGUMENT}: no word vector for {_some(nameless)}")
    unknown = sorted({word for words in tokens.values() for word in words} - set(known))
    if unknown:
        rank_zero_warn(
            f"dpq: no vector for the words {_some(unknown)}; the other words of those classes count"
        )
    return np.stack(
        [np.mean([known[word] for word in words if word in known], axis=0) for words in tokens.values()]
    )


def _checked(vectors: np.ndarray, class_names: Sequence[str]) -> Tensor:
    """Refuse vectors without a direction, warn of classes that nothing would push apart."""
    empty = [name for name, vector in zip(class_names, vectors, strict=True) if not vector.any()]
    if empty:
        raise InputError(f"{_ARGUMENT}: the vector is zero for {_some(empty)}")
    pairs = combinations(range(len(vectors)), 2)
    equal = [
        f"{class_names[a]} and {class_names[b]}" for a, b in pairs if np.array_equal(vectors[a], vectors[b])
    ]
    if equal:
        rank_zero_warn(f"dpq: equal vectors, hence no margin between {_some(equal)}")
    return torch.from_numpy(vectors).float()


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
