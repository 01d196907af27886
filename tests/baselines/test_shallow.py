"""Shallow baselines against faiss, scikit-learn and plain loops."""

import itertools
import math

import numpy as np
import pytest
import torch
from fghash_baselines.shallow import additive, anchors, itq, ksh, pq, projections, sdh, spectral, words
from torch.nn import functional

from contract import CLOSED_FORM, tiny_data
from fghash.backbone import GivenFeatures
from fghash.batch import Features
from fghash.codes import RealCodes
from fghash.errors import InputError
from fghash.evaluation import evaluate
from fghash.registry import METHODS
from fghash.settings.config import OptimConfig

faiss = pytest.importorskip("faiss", exc_type=ImportError)


def clusters(n=600, width=24, classes=6, seed=0):
    """Vectors around class means, with unequal variances, and their classes."""
    generator = torch.Generator().manual_seed(seed)
    means = 2 * torch.randn(classes, width, generator=generator)
    labels = torch.arange(n) % classes
    noise = torch.randn(n, width, generator=generator) * torch.linspace(2, 0.3, width)
    return means[labels] + noise, labels


def fitted(name, x, labels, bits=16, seed=0, **settings):
    torch.manual_seed(seed)
    classes = int(labels.max()) + 1
    method = METHODS[name].load()(GivenFeatures(x.shape[1]), classes, bits, OptimConfig(), **settings)
    method.fit_closed_form(x, labels)
    return method.eval()


def centred(x, normalise=False):
    x = x.double()
    x = functional.normalize(x) if normalise else x
    return x - x.mean(0)


# -- binary codes --------------------------------------------------------------------------------------------


def test_principal_directions_are_those_of_scikit_learn():
    from sklearn.decomposition import PCA

    x = centred(clusters()[0])
    found = projections.principal_directions(x, 5)
    expected = PCA(5).fit(x.numpy()).components_.T
    assert np.allclose(np.abs(found.numpy().T @ expected), np.eye(5), atol=1e-6)


def test_canonical_directions_are_those_of_the_generalised_eigenproblem():
    from scipy.linalg import eigh

    x, labels = clusters()
    x, y = centred(x), projections.one_hot(labels, 6)
    y = y - y.mean(0)
    found = projections.canonical_directions(x, y, 8, 1e-3).numpy()
    cxx, cyy, cxy = x.T @ x, y.T @ y, x.T @ y
    cxx += 1e-3 * cxx.diagonal().mean() * torch.eye(len(cxx))
    cyy += 1e-3 * cyy.diagonal().mean() * torch.eye(len(cyy))
    values, vectors = eigh((cxy @ torch.linalg.solve(cyy, cxy.T)).numpy(), cxx.numpy())
    values, vectors = values[::-1], vectors[:, ::-1]
    for place in range(5):  # six classes have five independent directions
        assert np.linalg.norm(found[:, place]) > 0
        own = found[:, place] @ cxx.numpy() @ found[:, place]
        assert own == pytest.approx(values[place], rel=1e-6)  # scaled by the correlation
        direction = found[:, place] / math.sqrt(own)
        assert abs(direction @ cxx.numpy() @ vectors[:, place]) == pytest.approx(1, abs=1e-6)
    assert not found[:, 6:].any()


@pytest.mark.parametrize("name", ["itq", "itq_cca"])
def test_itqs_error_never_increases_and_its_projection_is_rotated_directions(name):
    x, labels = clusters()
    v = centred(x) @ projections.principal_directions(centred(x), 12)
    errors = []
    for iterations in range(8):
        torch.manual_seed(3)
        rotation = itq.rotate(v, iterations)
        assert torch.allclose(rotation @ rotation.T, torch.eye(12, dtype=rotation.dtype), atol=1e-9)
        errors.append(itq.quantisation_error(v, rotation))
    assert all(after <= before + 1e-9 for before, after in itertools.pairwise(errors))
    assert errors[-1] < 0.95 * errors[0]
    method = fitted(name, x, labels, bits=12, normalise=False)
    directions = method.directions(centred(x), labels).float()
    gram = method.projection @ method.projection.T
    assert torch.allclose(gram, directions @ directions.T, atol=1e-4)


def test_itqs_error_is_that_of_a_loop():
    v, rotation = torch.randn(5, 3, dtype=torch.float64), projections.random_rotation(3)
    total = 0.0
    for row in (v @ rotation).tolist():
        total += sum(((1.0 if value >= 0 else -1.0) - value) ** 2 for value in row)
    assert itq.quantisation_error(v, rotation) == pytest.approx(total)


