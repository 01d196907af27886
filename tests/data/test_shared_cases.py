"""The inputs of ``cases/make_cases.py`` in the folder of shared files, where there is one: every outcome.

``pytest tests/data/test_shared_cases.py -s`` prints the table.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fghash.cli import main

SHARED = Path(os.environ.get("FGHASH_SHARED", Path(__file__).parents[3] / "shared"))
MAKER = SHARED / "cases" / "make_cases.py"
READ = {  # counts of train and query
    "apple-double": "18 train / 6 query", "avif-only": "12 train / 4 query",
    "latin1-name": "18 train / 6 query",
    "exif-text": "19 train / 6 query", "svg-beside": "18 train / 6 query", "tabs": "6 train / 3 query",
    "semicolons": "6 train / 3 query", "utf16": "6 train / 3 query", "capital-header": "6 train / 3 query",
    "split-words": "6 train / 3 query",
}  # fmt: skip
REFUSED = {
    "same-file-twice": "is the same file as", "duplicate-column": "column 'label' 2 times",
    "unclosed-quote": "line 11: field larger than",
}  # fmt: skip


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> Path:
    if not MAKER.is_file():
        pytest.skip("no shared cases here (FGHASH_SHARED)")
    folder = tmp_path_factory.mktemp("cases")
    subprocess.run([sys.executable, str(MAKER), str(folder)], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("name", sorted(READ | REFUSED))
def test_check_and_fit_have_the_same_right_outcome(name, cases, capsys):
    root = cases / name
    kind = "csv" if (root / "index.csv").is_file() else "folder"
    check = ["data", "check", kind, "--root", str(root)]
    fit = ["fit", "--method", "hashnet", "--data", kind, "--data.root", str(root), "--data.image_size", "32"]
    fit += ["--data.sampler", "shuffle", "--batch_size", "4", "--gpus", "0", "--trainer.max_epochs", "1"]
    fit += ["--trainer.enable_progress_bar", "false", "--runs", str(cases / "runs" / name)]
    for words in (check, fit):
        status = main(words)
        printed = capsys.readouterr()
        with capsys.disabled():
            line = (printed.err if status else printed.out).splitlines()[0]
            print(f"\n{name:18}{words[0]:6}{status}  {line[:90]}", end="")
        assert status == (0 if name in READ else 2)
        assert READ.get(name, "") in printed.out
        assert REFUSED.get(name, "") in printed.err
