"""Table files: which cells they make, and what is refused."""

import os

import pytest

from fghash.bench.ledger import cell_id
from fghash.bench.table import read_table
from fghash.errors import InputError

AXES = """\
# Two methods, two lengths.
# About a minute.
common: {data: synthetic}
axes:
  method: [hashnet, phpq]
  bits: [16, 32]
  seed: [0, 1]
"""


def table(tmp_path, text, flags=None):
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    return read_table(path, flags or {})


def names(found):
    return [cell.shown for cell in found.cells]


def test_axes_are_multiplied_and_the_first_seed_comes_first(tmp_path):
    found = table(tmp_path, AXES)
    assert (found.name, found.header) == ("grid", ("Two methods, two lengths.", "About a minute."))
    assert names(found)[:5] == [
        "hashnet bits=16 seed=0", "hashnet bits=32 seed=0", "phpq bits=16 seed=0", "phpq bits=32 seed=0",
        "hashnet bits=16 seed=1",
    ]  # fmt: skip
    assert len(found.cells) == 8
    assert len({cell_id(cell) for cell in found.cells}) == 8
    assert [cell.bits for cell in found.cells[:2]] == [16, 32]


def test_rows_are_multiplied_with_axes_and_flags_are_over_all(tmp_path):
    rows = "rows:\n- method: hashnet\n- method: {name: hashnet, alpha: 2.0}\n"
    text = rows + "axes: {optim.lr: [0.1, 0.2]}\nseeds: [3]\n"
    found = table(tmp_path, text, {"bits": "24", "data": {"name": "synthetic"}})
    assert len(found.cells) == 4
    last = found.cells[-1]
    assert last.settings["method"] == {"name": "hashnet", "alpha": 2.0}
    assert (last.settings["optim"]["lr"], last.bits, last.settings["seed"]) == (0.2, 24, 3)
    assert last.shown == "hashnet method.alpha=2.0 optim.lr=0.2 seed=3"


def test_exclusions_and_equal_cells(tmp_path):
    rules = "exclude:\n- {method: [phpq], bits: [16, 24]}\n- {seed: 1}\n"
    assert names(table(tmp_path, AXES + rules)) == [
        "hashnet bits=16 seed=0", "hashnet bits=32 seed=0", "phpq bits=32 seed=0",
    ]  # fmt: skip
    assert len(table(tmp_path, AXES.replace("[16, 32]", "[16, 16]")).cells) == 4


def test_a_preset_file_for_each_method(tmp_path):
    for method in ("hashnet", "phpq"):
        (tmp_path / f"{method}.yaml").write_text("optim: {lr: 0.5}\n")
    found = table(tmp_path, AXES.replace("common: {", f"common: {{preset: '{tmp_path}/{{method}}.yaml', "))
    assert {cell.settings["preset"] for cell in found.cells} == {
        f"{tmp_path}/hashnet.yaml",
        f"{tmp_path}/phpq.yaml",
    }


def test_the_id_follows_what_may_change_the_run(tmp_path):
    first = [cell_id(cell) for cell in table(tmp_path, AXES).cells]
    assert first == [cell_id(cell) for cell in table(tmp_path, AXES, {"gpus": "0"}).cells]
    assert not {*first} & {cell_id(cell) for cell in table(tmp_path, AXES, {"batch_size": "32"}).cells}


def test_the_id_follows_the_files_that_a_cell_names(tmp_path):
    (tmp_path / "images" / "a").mkdir(parents=True)
    (tmp_path / "images" / "list.csv").write_text("1")
    text = AXES.replace("{data: synthetic}", "{data: {name: folder, root: ROOT}}")
    text = text.replace("ROOT", str(tmp_path / "images"))

    def ids():
        return [cell_id(cell) for cell in table(tmp_path, text).cells]

    first = ids()
    assert ids() == first
    (tmp_path / "images" / "list.csv").write_text("12")
    second = ids()
    assert second != first
    os.utime(tmp_path / "images" / "a", (1, 1))
    assert ids() != second


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (AXES.replace("phpq", "phqp"), "unknown name 'phqp' .*did you mean 'phpq'"),
        (AXES.replace("  seed:", "  bits:"), "'bits' stands there twice .line 7"),
        (AXES + "seeds: [0]\n", "has an axis 'seed' and 'seeds', expected one of them"),
        (AXES.replace("[16, 32]", "[]"), r"axis 'bits' of .* is \[\], expected a list of values"),
        (AXES.replace("[16, 32]", "16"), "axis 'bits' of .* is 16, expected a list"),
        (AXES.replace("bits", "bitz"), "unknown axis 'bitz' .*did you mean 'bits'"),
        (
            AXES.replace("[16, 32]", "[16, x]"),
            "cell 2 .*axis bits: bits: expected a whole number of at least 1, got 'x'",
        ),
        (AXES.replace("common: {", "common: {runs: elsewhere, "), "common of .* sets 'runs'.*--runs"),
        (AXES.replace("common", "comon"), "unknown key 'comon' .*did you mean 'common'"),
        (AXES + "rows: []\n", "rows of .* are empty"),
        (AXES + "rows: [5]\n", "row 1 of .* is 5, expected settings"),
        (AXES + "exclude: [{data: synthetic}]\n", "has no cell"),
        ("", "holds no settings"),
        ("axes: [", "cannot read"),
        (AXES.replace("{data: synthetic}", "{data: {name: synthetic, sampler: pks}}"), "sampler.*pks"),
    ],
)
def test_bad_tables_are_one_line(tmp_path, text, line):
    with pytest.raises(InputError, match=line) as found:
        table(tmp_path, text)
    assert "\n" not in str(found.value)


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match=r"cannot read '.*none.yaml' \(No such file"):
        read_table(tmp_path / "none.yaml", {})