def test_spectral_hashing_takes_the_slowest_eigenfunctions():
    extents = [3.0, 1.0, 2.5]
    every = sorted((math.pi * k / length, side) for side, length in enumerate(extents) for k in range(1, 20))
    sides, frequencies = spectral.lowest_frequencies(torch.tensor(extents, dtype=torch.float64), 12)
    assert frequencies.tolist() == pytest.approx([frequency for frequency, _ in every[:12]])
    assert sides.tolist() == [side for _, side in every[:12]]


def test_spectral_codes_are_the_signs_of_eigenfunctions_computed_one_by_one():
    x, labels = clusters(width=8)
    method = fitted("sh", x, labels, bits=12, normalise=False)
    projected = (centred(x) @ projections.principal_directions(centred(x), 8)).numpy()
    low, high = projected.min(0), projected.max(0)
    every = sorted((k / (high[side] - low[side]), side, k) for side in range(8) for k in range(1, 13))[:12]
    expected = np.stack(
        [
            np.sin(math.pi / 2 + k * math.pi / (high[side] - low[side]) * (projected[:, side] - low[side]))
            for _, side, k in every
        ],
        axis=1,
    )
    assert np.allclose(method(Features(x)).numpy(), expected, atol=1e-3)
    agree = method.encode(Features(x)).bits == (expected >= 0)
    assert agree.mean() > 0.999


def test_the_kernel_is_a_loops():
    x, chosen = torch.randn(4, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    squares = [
        [sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) for q in chosen.tolist()] for p in x.tolist()
    ]
    expected = [[math.exp(-square / 5) for square in row] for row in squares]
    assert np.allclose(anchors.kernel(x, chosen, 2.5).numpy(), expected)
    assert anchors.mean_squared_distance(x, chosen) == pytest.approx(np.mean(squares))


def test_no_step_of_sdh_increases_its_objective():
    x, labels = clusters(n=120)
    y = projections.one_hot(labels, 6)
    phi = anchors.kernel(centred(x), centred(x)[:20], 100.0)
    weights = sdh.Weights(1.0, 1e-2)
    codes = torch.randint(0, 2, (120, 10), generator=torch.Generator().manual_seed(0)).double() * 2 - 1
    w, projection = torch.randn(10, 6, dtype=torch.float64), torch.randn(20, 10, dtype=torch.float64)
    last = sdh.objective(y, codes, w, phi @ projection, weights)
    for _ in range(4):
        projection = torch.linalg.lstsq(phi, codes).solution
        for step in ("regression", "classifier", "codes"):
            if step == "classifier":
                w = sdh.classifier(y, codes, weights.lam)
            if step == "codes":
                codes = sdh.discrete_codes(y, codes, w, phi @ projection, weights.nu)
            now = sdh.objective(y, codes, w, phi @ projection, weights)
            assert now <= last + 1e-9 * abs(last), step
            last = now
    assert set(codes.unique().tolist()) <= {-1.0, 1.0}


def test_sdhs_codes_are_the_best_bit_by_bit():
    """At the end no single bit of any item could be turned to lower the objective."""
    generator = torch.Generator().manual_seed(1)
    y = projections.one_hot(torch.arange(12) % 3, 3)
    codes = torch.randint(0, 2, (12, 4), generator=generator).double() * 2 - 1
    w, f = torch.randn(4, 3, generator=generator).double(), torch.randn(12, 4, generator=generator).double()
    weights = sdh.Weights(1.0, 0.5)
    found = sdh.discrete_codes(y, codes, w, f, weights.nu, sweeps=100)
    least = sdh.objective(y, found, w, f, weights)
    for item in range(12):
        for bit in range(4):
            turned = found.clone()
            turned[item, bit] *= -1
            assert sdh.objective(y, turned, w, f, weights) >= least - 1e-9


def test_kshs_bits_never_get_worse_than_their_spectral_start_and_lower_the_whole_objective():
    x, labels = clusters(n=150)
    k = anchors.kernel(centred(x), centred(x)[:30], 60.0)
    k = k - k.mean(0)
    similar = (labels[:, None] == labels[None, :]).double() * 2 - 1
    bits = 8
    functions = ksh.hash_functions(k, similar, bits, steps=30)
    residue, whole = bits * similar, [float((bits * similar).square().sum())]
    for bit in range(bits):
        start = ksh.spectral_start(k, residue)
        assert float((k @ start).square().sum()) == pytest.approx(len(k))
        code = projections.signs(k @ functions[:, bit])
        began = ksh.bit_objective(projections.signs(k @ start), residue)
        assert ksh.bit_objective(code, residue) <= began + 1e-9
        residue = residue - code[:, None] * code[None, :]
        whole.append(float(residue.square().sum()))
    assert all(after <= before for before, after in itertools.pairwise(whole))


