"""The report: one HTML file that needs no network, made of a store."""
