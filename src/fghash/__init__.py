"""fghash: a fair benchmark of fine-grained image hashing (importing this package never imports torch)."""

__version__ = "0.1.0"
