"""Finished runs in a store, with codes that find their classes more or less well."""

import numpy as np

from fghash.codes import BinaryCodes
from fghash.evaluation import RetrievalProtocol, evaluate
from fghash.store import RunFolder
from store_fixtures import make_record, store


def with_codes(runs, seed, method="hashnet", bits=12, noise=0.1):
    """A finished run whose codes find their classes as well as the noise lets them."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(9).random((4, bits)) < 0.5
    labels, query_labels = np.arange(80) % 4, np.arange(40) % 4
    gallery = BinaryCodes(centres[labels] ^ (random.random((80, bits)) < noise))
    queries = BinaryCodes(centres[query_labels] ^ (random.random((40, bits)) < noise))
    result = evaluate(queries, gallery, query_labels, labels, RetrievalProtocol())
    scores = {key: result.scores[key] for key in ("map", "precision_at_10")}
    record = make_record(method=method, seed=seed, bits=bits, trained_bits=bits, **scores)
    folder = RunFolder.at(runs, record.data, method, bits, record.run)
    folder.write_codes(bits, "network", "gallery", gallery, labels)
    folder.write_codes(bits, "network", "queries", queries, query_labels)
    folder.write_groups(bits, "network", result.groups)
    store(runs, record)
    return record
