"""Backbone: images in, features out (the only importer of timm)."""

from fghash.backbone.given import GIVEN, GivenFeatures
from fghash.backbone.model import Backbone
from fghash.backbone.weights import read_weights

__all__ = ["GIVEN", "Backbone", "GivenFeatures", "read_weights"]
