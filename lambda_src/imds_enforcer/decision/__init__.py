"""What must happen to an instance, and why. Start here."""
