"""Another package's method, data set and preset, installed as its users would: trained, listed, ranked.

Beside it a package that is broken and one that takes a name twice: each is one warning line.
"""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

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


SCRIPT = """
import sys
from fghash.cli import main

small = ["--data.families", "2", "--data.classes_per_family", "2", "--data.train_images", "6",
         "--data.query_images", "2", "--data.image_size", "32", "--gpus", "0", "--bits", "8",
         "--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false", "--batch_size", "8"]
assert main(["list", "methods"]) == 0
assert main(["list", "datasets"]) == 0
assert main(["fit", "--method", "signs", "--data", "dots", "--help"]) == 0
assert main(["fit", "--method", "signs", "--data", "dots", *small]) == 0
assert main(["fit", "--method", "signs", "--data", "dots", "--preset", "gentle", *small]) == 0
assert main(["leaderboard", "--runs", "runs", "--out", "all.csv"]) == 0
"""


def test_a_package_of_somebody_else_is_at_home_everywhere(site, tmp_path):
    code = f"import sys; sys.path.insert(0, {str(site)!r})\n" + SCRIPT
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "signs of a classifier" in done.stdout
    assert "--method.scale" in done.stdout
    assert "--data.families" in done.stdout
    lines = [line for line in done.stderr.splitlines() if "left out" in line]
    assert len(lines) == 3, done.stderr
    assert [name for name in ("'broken'", "'hashnet'", "'wrong'") if any(name in line for line in lines)] == [
        "'broken'", "'hashnet'", "'wrong'",
    ]  # fmt: skip
    with (tmp_path / "all.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["method"], row["data"]) for row in rows} == {("signs", "dots")}
    assert sorted(row["preset"] for row in rows) == ["default", "gentle"]
    assert all(row["variant"].count("method.scale") == 0 for row in rows)
