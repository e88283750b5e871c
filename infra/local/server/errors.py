"""An error as an AWS service answers it."""


class AwsError(Exception):
    """A refusal with the service's own error code.

    Args:
        code: the code a client sees, `InvalidInstanceID.NotFound` for one.
        message: the text beside it.
        status: the HTTP status; 400 unless said otherwise.
    """

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


def dry_run() -> AwsError:
    """What EC2 answers to a permitted call with DryRun set."""
    return AwsError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
