"""Sequences as data: padded, cut out of a series, bucketed by length; text as tokens and numbers."""
