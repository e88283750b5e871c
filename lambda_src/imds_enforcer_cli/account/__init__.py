"""The AWS account: connection and credentials, regions, parameters and instances; also policy files."""
