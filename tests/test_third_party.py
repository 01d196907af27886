"""Another package's method, data set and preset, installed as its users would: trained, listed, ranked.

Beside it a package that is broken and one that takes a name twice: each is one warning line.
"""

import csv
import os
import sys
from pathlib import Path

import pytest

from fghash.cli import main
from processes import run_all

pytestmark = pytest.mark.xdist_group("processes")

METHOD = '''
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fghash.codes import BinaryCodes
from fghash.methods.base import HashingMethod


class Signs(HashingMethod):
    """A classifier on tanh bits.

    Args:
        scale: of the bits.
    """

    def __init__(self, backbone, num_classes, bits, optim, *, scale: float = 1.0):
        super().__init__(backbone, num_classes, bits, optim)
        self.hash, self.classes = nn.Linear(backbone.width, bits), nn.Linear(bits, num_classes)
        self.scale = scale

    def forward(self, features):
        return torch.tanh(self.scale * self.hash(features.pooled))

    def loss(self, batch):
        together, bits = self.gather(batch, self(batch.features))
        return {"classes": cross_entropy(self.classes(bits), together.labels)}

    def encode(self, features):
        return BinaryCodes.from_signs(self(features))
'''
DATA = '''
from fghash.data.sets.synthetic import Synthetic


class Dots(Synthetic):
    """The generated birds under another name."""
'''
ENTRIES = """
from fghash.registry import DatasetInfo, MethodInfo

SIGNS = MethodInfo(
    target="signs_package.method:Signs", summary="signs of a classifier", presets="signs_package:presets"
)
DOTS = DatasetInfo(target="signs_package.data:Dots", summary="dots", needs_root=False)
"""
POINTS = """[fghash.methods]
signs = signs_package:SIGNS
broken = signs_package:NOTHING
hashnet = signs_package:SIGNS
wrong = signs_package:DOTS

[fghash.data]
dots = signs_package:DOTS
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder as pip leaves it after ``pip install --target``."""
    site = tmp_path_factory.mktemp("site")
    package, info = site / "signs_package", site / "signs_package-1.0.dist-info"
    (package / "presets").mkdir(parents=True)
    info.mkdir()
    (package / "__init__.py").write_text(ENTRIES)
    (package / "method.py").write_text(METHOD)
    (package / "data.py").write_text(DATA)
    (package / "presets" / "default.yaml").write_text("method:\n  scale: 3.0\n")
    (package / "presets" / "gentle.yaml").write_text("method:\n  scale: 0.5\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: signs-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    return site


def commands(site, folder):
    """What its users would type, in a process that finds the package."""
    sys.path.insert(0, str(site))
    os.chdir(folder)
    small = [
        "--data.families",
        "2",
        "--data.classes_per_family",
        "2",
        "--data.train_images",
        "6",
        "--bits",
        "8",
    ]
    small += ["--data.query_images", "2", "--data.image_size", "32", "--gpus", "0", "--batch_size", "8"]
    small += ["--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false"]
    fit = ["fit", "--method", "signs", "--data", "dots"]
    leaderboard = ["leaderboard", "--runs", "runs", "--out", "all.csv"]
    lists = [["list", "methods"], ["list", "datasets"]]
    for words in (
        *lists,
        [*fit, "--help"],
        [*fit, *small],
        [*fit, "--preset", "gentle", *small],
        leaderboard,
    ):
        assert main(words) == 0, words


def test_a_package_of_somebody_else_is_at_home_everywhere(site, tmp_path):
    run_all([(commands, site, tmp_path)], tmp_path)
    printed = (tmp_path / "job0.log").read_text()
    assert "signs of a classifier" in printed
    assert "--method.scale" in printed
    assert "--data.families" in printed
    lines = [line for line in printed.splitlines() if "left out" in line]
    assert len(lines) == 3, printed
    for name in ("'broken'", "'hashnet'", "'wrong'"):
        assert sum(name in line for line in lines) == 1
    with (tmp_path / "all.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["method"], row["data"]) for row in rows} == {("signs", "dots")}
    assert sorted(row["preset"] for row in rows) == ["default", "gentle"]
    assert all(row["variant"].count("method.scale") == 0 for row in rows)
