"""The backbone: timm's own maps, stages that can be copied, and weights that fit or are refused."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from fghash.backbone import Backbone
from fghash.errors import InputError
from fghash.settings.config import BackboneConfig

NETWORKS = ["test_resnet", "mobilenetv2_050", "convnext_atto", "test_efficientnet"]


@pytest.mark.parametrize("name", NETWORKS)
def test_levels_have_their_strides_and_channels(name):
    backbone = Backbone(BackboneConfig(name)).eval()
    maps = backbone(torch.rand(1, 3, 64, 64))
    assert [tuple(m.shape) for m in maps] == [
        (1, c, 64 // s, 64 // s) for c, s in zip(backbone.channels, (4, 8, 16, 32), strict=True)
    ]


@pytest.mark.parametrize("name", NETWORKS[:3])
def test_a_file_of_weights_gives_timms_own_maps_and_copied_stages_are_bitwise_equal(name, tmp_path):
    torch.manual_seed(1)
    full = timm.create_model(name, num_classes=7)
    save_file(full.state_dict(), tmp_path / "weights.safetensors")
    backbone = Backbone(BackboneConfig(name, str(tmp_path / "weights.safetensors"))).eval()
    images = torch.rand(2, 3, 64, 64)
    reference = timm.create_model(name, features_only=True)
    reference.load_state_dict(
        {
            _opened(k, reference): v
            for k, v in full.state_dict().items()
            if _opened(k, reference) in reference.state_dict()
        }
    )
    with torch.no_grad():
        expected = reference.eval()(images)[-4:]
        maps = backbone(images)
        copied = backbone.copy_stage(4).eval()(maps[2])
    assert all(
        torch.linalg.norm(a - b) <= 1e-4 * torch.linalg.norm(b) for a, b in zip(maps, expected, strict=True)
    )
    assert torch.equal(copied, maps[3])


def _opened(key, reference):
    return key if key in reference.state_dict() else key.replace(".", "_", 1)


def test_a_copied_stage_is_independent():
    backbone = Backbone(BackboneConfig("test_resnet"))
    stage = backbone.copy_stage(4)
    for parameter in stage.parameters():
        parameter.data.zero_()
    assert any(parameter.abs().sum() > 0 for parameter in backbone.stages[3].parameters())


def test_maps_are_computed_once_while_remembered():
    backbone = Backbone(BackboneConfig("test_resnet")).eval()
    calls = []
    backbone.stages[0].register_forward_hook(lambda *_: calls.append(1))
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad(), backbone.remember():
        third = backbone.forward_until(3, images)
        maps = backbone(images)
        other = backbone(torch.rand(1, 3, 32, 32))
    assert torch.equal(third, maps[2])
    assert len(calls) == 2
    assert not torch.equal(other[3], maps[3])
    backbone(images), backbone(images)
    assert len(calls) == 4


def test_frozen_statistics_stay():
    backbone = Backbone(BackboneConfig("test_resnet", freeze_batchnorm=True))
    before = {k: v.clone() for k, v in backbone.state_dict().items() if "running" in k}
    backbone(torch.rand(4, 3, 32, 32))
    assert all(torch.equal(backbone.state_dict()[k], v) for k, v in before.items())
    backbone.train()(torch.rand(4, 3, 32, 32))
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
        (BackboneConfig("vit_tiny_patch16_224"), "strides [16, 16, 16]"),
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


def test_compiled_stages_keep_their_names_and_so_do_copies():
    plain = Backbone(BackboneConfig("test_resnet"))
    backbone = Backbone(BackboneConfig("test_resnet", compile=True))
    stages = [*backbone.stages, backbone.copy_stage(4)]
    assert all(stage._compiled_call_impl is not None for stage in stages)
    assert all(stage._compiled_call_impl is None for stage in [*plain.stages, plain.copy_stage(4)])
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
    images = torch.rand(2, 3, 64, 64)
    assert first(images)[3].is_contiguous()
    assert not last(images)[3].is_contiguous()
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(first(images), last(images), strict=True))
