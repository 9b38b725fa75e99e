"""From media to rows of feature tables."""
