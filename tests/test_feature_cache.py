"""Cached features of a frozen backbone: the same codes, computed once, and damage never read."""

import json
import multiprocessing

import numpy as np
import pytest
import torch

from contract import WHOLE_RUNS
from fghash import api
from fghash.backbone import Backbone
from fghash.batch import Reads
from fghash.data.frozen.feature_rows import FeatureRows, Vectors
from fghash.data.frozen.units import BLOCK, Construction, Unit, checksums, open_unit
from fghash.data.images.transforms import cut_batch
from fghash.errors import InputError
from fghash.feature_cache import FeatureJob, build, use_cached_features
from fghash.registry import DATASETS
from fghash.settings.config import BackboneConfig
from fghash.store import RunFolder
from image_folder import write_images

EPOCHS = {"max_epochs": 2}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


def settings(root, features, **more):
    return {
        "data": {"name": "folder", "root": str(root), "image_size": 32, "features": features, **more},
        "backbone": {"freeze": "all"}, "trainer": EPOCHS, "bits": 16, "batch_size": 6, "gpus": 0,
    }  # fmt: skip


def job(root, reads=None, freeze="all", image_size=32, network="test_resnet", **more):
    data = DATASETS["folder"].load()(root=str(root), image_size=image_size, num_workers=0, **more)
    data.setup("fit")
    torch.manual_seed(0)
    backbone = Backbone(BackboneConfig(name=network, freeze=freeze), image_size, rounds=True)
    return FeatureJob(backbone, data, reads or Reads(pooled=True, levels=(2, 4)))


def silent(text):
    pass


def arrays(codes):
    return {key: value for key, value in vars(codes).items() if isinstance(value, np.ndarray)}


def stored(folder, part="gallery", bits=16):
    return arrays(RunFolder(folder).read_codes(bits, "network", part)[0])


