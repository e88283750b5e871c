"""The AWS side of the enforcer: a CDK app, the tool that deploys it, and a local AWS to try it on."""
