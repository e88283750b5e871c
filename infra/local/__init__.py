"""A local AWS on one loopback port, seen from outside: this package runs in the tools' environment.

    client (LocalAws)       starts it, uses it, sets its knobs, stops it; process: its process
    imds (LocalImds)        the metadata service of one instance
    deployment              the stacks, deployed to it; operator: the command, run against it
    ledger_table            the enforcer's table without its stack

`infra.local.server` runs in a process and an environment of its own. The two talk only over HTTP: no module of one
imports a module of the other.
"""
