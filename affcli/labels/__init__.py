"""Labels of frames: reading them, matching them to frames, splitting videos into folds."""
