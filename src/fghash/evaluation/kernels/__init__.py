"""Counting tie groups: one module an implementation, one interface."""
