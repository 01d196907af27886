"""Features that the frozen part of a network gave once, kept as rows of float16."""
