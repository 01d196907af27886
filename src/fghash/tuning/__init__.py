"""Tuning: the same number of trials and of image passes for every method, scored on a part of train alone."""
