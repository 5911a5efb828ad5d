"""Times and memory, side by side in one run, of ostinato and of what else there is: `python -m benchmarks --help`."""
