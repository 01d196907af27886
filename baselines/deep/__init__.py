"""Losses that every paper compares with, on the same features, and the fine-grained methods of other labs."""
