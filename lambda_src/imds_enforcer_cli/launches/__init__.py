"""Lists what launches instances in an account: whether the next ones will allow IMDSv1, the owner, and what to change.

`reader` reads the `inventory` of a region, `precedence` and `verdicts` judge it, `owners` and `advice` find each
launcher's owner and what to change; `launchers` combines them, and `listing` covers many regions.
"""
