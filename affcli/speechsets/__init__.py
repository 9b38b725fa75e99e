"""Labelled speech: folders of sound files with a table of labels."""
