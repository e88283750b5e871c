"""What a run says about itself: its report, log, metrics and mails."""
