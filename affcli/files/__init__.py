"""Names on the command line become inputs; outputs appear only when complete."""
