"""The enforcer's runs on the operator's machine: a sweep, and setting the options of single instances."""
