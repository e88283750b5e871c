"""What launches instances in an account, whether the next ones will allow IMDSv1, whose it is and what to change.

`reader` reads an `inventory` of a region, `precedence` and `verdicts` judge it, `owners` and `advice` say whose a
launcher is and what to change there; `launchers` puts it together, `listing` does so for many regions.
"""
