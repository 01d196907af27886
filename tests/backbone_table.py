"""The README's table of networks: which timm networks serve which methods, with random weights.

Run as a script it prints the table.
"""

from __future__ import annotations

import torch

from fghash.backbone import Backbone
from fghash.batch import Batch, Reads
from fghash.errors import InputError
from fghash.registry import METHODS
from fghash.settings.config import BackboneConfig, OptimConfig

SIZE = 112  # pixels: a multiple of 14 and of 16
NETWORKS = (
    "test_resnet", "resnet18", "resnext50_32x4d", "vgg11", "regnetx_002", "mobilenetv2_050",
    "mobilenetv3_small_050", "mobilenetv4_conv_small_035", "test_efficientnet", "tf_efficientnet_lite0",
    "test_nfnet", "test_byobnet", "test_convnext", "convnextv2_atto", "test_mambaout",
    "mobilevit_xxs", "pvt_v2_b0", "swin_tiny_patch4_window7_224", "swinv2_cr_tiny_224", "test_vit",
    "test_vit2",
    "test_vit3", "deit_tiny_patch16_224", "vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2",
    "vit_small_patch16_dinov3", "vit_base_patch16_clip_224", "vit_base_patch16_siglip_224",
    "eva02_tiny_patch14_224", "beit_base_patch16_224",
)  # fmt: skip
NARROW = {  # the family, not its size: random weights of wide layers take seconds to draw
    "resnext50_32x4d": {"channels": (16, 32, 64, 128)},
    "swin_tiny_patch4_window7_224": {"embed_dim": 24},
    "swinv2_cr_tiny_224": {"embed_dim": 24},
    "vit_small_patch14_dinov2": {"embed_dim": 96},
    "vit_small_patch14_reg4_dinov2": {"embed_dim": 96},
    "vit_small_patch16_dinov3": {"embed_dim": 96},
    "vit_base_patch16_clip_224": {"embed_dim": 96},
    "vit_base_patch16_siglip_224": {"embed_dim": 96},
    "beit_base_patch16_224": {"embed_dim": 96},
}


def built(name: str) -> Backbone:
    """The network with random weights, for images of :data:`SIZE`."""
    torch.manual_seed(0)
    return Backbone(BackboneConfig(name, options=NARROW.get(name, {})), SIZE)


def refusals(backbone: Backbone) -> dict[str, str]:
    """The registered methods that the network cannot serve, each with the line that says why."""
    found = {}
    for name in sorted(METHODS):
        try:
            method = METHODS[name].load()(backbone, 3, 16, OptimConfig()).eval()
        except InputError as error:
            found[name] = str(error)
            continue
        images = torch.zeros(2, 3, SIZE, SIZE, dtype=torch.uint8)
        with torch.no_grad():
            batch = method.read(Batch(images, torch.arange(2), torch.arange(2)))
            assert len(method.encode(batch.features)) == 2
    return found


def row(backbone: Backbone) -> str:
    """The network's line of the table."""
    refused = refusals(backbone)
    served = "all" if not refused else f"all but {', '.join(f'`{name}`' for name in refused)}"
    strides = ", ".join(map(str, backbone.strides))
    channels = ", ".join(map(str, backbone.channels))
    return f"| `{backbone.config.name}` | {strides} | {channels} | {backbone.width} | {served} |"


def shapes(backbone: Backbone) -> tuple[list[tuple[int, ...]], tuple[int, ...]]:
    """Of two images the shapes of the maps of all levels and of the pooled vector."""
    images = torch.zeros(2, 3, SIZE, SIZE, dtype=torch.uint8)
    with torch.no_grad():
        features = backbone.eval()(images, Reads(pooled=True, levels=backbone.levels))
    return [tuple(map_.shape) for map_ in features.maps.values()], tuple(features.vector.shape)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("| network | strides of levels 1 to 4 | channels | pooled | methods |\n|---|---|---|---|---|")
    for each in NETWORKS:
        print(row(built(each)), flush=True)
