"""The data sets, one file each: which items there are, in which split."""
