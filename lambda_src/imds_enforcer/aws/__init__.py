"""One adapter for each AWS service. Nothing else imports boto3."""