def test_kshs_descent_never_increases_the_smoothed_objective():
    x, labels = clusters(n=60)
    k = anchors.kernel(centred(x), centred(x)[:10], 60.0)
    similar = (labels[:, None] == labels[None, :]).double() * 2 - 1
    a = ksh.spectral_start(k, similar)

    def soft(a):
        values = 2 * torch.sigmoid(k @ a) - 1
        return -float(values @ similar @ values)

    steps = [soft(ksh.smoothed(a, k, similar, steps)) for steps in range(6)]
    assert all(after <= before + 1e-9 for before, after in itertools.pairwise(steps))
    assert steps[-1] < steps[0]


# -- codewords -----------------------------------------------------------------------------------------------


def decoded_distortion(method, x):
    codes = method.encode(Features(x))
    return words.distortion(method(Features(x)), torch.from_numpy(codes.decode()))


def test_codewords_come_out_even():
    assert [words.words_for(bits, None) for bits in (8, 12, 16, 20, 24, 13, 48)] == [
        256,
        64,
        256,
        32,
        256,
        2,
        256,
    ]
    with pytest.raises(InputError, match="bits: got 12, allowed with 256 codewords are multiples of 8"):
        METHODS["pq"].load().allows_bits(12, words=256)


@pytest.mark.parametrize("bits", [12, 16])
def test_pqs_distortion_is_that_of_faiss(bits):
    x = centred(clusters(n=2000)[0]).float()
    method = fitted("pq", x, torch.arange(2000) % 6, bits=bits, normalise=False)
    count, log = method.count, int(math.log2(method.words))
    theirs = faiss.ProductQuantizer(24, count, log)
    theirs.train(x.numpy())
    back = theirs.decode(theirs.compute_codes(x.numpy()))
    assert decoded_distortion(method, x) == pytest.approx(
        words.distortion(x, torch.from_numpy(back)), rel=0.02
    )


def test_opqs_distortion_is_at_most_that_of_faiss_and_less_than_pqs():
    x = centred(clusters(n=2000)[0]).float()
    labels = torch.arange(2000) % 6
    mine = decoded_distortion(fitted("opq", x, labels, normalise=False), x)
    rotation = faiss.OPQMatrix(24, 2)
    rotation.train(x.numpy())
    theirs = faiss.ProductQuantizer(24, 2, 8)
    turned = rotation.apply(x.numpy())
    theirs.train(turned)
    back = theirs.decode(theirs.compute_codes(turned))
    assert mine <= 1.02 * words.distortion(torch.from_numpy(turned), torch.from_numpy(back))
    assert mine < decoded_distortion(fitted("pq", x, labels, normalise=False), x)


def test_opqs_alternation_never_increases_the_distortion():
    x = centred(clusters()[0]).float()
    found = []
    for iterations in range(6):
        torch.manual_seed(0)
        rotation, codebooks = pq.optimised_rotation(x, 2, 16, iterations)
        turned = x @ rotation
        found.append(words.distortion(turned, pq.joined(pq.nearest_words(turned, codebooks), codebooks)))
    assert all(after <= before + 1e-4 for before, after in itertools.pairwise(found))


@pytest.mark.parametrize("name", ["rq", "lsq"])
def test_additive_distortion_is_at_most_that_of_faiss(name):
    x = centred(clusters(n=2000)[0]).float()
    method = fitted(name, x, torch.arange(2000) % 6, bits=24, normalise=False)
    kind = faiss.ResidualQuantizer if name == "rq" else faiss.LocalSearchQuantizer
    theirs = kind(24, 3, 8)
    theirs.train(x.numpy())
    back = theirs.decode(theirs.compute_codes(x.numpy()))
    assert decoded_distortion(method, x) <= 1.02 * words.distortion(x, torch.from_numpy(back))


def test_beam_search_over_everything_finds_the_best_codes():
    generator = torch.Generator().manual_seed(2)
    x, codebooks = torch.randn(5, 3, generator=generator), torch.randn(2, 4, 3, generator=generator)
    best = []
    for row in x:
        costs = {}
        for a, b in itertools.product(range(4), range(4)):
            costs[a, b] = float((row - codebooks[0, a] - codebooks[1, b]).square().sum())
        best.append(min(costs, key=costs.get))
    assert [tuple(code) for code in additive.beam_search(x, codebooks, 16).tolist()] == best


def test_local_search_never_makes_a_code_worse_and_least_squares_never_the_codebooks():
    generator = torch.Generator().manual_seed(2)
    x, codebooks = torch.randn(40, 6, generator=generator), torch.randn(3, 8, 6, generator=generator)
    codes = additive.beam_search(x, codebooks, 1)
    errors = [(x - additive.summed(codes, codebooks)).square().sum(1)]
    for rounds in (1, 4, 16):
        better = additive.local_search(x, codebooks, codes, rounds)
        errors.append((x - additive.summed(better, codebooks)).square().sum(1))
        assert (errors[-1] <= errors[-2] + 1e-4).all()
    assert errors[-1].sum() < errors[0].sum()
    books = additive.least_squares_codebooks(x, better, 8)
    assert (x - additive.summed(better, books)).square().sum() <= errors[-1].sum()


