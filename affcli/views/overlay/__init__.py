"""A video with its labels drawn in."""
