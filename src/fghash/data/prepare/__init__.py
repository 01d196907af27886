"""Before training: download, unpack and check."""
