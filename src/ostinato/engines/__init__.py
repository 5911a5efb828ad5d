"""Engines: what runs a recurrence fast, and the one door through which they are asked."""
