"""The terminal: arguments, output, progress, interruption, phrases."""
