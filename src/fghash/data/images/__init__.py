"""Pixels: reading, resampling, crops, caches, and the way to a device."""
