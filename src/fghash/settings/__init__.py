"""Settings: dataclasses, sources (preset, file, flag) and the identity of a run."""
