"""Nearest-neighbour indexes over a stored run's items: how much each finds, how fast, in what memory."""
