"""The data sets, by name. Nothing is imported until one is chosen."""

from __future__ import annotations

from fghash.registry import DatasetInfo

_OFFICIAL = "official lists"

BUILT_IN: dict[str, DatasetInfo] = {
    "aircraft": DatasetInfo(
        target="fghash.data.sets.aircraft:Aircraft",
        summary="FGVC-Aircraft, 100 variants, 6,667 train / 3,333 query",
        paper="Fine-Grained Visual Classification of Aircraft",
        year=2013,
        certainty=_OFFICIAL,
    ),
    "cars": DatasetInfo(
        target="fghash.data.sets.cars:Cars",
        summary="Stanford Cars, 196 models, 8,144 train / 8,041 query",
        paper="3D Object Representations for Fine-Grained Categorization",
        year=2013,
        certainty=_OFFICIAL,
    ),
    "cifar10": DatasetInfo(
        target="fghash.data.sets.cifar10:Cifar10",
        summary="CIFAR-10: DPQ's protocol (5,000 train / 54,000 gallery / 1,000 query) or the official split",
        paper="Learning Multiple Layers of Features from Tiny Images",
        year=2009,
        certainty="DPQ's sizes; its own draw of the images is replaced by one from --data.seed",
    ),
    "csv": DatasetInfo(
        target="fghash.data.sets.csv:Csv",
        summary="your own images: a table of path, label, split",
    ),
    "cub200": DatasetInfo(
        target="fghash.data.sets.cub200:Cub200",
        summary="CUB-200-2011, 200 species of birds, 5,994 train / 5,794 query",
        paper="The Caltech-UCSD Birds-200-2011 Dataset",
        year=2011,
        certainty=_OFFICIAL,
    ),
    "dogs": DatasetInfo(
        target="fghash.data.sets.dogs:Dogs",
        summary="Stanford Dogs, 120 breeds, 12,000 train / 8,580 query",
        paper="Novel Dataset for Fine-Grained Image Categorization: Stanford Dogs",
        year=2011,
        certainty=_OFFICIAL,
    ),
    "features": DatasetInfo(
        target="fghash.data.sets.features:Features",
        summary="your own vectors: .npz, .safetensors or .parquet of features, labels, split",
        is_file=True,
    ),
    "flowers102": DatasetInfo(
        target="fghash.data.sets.flowers102:Flowers102",
        summary="Oxford Flowers, 102 kinds, 2,040 train / 6,149 query",
        paper="Automated Flower Classification over a Large Number of Classes",
        year=2008,
        certainty="official lists; train and validation together are trained on",
    ),
    "folder": DatasetInfo(
        target="fghash.data.sets.folder:Folder",
        summary="your own images: root/{train,query[,gallery]}/<class>/*",
    ),
    "food101": DatasetInfo(
        target="fghash.data.sets.food101:Food101",
        summary="Food-101, 101 dishes, 75,750 train (noisy) / 25,250 query",
        paper="Food-101: Mining Discriminative Components with Random Forests",
        year=2014,
        certainty=_OFFICIAL,
    ),
    "lists": DatasetInfo(
        target="fghash.data.sets.lists:Lists",
        summary="text lists of path and labels (one or several), as HashNet and DPQ ship them",
    ),
    "nabirds": DatasetInfo(
        target="fghash.data.sets.nabirds:Nabirds",
        summary="NABirds, 555 categories, 23,929 train / 24,633 query",
        paper="Building a Bird Recognition App and Large Scale Dataset with Citizen Scientists",
        year=2015,
        certainty=_OFFICIAL,
    ),
    "pets": DatasetInfo(
        target="fghash.data.sets.pets:Pets",
        summary="Oxford-IIIT Pets, 37 breeds, 3,680 train / 3,669 query",
        paper="Cats and Dogs",
        year=2012,
        certainty=_OFFICIAL,
    ),
    "synthetic": DatasetInfo(
        target="fghash.data.sets.synthetic:Synthetic",
        summary="drawn birds, families that differ in small parts only; no download",
        needs_root=False,
    ),
    "vegfru": DatasetInfo(
        target="fghash.data.sets.vegfru:Vegfru",
        summary="VegFru, 292 vegetables and fruits, 29,200 train (ExchNet's) or 43,800 / 116,931 query",
        paper="VegFru: A Domain-Specific Dataset for Fine-Grained Visual Categorization",
        year=2017,
        certainty=_OFFICIAL,
    ),
}
