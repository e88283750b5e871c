"""Every EC2 instance of an account follows one policy for its instance metadata service."""
