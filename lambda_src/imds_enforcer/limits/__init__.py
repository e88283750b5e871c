"""How fast and how far a run may go, and why it begins no further change."""
