"""Data for training: arrays, torch's datasets and loaders, iterables, as batches."""
