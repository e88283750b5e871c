"""AWS services' errors."""


class AwsError(Exception):
    """A refusal with the service's own error code.

    Args:
        code: the code that a client sees, for example `InvalidInstanceID.NotFound`.
        message: the text beside the code.
        status: the HTTP status, by default 400.
    """

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


def dry_run() -> AwsError:
    """EC2's answer to a permitted call with DryRun set."""
    return AwsError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
