"""Launch templates, fixed with a way back: `launches fix` and `launches undo`.

`survey` reads a region, `plan` decides about each of its templates, and `new_version` says what a fix asks of EC2 and
what EC2 has to show then. `fixer` does it, `undo` takes it back, and `record` is what they know it by.
"""
