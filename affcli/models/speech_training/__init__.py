"""Training of a speech encoder on labelled utterances."""