# -- all -----------------------------------------------------------------------------------------------------

SUPERVISED = ("itq_cca", "ksh", "sdh")


def test_labels_help_and_every_method_is_ahead_of_chance():
    x, labels = clusters(n=600, width=32, classes=12)
    asked, stored = slice(0, 200), slice(200, 600)
    found = {}
    for name in CLOSED_FORM:
        method = fitted(name, x[stored], labels[stored], bits=24)
        queries, gallery = method.encode_queries(Features(x[asked])), method.encode(Features(x[stored]))
        found[name] = evaluate(queries, gallery, labels[asked].numpy(), labels[stored].numpy()).scores["map"]
    assert min(found.values()) > 2 / 12
    others = [found[name] for name in ("lsh", "sh", "itq")]
    assert min(found[name] for name in SUPERVISED) > max(others)


@pytest.mark.parametrize("name", CLOSED_FORM)
def test_several_labels_an_item_are_taken(name):
    x, labels = clusters(n=60)
    hot = functional.one_hot(labels, 6)
    hot[::3, 0] = 1
    torch.manual_seed(0)
    method = METHODS[name].load()(GivenFeatures(24), 6, 12, OptimConfig())
    method.fit_closed_form(x, hot)
    assert len(method.encode(Features(x))) == 60


@pytest.mark.parametrize("name", CLOSED_FORM)
def test_a_handful_of_items_is_enough(name):
    x, labels = clusters(n=5, classes=2)
    method = fitted(name, x, labels, bits=12)
    codes = method.encode(Features(x))
    arrays = [value for value in vars(codes).values() if isinstance(value, np.ndarray)]
    assert all(np.isfinite(value).all() for value in arrays)


def test_frozen_is_the_networks_vectors():
    x, labels = clusters(n=8)
    method = fitted("frozen", x, labels)
    codes = method.encode(Features(x))
    assert isinstance(codes, RealCodes)
    assert np.array_equal(codes.vectors, x.numpy())
    assert method.code_lengths() == (32 * 24,)


def test_bits_beyond_the_width_are_refused_where_each_needs_a_direction():
    with pytest.raises(InputError, match=r"bits: 32 does not suit itq \(allowed: up to 24"):
        METHODS["itq"].load()(GivenFeatures(24), 2, 32, OptimConfig())


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("itq", {"iterations": -1}), ("itq_cca", {"regularisation": 0.0}), ("ksh", {"labelled": 0}),
        ("ksh", {"steps": -1}), ("ksh", {"anchors": 0}), ("sdh", {"lam": 0.0}), ("sdh", {"nu": -1.0}),
        ("sdh", {"iterations": 0}), ("pq", {"dimensions": 0}), ("pq", {"iterations": -1}),
        ("rq", {"beam": 0}),
        ("lsq", {"turns": -1}), ("lsq", {"rounds": -1}), ("opq", {"dimensions": 1}), ("pq", {"words": 3}),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(name, settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        METHODS[name].load()(GivenFeatures(24), 2, 16, OptimConfig(), **settings)


def test_a_whole_run_needs_no_more_than_a_name(tmp_path):
    """The way of the command: fitted, encoded, scored, stored, loaded and encoded again."""
    from fghash import api

    result = api.fit(method="itq", data="synthetic", bits=12, gpus=0, runs=str(tmp_path))
    record = result.records[0]
    assert (record.epochs, record.batch_size) == (None, None)
    assert record.image_passes == 1000
    assert record.train_seconds is not None
    model = api.load_run(result.folder)
    data = tiny_data()
    assert model.method.projection.shape == (96, 12)
    assert data.num_classes


@pytest.mark.parametrize("name", ["itq", "frozen"])
def test_vectors_of_ones_own_are_fitted_too(name, tmp_path):
    """``--data features``: there is no network that could be frozen."""
    from fghash import api

    x, labels = clusters(n=60)
    split = np.where(np.arange(60) // 6 % 3 == 0, "query", "train")
    np.savez(tmp_path / "mine.npz", features=x.numpy(), labels=labels.numpy(), split=split)
    data = {"name": "features", "root": str(tmp_path / "mine.npz")}
    result = api.fit(method=name, data=data, bits=12, gpus=0, runs=str(tmp_path / "runs"))
    assert result.records[0].scores["map"] > 2 / 6
    assert len(api.load_run(result.folder).encode(x[:4])) == 4
