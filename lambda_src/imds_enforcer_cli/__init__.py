"""The command `imds-enforcer`: the enforcer's own modules in the hands of an operator."""
