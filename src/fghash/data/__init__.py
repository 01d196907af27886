"""The data sets, by name. Nothing is imported until one is chosen."""

from __future__ import annotations

from fghash.registry import DatasetInfo

DATASETS: dict[str, DatasetInfo] = {
    "cub200": DatasetInfo(
        target="fghash.data.cub200:Cub200",
        summary="200 species of birds, 5,994 train / 5,794 query",
        paper="The Caltech-UCSD Birds-200-2011 Dataset",
        year=2011,
        certainty="official lists",
    ),
    "folder": DatasetInfo(
        target="fghash.data.folder:Folder",
        summary="your own images: root/{train,query[,gallery]}/<class>/*",
    ),
    "synthetic": DatasetInfo(
        target="fghash.data.synthetic:Synthetic",
        summary="drawn birds, families that differ in small parts only; no download",
        needs_root=False,
    ),
}
