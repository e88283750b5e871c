"""The terminal: arguments, output, progress, interruption and phrases."""
