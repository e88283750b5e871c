"""The demos: the deployed enforcer at work on a local AWS, act by act."""
