"""The backbone: every family of timm, stages to copy or to freeze, and weights that fit or are refused."""

import pytest
import timm
import torch
from safetensors.torch import save_file

import backbone_table
from fghash.backbone import Backbone
from fghash.batch import Reads
from fghash.errors import InputError
from fghash.settings.config import BackboneConfig

ALL = Reads(pooled=True, levels=(1, 2, 3, 4))
CUT = ["test_resnet", "mobilenetv2_050", "convnext_atto", "test_efficientnet"]


def images(n=2, size=64):
    return torch.rand(n, 3, size, size)


NETWORKS = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in backbone_table.NETWORKS]


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    return backbone_table.built(request.param)


def test_levels_have_the_channels_and_strides_that_are_told(network):
    maps, pooled = backbone_table.shapes(network)
    side = backbone_table.SIZE
    assert [shape[1] for shape in maps] == list(network.channels)
    for (_, _, height, width), stride in zip(maps, network.strides, strict=True):
        assert height == width
        assert height in (side // stride, -(-side // stride))
    assert pooled == (2, network.width)


def test_a_copied_stage_is_independent_and_of_a_cut_network_bitwise_equal(network):
    x = images(1, backbone_table.SIZE)
    try:
        stage = network.copy_stage(4).eval()
    except InputError:
        assert network.config.name == "beit_base_patch16_224"
        pytest.skip("its blocks need the class token")
    with torch.no_grad():
        maps = network.eval()(x, ALL).maps
        copied = stage(maps[3])
        assert copied.shape == maps[4].shape
        assert network.strides[0] == network.strides[3] or torch.equal(copied, maps[4])
        for parameter in stage.parameters():
            parameter.zero_()
        assert torch.equal(network(x, ALL).maps[4], maps[4])


def test_the_table_of_the_readme_is_the_measured_one(network):
    from test_readme import README

    assert backbone_table.row(network) in README.splitlines()


@pytest.mark.parametrize("name", CUT[:3])
def test_a_file_of_weights_gives_timms_own_features(name, tmp_path):
    torch.manual_seed(1)
    full = timm.create_model(name, num_classes=7).eval()
    save_file(full.state_dict(), tmp_path / "weights.safetensors")
    backbone = Backbone(BackboneConfig(name, str(tmp_path / "weights.safetensors"))).eval()
    listed = timm.create_model(name, features_only=True)
    opened = {key.replace(".", "_", 1): value for key, value in full.state_dict().items()}
    listed.load_state_dict({key: {**full.state_dict(), **opened}[key] for key in listed.state_dict()})
    x = images()
    with torch.no_grad():
        expected, pooled = listed.eval()(x)[-4:], full.forward_head(full.forward_features(x), pre_logits=True)
        features = backbone(x, ALL)
    for mine, theirs in zip(features.maps.values(), expected, strict=True):
        assert torch.linalg.norm(mine - theirs) <= 1e-4 * torch.linalg.norm(theirs)
    assert torch.allclose(features.vector, pooled, rtol=1e-4, atol=1e-5)


def test_only_what_is_read_is_computed():
    backbone = Backbone(BackboneConfig("test_resnet")).eval()
    calls = []
    backbone.network.layer4.register_forward_hook(lambda *_: calls.append(1))
    x = images()
    features = backbone(x, Reads(levels=(3,)))
    assert list(features.maps) == [3]
    assert features.pooled is None
    assert not calls
    assert torch.equal(features.maps[3], backbone(x, ALL).maps[3])
    assert len(calls) == 1


def test_bytes_are_normalised_as_the_weights_expect():
    """In float64 by hand, for a network whose mean and deviation are not ImageNet's."""
    backbone = Backbone(BackboneConfig("tf_efficientnet_lite0")).eval()
    assert (backbone.mean, backbone.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    levels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    by_hand = ((levels.double() / 255 - 0.5) / 0.5).float()
    assert torch.allclose(backbone.normalise(levels), by_hand, atol=1e-6)
    told = Backbone(BackboneConfig("test_resnet", mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 1.0)))
    by_hand = (levels.double() / 255 - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor(
        [0.5, 0.25, 1.0]
    ).view(3, 1, 1)
    assert torch.allclose(told.normalise(levels), by_hand.float(), atol=1e-6)
    assert told.double().normalise(levels).dtype == torch.float64
    floats = images()
    assert torch.equal(backbone.normalise(floats), floats)


@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv2_050", "test_vit"])
@pytest.mark.parametrize("freeze", [2, 4, "all"])
def test_what_is_frozen_gets_no_gradient_and_stays_in_evaluation_mode(name, freeze):
    backbone = Backbone(BackboneConfig(name, freeze=freeze), 64).train()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    features = backbone(images(4), ALL)
    loss = sum(map_.square().mean() for map_ in features.maps.values()) + features.vector.square().mean()
    if freeze == "all":
        assert not loss.requires_grad
        assert not any(parameter.requires_grad for parameter in backbone.parameters())
        assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())
        return
    frozen = {id(p) for p, level in backbone._parameter_levels() if level <= freeze}
    assert frozen
    if loss.requires_grad:
        loss.backward()
    for parameter in backbone.parameters():
        assert (parameter.grad is None) if id(parameter) in frozen else parameter.requires_grad
    again = backbone(images(4), ALL)
    backbone.eval()
    x = images()
    assert torch.equal(backbone(x, ALL).maps[2], backbone.train()(x, ALL).maps[2])
    assert again.maps[1].grad_fn is None


def test_copies_of_a_frozen_stage_are_trained():
    backbone = Backbone(BackboneConfig("test_resnet", freeze="all"))
    assert all(parameter.requires_grad for parameter in backbone.copy_stage(4).parameters())


def test_frozen_statistics_stay():
    backbone = Backbone(BackboneConfig("test_resnet", freeze_batchnorm=True))
    before = {k: v.clone() for k, v in backbone.state_dict().items() if "running" in k}
    assert before
    backbone(images(4, 32), ALL)
    assert all(torch.equal(backbone.state_dict()[k], v) for k, v in before.items())
    backbone.train()(images(4, 32), ALL)
    assert all(torch.equal(backbone.state_dict()[k], v) for k, v in before.items())


def test_the_hash_of_weights_follows_content_not_path(tmp_path):
    state = timm.create_model("test_resnet").state_dict()
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pth")
    hashes = [
        Backbone(BackboneConfig("test_resnet", str(tmp_path / name))).weights_hash
        for name in ("a.safetensors", "b.pth")
    ]
    assert hashes[0] == hashes[1] != "none"
    assert Backbone(BackboneConfig("test_resnet")).weights_hash == "none"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (BackboneConfig("resnt18"), "did you mean 'resnet18'"),
        (BackboneConfig("test_resnet", weights="none", options={"img_size": 3}), "img_size"),
        (BackboneConfig("test_resnet", options={"no_such": 1}), "no_such"),
        (BackboneConfig("test_resnet", "nowhere.pth"), "no such file: nowhere.pth"),
    ],
)
def test_what_cannot_be_had_is_one_clear_line(config, words):
    with pytest.raises(InputError, match="backbone") as caught:
        Backbone(config)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit_are_listed_and_pickles_are_refused(tmp_path):
    save_file(timm.create_model("test_efficientnet").state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"wrong shapes, .* missing"):
        Backbone(BackboneConfig("test_resnet", str(tmp_path / "other.safetensors")))
    torch.save({"x": print}, tmp_path / "pickle.pth")
    (tmp_path / "text.pth").write_text("hello")
    for name in ("pickle.pth", "text.pth"):
        with pytest.raises(InputError, match="is not a file of weights"):
            Backbone(BackboneConfig("test_resnet", str(tmp_path / name)))


