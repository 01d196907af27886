"""The report's page: what it says of codes is what loops say, and it is one harmless file that works."""

import json
import re
import shutil

import numpy as np
import pytest

from coded_runs import with_codes
from fghash.cli import main
from fghash.codes import BinaryCodes, QuantizedCodes, RealCodes
from fghash.errors import InputError
from fghash.evaluation.neighbours import nearest
from fghash.report.costs import costs
from fghash.report.page.classes import by_class, confused_pairs
from fghash.report.page.gallery import chosen_queries
from fghash.report.page.health import code_health
from fghash.report.page.html import render
from fghash.report.significance import better, ranked_rows
from fghash.store import RunFolder
from store_fixtures import make_record, store

RANDOM = np.random.default_rng(0)


def binary(n, bits=12, seed=0):
    return BinaryCodes(np.random.default_rng(seed).random((n, bits)) < 0.5)


def quantized(n, m=2, k=4, d=3):
    random = np.random.default_rng(1)
    return QuantizedCodes(random.integers(k, size=(n, m)), random.normal(size=(m, k, d)).astype(np.float32))


def test_nearest_is_what_a_loop_finds():
    queries, gallery = binary(70, seed=1), binary(90, seed=2)
    items, distances = nearest(queries, gallery, 5)
    for q in range(70):
        of = [(int((queries.bits[q] != bits).sum()), g) for g, bits in enumerate(gallery.bits)]
        assert [(int(d), int(g)) for d, g in zip(distances[q], items[q], strict=True)] == sorted(of)[:5]


def test_nearest_of_quantized_and_real_codes():
    gallery = quantized(40)
    queries = RealCodes(RANDOM.normal(size=(3, 6)).astype(np.float32))
    items, _ = nearest(queries, gallery, 40)
    for q in range(3):
        scores = gallery.decode() @ queries.vectors[q]
        assert (np.diff(scores[items[q]]) <= 1e-5).all()
    real = RealCodes(RANDOM.normal(size=(20, 6)).astype(np.float32), similarity="l2")
    items, distances = nearest(real, real, 1)
    assert items[:, 0].tolist() == list(range(20))
    assert not distances.any()


@pytest.mark.parametrize("k", [0, 91])
def test_nearest_refuses_more_than_there_are(k):
    with pytest.raises(InputError, match=f"k: {k}, expected 1 to the 90 items"):
        nearest(binary(2), binary(90), k)


def test_nearest_refuses_codes_of_two_kinds():
    with pytest.raises(InputError, match="BinaryCodes cannot be compared with RealCodes"):
        nearest(binary(2), RealCodes(np.zeros((3, 12), np.float32)), 1)


def test_health_of_binary_codes_against_loops():
    codes, labels = binary(60, bits=5), np.arange(60) % 4
    facts = code_health(codes, labels)
    shares = [codes.bits[:, b].mean() for b in range(5)]
    assert facts["balance"] == pytest.approx(np.mean([min(s, 1 - s) for s in shares]))
    pairs = [
        abs(np.corrcoef(codes.bits[:, a].astype(float), codes.bits[:, b].astype(float))[0, 1])
        for a in range(5)
        for b in range(a)
    ]
    assert facts["correlation"] == pytest.approx(np.mean(pairs))
    rows = [tuple(row) for row in codes.bits.tolist()]
    assert facts["distinct"] == len(set(rows))
    shared = [any(rows[j] == row and labels[j] != labels[i] for j in range(60)) for i, row in enumerate(rows)]
    assert facts["shared"] == pytest.approx(np.mean(shared))


def test_health_of_quantized_codes_and_of_dead_bits():
    codes = quantized(30)
    used = np.mean([len(set(words)) / 4 for words in codes.indices.T.tolist()])
    assert code_health(codes, np.zeros(30, int))["used"] == pytest.approx(used)
    assert code_health(BinaryCodes(np.zeros((4, 3), bool)), np.arange(4)) == {
        "items": 4, "balance": 0.0, "correlation": None, "distinct": 1, "shared": 1.0,
    }  # fmt: skip
    assert code_health(binary(6), np.ones((6, 2)))["shared"] is None  # multi-hot


def test_confused_pairs_against_a_loop():
    queries, gallery = binary(25, seed=3), binary(50, seed=4)
    asked, found = np.arange(25) % 3, np.arange(50) % 3
    items, _ = nearest(queries, gallery, 10)
    shares = {}
    for a in range(3):
        firsts = [found[item] for q in range(25) if asked[q] == a for item in items[q]]
        shares |= {(a, b): firsts.count(b) / len(firsts) for b in range(3) if b != a}
    pairs = confused_pairs(queries, gallery, asked, found)
    assert {(pair["query"], pair["found"]): pair["share"] for pair in pairs} == pytest.approx(shares)
    assert [pair["share"] for pair in pairs] == sorted(shares.values(), reverse=True)
    assert by_class(np.array([0.2, 0.4, 1.0]), np.array([7, 7, 2])) == {7: pytest.approx(0.3), 2: 1.0}


def test_queries_of_a_gallery_are_drawn_worst_and_best():
    precision = np.array([0.5, 0.1, 0.9, 0.3, 0.7, 0.8, 0.2])
    chosen = chosen_queries(precision)
    assert [kind for kind, _ in chosen] == ["random"] * 3 + ["worst"] * 3 + ["best"] * 3
    assert [query for _, query in chosen[3:]] == [1, 6, 3, 2, 5, 4]
    assert chosen == chosen_queries(precision)


