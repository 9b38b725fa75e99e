"""The fusion network: its file, its training and its predictions."""
