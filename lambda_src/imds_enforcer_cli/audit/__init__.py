"""What an audit finds: the instances, their statuses, and what launched them."""
