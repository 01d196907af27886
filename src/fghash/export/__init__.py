"""A stored run for other programs: graphs of the encoder, bundles, and codes in databases."""
