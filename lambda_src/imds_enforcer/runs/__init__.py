"""The work of one invocation: a batch of events, a sweep, a revert, the watch after changes."""
