"""Where each data set comes from: archives with mirrors and checksums, or steps for a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Archive:
    """A file to download: mirrors in order of preference, MD5 of the file as its publisher gave it out.

    ``name``: file name, whose ending tells whether and how it is unpacked; ``into``: folder below the root.
    """

    name: str
    urls: Sequence[str]
    md5: str
    into: str = ""


@dataclass(frozen=True)
class Preparation:
    """How a data set gets onto a disk: ``archives`` by themselves, or ``steps`` by hand; ``terms`` of use."""

    terms: str
    archives: Sequence[Archive] = ()
    steps: Sequence[str] = field(default=())


_VGG = ("https://www.robots.ox.ac.uk/~vgg/data", "https://thor.robots.ox.ac.uk/~vgg/data")


def _vgg(path: str) -> tuple[str, ...]:
    return tuple(f"{host}/{path}" for host in _VGG)


SOURCES: dict[str, Preparation] = {
    "aircraft": Preparation(
        terms="non-commercial research",
        archives=[
            Archive(
                "fgvc-aircraft-2013b.tar.gz",
                _vgg("fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz"),
                md5="d4acdd33327262359767eeaa97a4f732",
            )
        ],
    ),
    "cars": Preparation(
        terms="non-commercial research",
        steps=[
            "The authors' server is gone; copies exist, e.g. 'Stanford Cars' on Kaggle (needs an account).",
            "Get cars_train.tgz, cars_test.tgz, car_devkit.tgz and cars_test_annos_withlabels.mat.",
            "Unpack them so that ROOT has cars_train/, cars_test/, devkit/ and that .mat file.",
        ],
    ),
    "cifar10": Preparation(
        terms="none stated",
        archives=[
            Archive(
                "cifar-10-binary.tar.gz",
                [
                    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                    "https://cave.cs.toronto.edu/kriz/cifar-10-binary.tar.gz",
                ],
                md5="c32a1d4ab5d03f1284b67883e8d87530",
            )
        ],
    ),
    "cub200": Preparation(
        terms="non-commercial research and education",
        archives=[
            Archive(
                "CUB_200_2011.tgz",
                [
                    "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",
                    "https://s3.amazonaws.com/fast-ai-imageclas/CUB_200_2011.tgz",
                    "http://www.vision.caltech.edu/visipedia-data/CUB-200-2011/CUB_200_2011.tgz",
                ],
                md5="97eceeb196236b17998738112f37df78",
            )
        ],
    ),
    "dogs": Preparation(
        terms="images of ImageNet, its terms hold: non-commercial research and education",
        archives=[
            Archive(
                "images.tar",
                ["http://vision.stanford.edu/aditya86/ImageNetDogs/images.tar"],
                md5="1bb1f2a596ae7057f99d7d75860002ef",
            ),
            Archive(
                "lists.tar",
                ["http://vision.stanford.edu/aditya86/ImageNetDogs/lists.tar"],
                md5="edbb9f16854ec66506b5f09b583e0656",
            ),
        ],
    ),
    "flowers102": Preparation(
        terms="none stated",
        archives=[
            Archive(
                "102flowers.tgz",
                _vgg("flowers/102/102flowers.tgz"),
                md5="52808999861908f626f3c1f4e79d11fa",
            ),
            Archive(
                "imagelabels.mat", _vgg("flowers/102/imagelabels.mat"), md5="e0620be6f572b9609742df49c70aed4d"
            ),
            Archive("setid.mat", _vgg("flowers/102/setid.mat"), md5="a5357ecc9cb78c4bef273ce3793fc85c"),
        ],
    ),
    "food101": Preparation(
        terms="images of Foodspotting, fair use in research",
        archives=[
            Archive(
                "food-101.tar.gz",
                [
                    "https://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
                    "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
                ],
                md5="85eeb15f3717b99a5da872d97d918f87",
            )
        ],
    ),
    "nabirds": Preparation(
        terms="Cornell Lab of Ornithology's terms of use, to be accepted by a person",
        steps=[
            "Accept the terms at https://dl.allaboutbirds.org/nabirds and download nabirds.tar.gz",
            "(its MD5 was df21a9e4db349a14e2b08adfd45873bd).",
            "Unpack it: tar -xzf nabirds.tar.gz -C ROOT, so that ROOT/nabirds/images.txt exists.",
        ],
    ),
    "pets": Preparation(
        terms="CC BY-SA 4.0",
        archives=[
            Archive("images.tar.gz", _vgg("pets/images.tar.gz"), md5="5c4f3ee8e5d25df40f4fd59a7f44e54c"),
            Archive(
                "annotations.tar.gz", _vgg("pets/annotations.tar.gz"), md5="95a8c909bbe2e81eed6a22bccdf3f68f"
            ),
        ],
    ),
    "vegfru": Preparation(
        terms="non-commercial research",
        steps=[
            "The authors share it on Baidu Netdisk (http://pan.baidu.com/s/1boSNcV9, needs an account).",
            "Unpack it so that ROOT has veg200_images/, veg200_lists/, fru92_images/ and fru92_lists/.",
        ],
    ),
}
