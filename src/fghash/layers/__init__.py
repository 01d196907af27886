"""Layers and rules that two or more methods share."""