def test_ranks_are_shared_where_the_test_cannot_separate(tmp_path):
    for method, noise in (("hashnet", 0.05), ("triplet", 0.051), ("phpq", 0.45)):
        for seed in (0, 1):
            with_codes(tmp_path, seed, method, noise=noise)
    frame = ranked_rows(tmp_path).frame.set_index("method")
    assert frame["rank"].to_dict() == {"hashnet": 1, "triplet": 1, "phpq": 3}
    assert (frame["map_low"] <= frame["map"]).all()
    assert (frame["map"] <= frame["map_high"]).all()
    assert frame.loc["hashnet", "bytes_per_item"] == 2
    assert frame.loc["hashnet", "codebook_bytes"] == 0
    only = ranked_rows(tmp_path, [(f"synthetic/phpq/12/{make_record(method='phpq', seed=0).run}", 12)]).frame
    assert only["rank"].tolist() == [1]


def test_holm_stops_at_the_first_pair_that_does_not_differ():
    assert better({(0, 1): 0.01, (0, 2): 0.02, (1, 2): 0.02}) == {(0, 1), (0, 2), (1, 2)}
    assert better({(0, 1): 0.02, (0, 2): 0.02, (1, 2): 0.02}) == set()
    assert better({}) == set()


def test_a_run_without_tie_groups_has_no_rank(tmp_path):
    store(tmp_path, make_record())
    frame = ranked_rows(tmp_path).frame
    assert frame["rank"].isna().all()


HOSTILE = "</script><script>alert(1)</script><!-- &amp; \u2028"


def test_hostile_names_cannot_end_the_data_element():
    text = render(HOSTILE, {"rows": [{"id": "r0", "method": HOSTILE}]}, [HOSTILE])
    assert "alert(1)</script>" not in text
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert json.loads(data[1])["rows"][0]["method"] == HOSTILE
    assert "src=" not in re.sub(r"<script type=.application/json.*?</script>", "", text, flags=re.DOTALL)


def test_the_command_writes_one_file_and_says_how_large(tmp_path, capsys):
    for method in ("hashnet", "triplet"):
        with_codes(tmp_path / "runs", 0, method)
    assert main(["report", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "page")]) == 0
    assert "2 rows" in capsys.readouterr().out
    files = [path.name for path in (tmp_path / "page").iterdir()]
    assert files == ["index.html"]
    assert (tmp_path / "page" / "index.html").stat().st_size < 4e6


def test_two_hundred_rows_stay_small(tmp_path, capsys):
    for seed in range(100):
        for bits in (12, 16):
            with_codes(tmp_path / "runs", 0, f"hashnet{seed}", bits)
    assert main(["report", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "page")]) == 0
    assert "200 rows" in capsys.readouterr().out
    assert (tmp_path / "page" / "index.html").stat().st_size < 5e6


def test_costs_are_those_of_the_provenance(tmp_path):
    record = with_codes(tmp_path, 0)
    folder = RunFolder.at(tmp_path, record.data, record.method, 12, record.run)
    folder.write_provenance({
        "seconds": {"encode": 2.0}, "encoded_images": 100, "search_ms_per_query": {"12-network": 0.5},
        "parameters": {"total": 9, "trained": 4}, "peak_memory_mb": None,
    })  # fmt: skip
    wanted = {
        "bytes_per_item": 2, "codebook_bytes": 0, "search_ms_per_query": 0.5, "parameters": 9,
        "encode_images_per_second": 50.0, "parameters_trained": 4, "peak_memory_mb": None,
    }  # fmt: skip
    assert costs(folder, record) == wanted
    (folder.path / "provenance.json").write_text("{")
    assert costs(folder, record)["parameters"] is None


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--runs", "none"], "runs: no such folder 'none'"),
        (["--out", "FILE/page"], "cannot write"),
        (["--output", "x"], "unknown option '--output', did you mean '--out'"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, words, line):
    (tmp_path / "file").write_text("")
    (tmp_path / "runs").mkdir()
    words = [word.replace("FILE", str(tmp_path / "file")) for word in words]
    given = words if "--runs" in words else ["--runs", str(tmp_path / "runs"), *words]
    assert main(["report", *given]) == 2
    printed = capsys.readouterr().err
    assert line in printed
    assert printed.count("\n") == 1


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_the_page_works_in_a_browser_without_network(tmp_path):
    sync = pytest.importorskip("playwright.sync_api", reason="no playwright")
    for method in ("hashnet", "triplet"):
        for bits in (12, 16):
            with_codes(tmp_path / "runs", 0, method, bits)
    assert main(["report", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "page.html")]) == 0
    with sync.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 390, "height": 800}, offline=True).new_page()
        said = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto((tmp_path / "page.html").as_uri())
        page.wait_for_selector("html[data-ready=true]", state="attached")
        rows = page.locator("#table tbody tr")
        assert rows.count() == 4
        page.locator("#table thead th", has_text="map").first.click()
        page.get_by_label("Filter:").fill("triplet")
        assert rows.count() == 2
        page.get_by_role("button", name="Dark").click()
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        assert page.locator("#chart-bits .main-svg").count() > 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert said == []
        browser.close()
