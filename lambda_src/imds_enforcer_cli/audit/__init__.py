"""What an audit finds: instances and where they come from, each with its status."""