def same(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", WHOLE_RUNS)
def test_codes_from_cached_features_are_those_of_the_images(name, images, tmp_path):
    """A run on cached features, loaded and given the image files: bit for bit the stored codes."""
    result = api.fit(settings(images, str(tmp_path / "cache")), method=name, runs=str(tmp_path / "runs"))
    loaded = api.load_run(result.folder)
    bits = max(record.bits for record in result.records)
    for part in ("gallery", "queries"):
        names = RunFolder(result.folder).read_items(part)
        codes = loaded.encode([images / name for name in names], queries=part == "queries")
        assert same(arrays(codes), stored(result.folder, part, bits))


@pytest.mark.parametrize("name", ["hashnet", "phpq"])
def test_memory_and_folder_give_the_same_run(name, images, tmp_path):
    both = [
        api.fit(settings(images, where), method=name, runs=str(tmp_path / f"runs{i}"))
        for i, where in enumerate(["ram", str(tmp_path / "cache")])
    ]
    assert both[0].folder.name == both[1].folder.name
    assert same(stored(both[0].folder), stored(both[1].folder))


def test_rows_are_the_backbones_features_in_float16(images, tmp_path):
    work = job(images)
    data = work.data
    parts = dict(data.parts())
    use_cached_features(work, str(tmp_path), silent)
    work.backbone.eval()
    for split, loader in (("train", data.train_eval_dataloader()), ("query", data.query_dataloader())):
        for batch in loader:
            for place, index in enumerate(batch.index.tolist()):
                pixels = parts[split].read(index, data.evaluation_transform.short_side)
                cut = data.evaluation_transform.cuts([pixels.shape[:2]], [(index, 0)])[0]
                square = pixels[cut.top : cut.top + 32, cut.left : cut.left + 32]
                image = torch.from_numpy(np.ascontiguousarray(square)).permute(2, 0, 1)[None]
                with torch.no_grad():
                    expected = work.backbone(image, work.reads)
                assert torch.allclose(batch.features.pooled[place], expected.pooled[0], atol=2e-3)
                assert torch.allclose(batch.features.maps[2][place], expected.maps[2][0], atol=2e-3)


def test_it_is_computed_once_and_levels_are_added_to_it(images, tmp_path, monkeypatch):
    build(job(images, Reads(pooled=True)), str(tmp_path), silent)
    said = []
    build(job(images, Reads(pooled=True)), str(tmp_path), said.append)
    assert said == []
    build(job(images, Reads(pooled=True, levels=(3,))), str(tmp_path), said.append)
    assert len(said) == 1
    (place,) = tmp_path.iterdir()
    names = {path.name for path in place.iterdir() if path.is_dir()}
    assert names == {f"{split}-{kind}-view0" for split in ("train", "query") for kind in ("pooled", "level3")}


def test_other_weights_images_or_sizes_make_another_cache(images, tmp_path):
    names = {job(images).name}
    other = job(images)
    with torch.no_grad():
        next(other.backbone.parameters()).add_(1)
    names |= {other.name, job(images, image_size=48).name, job(images, network="test_efficientnet").name}
    changed = write_images(tmp_path / "changed")
    names.add(job(changed).name)
    assert len(names) == 4  # images of equal lists and sizes are the same data wherever they lie
    next(changed.rglob("*.png")).write_bytes(b"longer than before" * 1000)
    assert job(changed).name not in names


def test_views_are_drawn_from_seed_item_and_view(images, tmp_path):
    """The rows of view 2 are the features of the crops drawn for (data seed, item, 2)."""
    work = job(images, Reads(pooled=True), features="ram", views=3, seed=5)
    data, transform = work.data, work.data.train_transform
    (_, items), _ = data.parts()
    use_cached_features(work, str(tmp_path), silent)
    source = data.train_items.source
    drawn = type(transform)(32, 5, transform.crop, transform.crop_scale, transform.flip)

    for index in range(0, len(items), 3):
        pixels = items.read(index, drawn.short_side)
        image = cut_batch([pixels], drawn.cuts([pixels.shape[:2]], [(index, 2)]), 32)
        with torch.no_grad():
            expected = work.backbone.eval()(image, work.reads).pooled
        rows = torch.from_numpy(source.views[2]["pooled"].rows[index : index + 1]).float()
        assert torch.allclose(rows, expected, atol=2e-3)
    other = job(images, Reads(pooled=True), features="ram", views=3, seed=6)
    assert {unit.name for unit in other.units()} != {unit.name for unit in work.units()}


def test_each_view_is_taken_once_in_as_many_epochs_and_the_order_is_seeded():
    rows = FeatureRows([{"pooled": Vectors(np.full((50, 1), view, np.float32))} for view in range(4)])
    items = np.arange(50)
    taken = np.stack([rows.view_of(items, epoch, 0) for epoch in range(8)])
    for start in (0, 4):
        assert (np.sort(taken[start : start + 4], axis=0) == np.arange(4)[:, None]).all()
    assert len({tuple(row) for row in taken}) == 8
    assert (taken == np.stack([rows.view_of(items, epoch, 0) for epoch in range(8)])).all()
    assert (taken != np.stack([rows.view_of(items, epoch, 1) for epoch in range(8)])).any()
    features = rows.features(items, taken[0]).vector
    assert (features[:, 0].numpy() == taken[0]).all()


def rows_of(loader):
    return {
        int(index): row
        for batch in loader
        for index, row in zip(batch.index, batch.features.vector, strict=True)
    }


def test_training_takes_views_and_evaluation_the_first(images):
    work = job(images, Reads(pooled=True), features="ram", views=3, batch_size=21)
    use_cached_features(work, "ram", silent)
    taken, plain = rows_of(work.data.train_dataloader()), rows_of(work.data.train_eval_dataloader())
    same = [torch.equal(taken[index], plain[index]) for index in taken]
    assert len(same) == 21
    assert any(same)
    assert not all(same)


@pytest.mark.parametrize("world", [2, 3])
def test_the_batches_of_all_processes_are_that_of_one(world, images, monkeypatch):
    work = job(images, Reads(pooled=True), features="ram", views=3, batch_size=6)
    use_cached_features(work, "ram", silent)

    def batches(rank, count):
        monkeypatch.setattr("fghash.data.sampling.process", lambda: (rank, count))
        loaders = (work.data.train_dataloader(), work.data.query_dataloader())
        return [list(loader) for loader in loaders]

    train, query = batches(0, 1)
    shares = [batches(rank, world) for rank in range(world)]
    for step, batch in enumerate(train):
        together = torch.cat([share[0][step].features.vector for share in shares])
        assert torch.equal(together, batch.features.vector)
    found = sorted(int(i) for share in shares for batch in share[1] for i in batch.index)
    assert found == sorted(int(i) for batch in query for i in batch.index)


def _build_in_a_process(root, where):
    torch.set_num_threads(1)
    build(job(root), where, silent)


@pytest.mark.xdist_group("processes")
def test_two_that_build_at_once_give_one_cache(images, tmp_path):
    context = multiprocessing.get_context("fork")
    running = [context.Process(target=_build_in_a_process, args=(images, str(tmp_path))) for _ in range(2)]
    for process in running:
        process.start()
    for process in running:
        process.join()
        assert process.exitcode == 0
    work = job(images)
    said = []
    build(work, str(tmp_path), said.append)
    assert said == []


def test_a_build_that_broke_off_goes_on_where_it_was(tmp_path):
    work = job(write_images(tmp_path / "many", train=50), Reads(pooled=True))
    (unit, *_) = work.units()
    where = tmp_path / "cache"
    (where / work.name).mkdir(parents=True)
    begun = Construction(where / work.name / unit.name, work.shape(unit))
    assert begun.n_blocks > 1
    begun.begin()
    rows, sums, marks = begun.open()
    rows[:BLOCK], marks[0] = 7, 1
    sums[:BLOCK] = checksums(rows[:BLOCK])
    for array in (rows, sums, marks):
        array.flush()
    build(work, str(where), silent)
    finished = open_unit(where / work.name / unit.name, work.shape(unit)[0])
    assert (finished.rows[:BLOCK] == 7).all()  # not computed again
    assert not (finished.rows[BLOCK:] == 7).any()


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("freeze", "reads"), [("none", Reads(pooled=True)), (3, Reads(levels=(3, 4)))])
def test_what_is_trained_is_not_cached(freeze, reads, images, tmp_path):
    with pytest.raises(InputError, match=f"--backbone.freeze: {freeze}, expected"):
        use_cached_features(job(images, reads, freeze), str(tmp_path), silent)


