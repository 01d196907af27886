"""Baselines, registered through the public entry point that any other package would use."""
