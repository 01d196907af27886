"""Hashing and quantization of vectors that a network gave: fitted in closed form, no optimiser."""