def test_a_compiled_network_keeps_its_names_and_so_do_its_copies(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function: compiled.append(function) or function)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled.append(module))
    plain = Backbone(BackboneConfig("test_resnet"))
    plain.copy_stage(4)
    assert not compiled
    backbone = Backbone(BackboneConfig("test_resnet", compile=True))
    stage = backbone.copy_stage(4)
    assert len(compiled) == 2
    assert compiled[1] is stage
    assert list(backbone.state_dict()) == list(plain.state_dict())


def test_compiling_without_a_compiler_is_one_clear_line(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(InputError, match=r"--backbone.compile: true, .* C\+\+ compiler"):
        Backbone(BackboneConfig("test_resnet", compile=True))


def test_the_layout_of_memory_changes_no_map():
    torch.manual_seed(0)
    last = Backbone(BackboneConfig("test_resnet")).eval()
    first = Backbone(BackboneConfig("test_resnet", channels_last=False)).eval()
    first.load_state_dict(last.state_dict())
    x = images()
    mine, theirs = first(x, ALL).maps, last(x, ALL).maps
    assert mine[4].is_contiguous()
    assert not theirs[4].is_contiguous()
    assert all(torch.allclose(mine[level], theirs[level], atol=1e-5) for level in (1, 2, 3, 4))


@pytest.mark.parametrize(
    ("name", "size"), [("dla34", 72), ("vit_small_patch14_dinov2", 96), ("tresnet_m", 299)]
)
def test_a_network_that_cannot_take_this_image_size_is_one_line(name, size):
    with pytest.raises(InputError, match=rf"'{name}' does not run on images of {size} pixels") as caught:
        Backbone(BackboneConfig(name), size)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("freeze", [0, 5, True, "some"])
def test_a_level_that_is_none_cannot_be_frozen(freeze):
    with pytest.raises(InputError, match=r"--backbone\.freeze"):
        BackboneConfig(freeze=freeze)
