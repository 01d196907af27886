"""Training: the Trainer, what happens around it (callbacks), and where it is followed (tracking)."""
