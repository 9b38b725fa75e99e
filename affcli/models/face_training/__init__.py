"""Training of an image encoder on labelled face pictures."""