def test_levels_up_to_the_frozen_one_are(images, tmp_path):
    use_cached_features(job(images, Reads(levels=(2, 3)), 3), str(tmp_path), silent)


def cached(images, tmp_path):
    work = job(images, Reads(pooled=True))
    build(work, str(tmp_path), silent)
    return tmp_path / work.name / "train-pooled-view0"


def read_all(work, where):
    use_cached_features(work, str(where), silent)
    return list(work.data.train_eval_dataloader())


def truncate(folder):
    rows = folder / "rows"
    rows.write_bytes(rows.read_bytes()[:-2])


def flip_a_bit(folder):
    content = bytearray((folder / "rows").read_bytes())
    content[40] ^= 1
    (folder / "rows").write_bytes(content)


def other_version(folder):
    about = json.loads((folder / "about.json").read_text())
    (folder / "about.json").write_text(json.dumps({**about, "version": 99}))


def other_rows(folder):
    about = json.loads((folder / "about.json").read_text())
    (folder / "about.json").write_text(json.dumps({**about, "shape": [3, *about["shape"][1:]]}))


def not_json(folder):
    (folder / "about.json").write_text("{")


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, other_version, other_rows, not_json])
def test_a_damaged_cache_is_one_line(damage, images, tmp_path):
    folder = cached(images, tmp_path)
    damage(folder)
    work = job(images, Reads(pooled=True))
    with pytest.raises(InputError, match=r"--data.features: .*train-pooled-view0.*delete that folder"):
        read_all(work, tmp_path)


def test_features_of_another_network_in_its_place_are_refused(images, tmp_path):
    other = job(images, Reads(pooled=True), network="test_efficientnet")
    build(other, str(tmp_path), silent)
    work = job(images, Reads(pooled=True))
    (tmp_path / other.name).rename(tmp_path / work.name)
    with pytest.raises(InputError, match=r"holds features \(\d+,\), the network gives \(\d+,\)"):
        use_cached_features(work, str(tmp_path), silent)


def test_features_beyond_float16_are_refused(images, tmp_path):
    work = job(images, Reads(levels=(4,)))
    for parameter in work.backbone.parameters():
        parameter.data.mul_(1e3)
    with pytest.raises(InputError, match=r"--data.features: level4 of image \d+ is not a finite number"):
        use_cached_features(work, str(tmp_path), silent)
    assert not list(tmp_path.glob("*/train-level4-view0"))


def test_a_place_that_cannot_be_written_is_one_line(images, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--data.features: cannot write below"):
        build(job(images), str(tmp_path / "file"), silent)


def test_what_does_not_fit_is_refused_before_it_is_begun(images, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(InputError, match=r"needs .* GB, only .* GB are free"):
        build(job(images), str(tmp_path), silent)
    assert not list(tmp_path.glob("*/.*building"))


def test_a_disk_that_fills_up_is_one_line_and_the_rest_stays(images, tmp_path, monkeypatch):
    folder = cached(images, tmp_path)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fghash.data.frozen.units.reserve", full)
    with pytest.raises(InputError, match="the disk is full"):
        build(job(images, Reads(levels=(3,))), str(tmp_path), silent)
    assert (folder / "rows").is_file()


def test_views_without_features_are_refused(images):
    with pytest.raises(InputError, match=r"--data.views: 3 without --data.features"):
        DATASETS["folder"].load()(root=str(images), views=3)
    with pytest.raises(InputError, match=r"--data.views: must be from 1"):
        DATASETS["folder"].load()(root=str(images), views=0, features="ram")


def test_a_sum_finds_every_single_fault():
    rows = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float16)
    sums = checksums(rows)
    for row in range(3):
        for column in range(5):
            for bit in range(16):
                damaged = rows.copy()
                damaged.view(np.uint16)[row, column] ^= np.uint16(1 << bit)
                assert (checksums(damaged) != sums).tolist() == [each == row for each in range(3)]


def test_unit_names_tell_split_kind_view_and_crops():
    assert Unit("train", "level3", 2, "abcd").name == "train-level3-view2-abcd"
    assert Unit("query", "pooled", 0).name == "query-pooled-view0"


def test_a_frozen_backbone_is_stored_once(images, tmp_path):
    runs = tmp_path / "runs"
    both = [
        api.fit(settings(images, "ram"), method=name, runs=str(runs), backbone={"freeze": "all"}, seed=0)
        for name in ("hashnet", "classify")
    ]
    files = [run.folder / "backbone.safetensors" for run in both]
    assert files[0].samefile(files[1])
    assert len(list((runs / ".backbones").iterdir())) == 1
