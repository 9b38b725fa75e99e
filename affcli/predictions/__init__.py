"""Anyone's logits: which columns they are, and voting, smoothing and calibration of them."""
