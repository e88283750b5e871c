"""The work of one run: a batch of events, a sweep, a revert, or the watch after changes."""
