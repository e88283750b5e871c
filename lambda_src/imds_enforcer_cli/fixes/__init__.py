"""Fixes launch templates, and undoes the fixes: `launches fix` and `launches undo`.

`survey` reads a region, `plan` decides about each of its templates, and `new_version` builds the request to EC2 and
checks its result. `fixer` carries a plan out, `undo` reverts it, and `record` stores what both need to know.
"""
