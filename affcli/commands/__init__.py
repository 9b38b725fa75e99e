"""One file per command: its options and the glue between the rooms below."""
