"""Training: losses, metrics, optimizers."""
