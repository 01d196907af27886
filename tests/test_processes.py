"""Several processes give what one gives: codes, scores, loss, gradients, alternation and RetrievalScores; and
a training goes on with more processes than it began with, or fewer.
"""

import json

import numpy as np
import pytest

from contract import TRAINED
from evaluation.test_metric import expected, outputs_and_labels
from fghash.registry import METHODS
from fghash.training.checkpoints import read_checkpoint
from fghash.training.last_checkpoint import LAST
from process_jobs import ALTERNATING, RESUMED, everything, go_on, only_metric, stop
from processes import run_all

pytestmark = pytest.mark.xdist_group("processes")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One process, two and four do everything, three more the metric, at most four at once."""
    folder = tmp_path_factory.mktemp("processes")
    outputs, labels = outputs_and_labels()
    np.savez(folder / "metric.npz", outputs=outputs, labels=labels)
    for sizes in (((1, everything), (2, everything)), ((4, everything),), ((3, only_metric),)):
        jobs = []
        for n_processes, job in sizes:
            own = folder / str(n_processes)
            own.mkdir()
            jobs += [(job, own, rank, n_processes) for rank in range(n_processes)]
        run_all(jobs, folder)
    return folder


@pytest.mark.parametrize("n_processes", ["2", "4"])
@pytest.mark.parametrize("name", sorted(METHODS))
def test_codes_scores_loss_and_gradients_are_those_of_one_process(name, n_processes, folder):
    one, two = (dict(np.load(folder / n / f"{name}.npz")) for n in ("1", n_processes))
    assert one.keys() == two.keys()
    assert ("loss" in one) == (name in TRAINED)
    assert (sum(key.startswith("backbone") for key in one) > 10) == (name in TRAINED)
    for key in one:
        if one[key].dtype == np.float64:
            scale = np.abs(one[key]).max(initial=1e-30)
            assert np.abs(one[key] - two[key]).max(initial=0) <= 1e-10 * max(scale, 1.0), key
        elif one[key].dtype == np.float32:
            assert np.allclose(one[key], two[key], atol=1e-6), key
        else:
            assert np.array_equal(one[key], two[key]), key


@pytest.mark.parametrize("name", sorted(ALTERNATING))
def test_two_processes_alternate_as_one(name, folder):
    """Subset, outputs, code step, coins and anchors are global."""
    alone = dict(np.load(folder / "1" / f"alternating-{name}0.npz"))
    assert int(alone["alternation.steps"]) == 4
    assert all(np.isfinite(value).all() for value in alone.values())
    assert name != "exchnet" or (alone["exchanging"] and np.abs(alone["anchors"]).sum() > 0)
    for rank in (0, 1):
        shared = dict(np.load(folder / "2" / f"alternating-{name}{rank}.npz"))
        assert shared.keys() == alone.keys()
        for key, value in alone.items():
            assert np.allclose(value, shared[key], rtol=1e-9, atol=1e-9), key
        assert np.array_equal(shared["alternation.codes"], alone["alternation.codes"])


@pytest.mark.parametrize("n_processes", [2, 3, 4])
def test_retrieval_scores_of_several_processes_are_those_of_one(n_processes, folder):
    for rank in range(n_processes):
        path = folder / str(n_processes) / f"metric{rank}.json"
        binary, real, lonely = json.loads(path.read_text())
        assert lonely == "query: a process added no batch, expected at least one on each"
        assert binary == pytest.approx(expected("binary"), abs=1e-12)
        assert real == pytest.approx(expected("real"), abs=1e-6)


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """The same training whole on one process, begun on one and ended on two, and the other way round."""
    folder = tmp_path_factory.mktemp("resumed")
    for name in ("whole", "began 1", "began 2", "1 to 2", "2 to 1"):
        (folder / name).mkdir()
    run_all(
        [(stop, folder / f"began {n}", rank, n) for n in (1, 2) for rank in range(n)]
        + [(go_on, folder / "whole", 0, 1, None)],
        folder,
    )
    run_all(
        [(go_on, folder / "1 to 2", rank, 2, folder / "began 1") for rank in (0, 1)]
        + [(go_on, folder / "2 to 1", 0, 1, folder / "began 2")],
        folder,
    )
    return folder


@pytest.mark.parametrize("way", ["1 to 2", "2 to 1"])
@pytest.mark.parametrize("name", RESUMED)
def test_a_training_goes_on_with_another_number_of_processes(name, way, resumed):
    """From within an epoch: the same items in the same order, hence the same weights to rounding."""
    left = read_checkpoint(resumed / f"began {way[0]}" / name / LAST)
    assert 0 < left["within_epoch"]["batches"] < 11
    whole, ended = (dict(np.load(resumed / each / f"ended-{name}.npz")) for each in ("whole", way))
    assert whole.keys() == ended.keys()
    for key, value in whole.items():
        assert np.allclose(value, ended[key], rtol=1e-4, atol=1e-6), key
