"""Feature tables: one stream, both joined, and the frames that a stream has."""
