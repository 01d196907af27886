"""Exported graphs: the codes of every method, for any number of images, in three families of networks.

``make test`` has those that show something of their own; ``-m slow`` has all.
"""

import itertools
import json

import numpy as np
import pytest
import torch

from contract import ALIKE, BITS, tiny_data
from fghash import api
from fghash.backbone import Backbone
from fghash.cli import main
from fghash.codes import BinaryCodes, QuantizedCodes, RealCodes
from fghash.errors import InputError
from fghash.export.graph import EncoderGraph
from fghash.export.graph_files import OnnxEncoder, write_onnx, write_torch_export
from fghash.export.parity import NEAR, Parity, compare_codes
from fghash.registry import METHODS
from fghash.settings.config import BackboneConfig, OptimConfig
from small_runs import small_run

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

FAMILIES = ("test_resnet", "test_efficientnet", "test_vit")
QUICK = ("hashnet", "dpq", "exchnet", "fph", "phpq", "pq")  # of the two other families


@pytest.fixture(scope="module")
def data():
    return tiny_data()


@pytest.fixture(scope="module")
def birds(data):
    """Twelve images as the network has them, of several classes."""
    items = data.query_items
    return np.stack([items.read(i).transpose(2, 0, 1)[:, :32, :32] for i in range(0, 24, 2)])


def method_on(name, network, data):
    """The method on a network of random weights, fitted where that takes no steps."""
    torch.manual_seed(5)
    backbone = Backbone(BackboneConfig(network), 32)
    method = METHODS[name].load()(backbone, data.num_classes, BITS, OptimConfig(lr=0.01))
    if method.closed_form:
        labels = torch.from_numpy(data.train_labels)
        method.fit_closed_form(torch.randn(len(labels), backbone.width), labels)
    return method.eval()


class Described:
    """What the files say of a run."""

    def __init__(self, name, network):
        self.encoder = "0" * 16
        self.config = api.RunConfig.__new__(api.RunConfig)
        for key in ("method", "backbone", "data"):
            object.__setattr__(self.config, key, type("Named", (), {"name": name})())


def _is_quick(name, network):
    if network != FAMILIES[0]:
        return name in QUICK
    return name not in ALIKE and name != "lsq"  # half a minute: its search is that of dtq, unrolled


CASES = [
    pytest.param(name, network, marks=[] if _is_quick(name, network) else [pytest.mark.slow])
    for network, name in itertools.product(FAMILIES, sorted(METHODS))
]


@pytest.mark.parametrize(("name", "network"), CASES)
def test_onnx_has_the_codes_of_torch(name, network, data, birds, tmp_path):
    method = method_on(name, network, data)
    graph = EncoderGraph(method).eval()
    write_onnx(graph, Described(name, network), tmp_path / "m.onnx")
    other = OnnxEncoder(tmp_path / "m.onnx", graph.outputs, threads=1)
    parity = compare_codes(graph, other, [birds[:5], birds[5:6], birds[6:]])
    assert parity.images == 12
    assert parity.equal, parity.in_words()
    assert parity.largest < 1e-3
    with torch.inference_mode():
        codes = method.encode(method.backbone(torch.from_numpy(birds), method.reads))
    ours = graph.outputs.as_codes(other(birds))
    assert type(codes) is type(ours)
    assert len(ours) == 12
    if isinstance(codes, BinaryCodes):
        assert (codes.bits != ours.bits).sum() <= parity.near
    elif isinstance(codes, QuantizedCodes):
        assert (codes.indices != ours.indices).sum() <= parity.near
    elif isinstance(codes, RealCodes):
        assert np.allclose(codes.vectors, ours.vectors, atol=1e-4)


@pytest.mark.parametrize("name", ["hashnet", "dpq", "phpq"])
def test_torch_export_has_the_codes_of_torch(name, data, birds, tmp_path):
    graph = EncoderGraph(method_on(name, FAMILIES[0], data)).eval()
    write_torch_export(graph, tmp_path / "m.pt2")
    program = torch.export.load(tmp_path / "m.pt2").module()
    with torch.inference_mode():
        for ours, theirs in zip(
            graph(torch.from_numpy(birds)), program(torch.from_numpy(birds)), strict=True
        ):
            assert torch.allclose(ours.float(), theirs.float(), atol=1e-5)


