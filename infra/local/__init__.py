"""A local AWS on one loopback port, from outside: what runs in the environment of the tools.

    client (LocalAws)       start it, use it, turn its knobs, stop it; process: its process
    imds (LocalImds)        the metadata service of one instance
    deployment              the stacks, deployed to it; operator: the command, run against it
    ledger_table            the enforcer's table without its stack

`infra.local.server` is what runs in its own process and environment. The two know each other by HTTP alone:
no module of one imports a module of the other.
"""
