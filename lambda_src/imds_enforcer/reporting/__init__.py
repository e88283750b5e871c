"""What a run says about itself: its report, its log and metrics, its mails."""
