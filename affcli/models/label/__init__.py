"""From videos to labels in one process: both encoders and the fusion network, loaded once."""
