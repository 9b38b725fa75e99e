"""The terminal: messages, progress, reports, and options that mean the same in every command."""