def counted(mine, theirs, graph):
    """Parity of outputs given as they are."""
    parity = Parity()
    from fghash.export import parity as module

    module._count(parity, graph, mine, theirs)
    return parity


class Values:
    class outputs:
        names = ("values",)


def test_bits_near_the_threshold_are_counted_apart():
    mine = {"values": np.array([[0.5, 3e-5, -0.2, 1.0]], np.float32)}
    theirs = {"values": np.array([[0.5, -1e-5, -0.2, -1.0]], np.float32)}
    parity = counted(mine, theirs, Values)
    assert (parity.symbols, parity.differing, parity.near) == (4, 2, 1)
    assert not parity.equal
    assert f"{NEAR:g}" in parity.in_words()


def test_codewords_that_are_as_good_are_counted_apart():
    books = np.array([[[1, 0], [0, 1], [1, 1e-6]]], np.float32)

    class Graph:
        class outputs:
            names = ("indices", "queries")
            codes = QuantizedCodes([[0]], books, "product", "l2")

    queries = np.array([[1, 0], [1, 0]], np.float32)
    mine = {"indices": np.array([[0], [0]]), "queries": queries}
    theirs = {"indices": np.array([[2], [1]]), "queries": queries}
    parity = counted(mine, theirs, Graph)
    assert (parity.differing, parity.near) == (2, 1)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    store = tmp_path_factory.mktemp("runs")
    return {name: small_run(store, name) for name in ("itq", "pq")}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("method", ["itq", "pq"])
def test_the_command_compares_and_scores(runs, method, precision, tmp_path, capsys):
    words = ["--precision", precision, "--out", str(tmp_path / "out"), "--score"]
    assert main(["export", str(runs[method]), "--format", "onnx", *words]) == 0
    out = capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "parity.json").read_text())
    assert report["parity"]["images"] == 24
    assert f"{report['map']['graph']:.4f}" in out
    if precision == "fp32":
        assert report["parity"]["differing"] == report["parity"]["near"]
        assert report["map"]["graph"] == pytest.approx(report["map"]["stored"], abs=1e-6)
    about = json.loads((tmp_path / "out" / "preprocessing.json").read_text())
    assert about["input"]["shape"] == ["batch", 3, 32, 32]
    assert set(about["outputs"]) == ({"values"} if method == "itq" else {"indices", "queries"})
    if method == "pq":
        codes = api.RunFolder(runs["pq"]).read_codes(16, "network", "gallery")[0]
        assert np.array_equal(np.load(tmp_path / "out" / "codebooks.npz")["codebooks"], codes.codebooks)
    import onnx

    props = {each.key: each.value for each in onnx.load(tmp_path / "out" / "model.onnx").metadata_props}
    assert props["fghash.encoder"] == api.load_run(runs[method]).encoder
    assert props["fghash.precision"] == precision


def test_int8_is_smaller_and_really_in_whole_numbers(runs, tmp_path):
    import onnx

    for precision in ("fp32", "int8"):
        assert (
            main(["export", str(runs["itq"]), "--precision", precision, "--out", str(tmp_path / precision)])
            == 0
        )
    sizes = [(tmp_path / each / "model.onnx").stat().st_size for each in ("fp32", "int8")]
    assert sizes[1] < 0.5 * sizes[0]
    kinds = [node.op_type for node in onnx.load(tmp_path / "int8" / "model.onnx").graph.node]
    assert kinds.count("DequantizeLinear") > 10


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere", "--out", "x"], "not the folder of a finished run"),
        (["{run}", "--out", "full"], "is there already"),
        (["{run}", "--out", "x", "--format", "bundle", "--precision", "fp16"], "--format onnx only"),
        (["{run}", "--out", "x", "--precision", "int4"], "--precision"),
        (["{run}", "--out", "x", "--images", "nothing.png"], "there is no"),
    ],
)
def test_refusals(runs, words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    assert main(["export", *(word.format(run=runs["itq"]) for word in words)]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"
    assert not (tmp_path / "x").exists()


def test_a_file_that_is_no_graph_is_refused(tmp_path, data):
    (tmp_path / "m.onnx").write_bytes(b"no graph")
    with pytest.raises(InputError, match="cannot read"):
        OnnxEncoder(tmp_path / "m.onnx", EncoderGraph(method_on("hashnet", FAMILIES[0], data)).outputs)
