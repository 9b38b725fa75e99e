"""What several commands do alike: options of extraction, epoch lines, checks of an encoder's folder."""
