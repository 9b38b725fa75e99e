"""Resumable work: many inputs become outputs, interrupted or not."""
