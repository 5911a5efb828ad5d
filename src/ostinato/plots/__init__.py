"""Pictures, drawn with matplotlib (the extra `plots`)."""
