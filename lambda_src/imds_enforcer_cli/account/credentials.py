"""The operator's credentials, found before the first call: a profile may run a program, read files or ask for them."""

import warnings
from getpass import GetPassWarning
from json import JSONDecodeError

import botocore.session

from imds_enforcer.aws.boto import aws_errors
from imds_enforcer.model import AwsError
from imds_enforcer_cli.console.errors import CommandError

_SIGN_IN_AGAIN = {"SSOTokenLoadError", "TokenRetrievalError"}
"""botocore errors that `aws sso login` fixes, but that do not say so."""


def find_credentials(core: botocore.session.Session) -> None:
    """Let the session find and keep its credentials, a role's included. If it has none, the first call fails.

    Raises:
        CommandError: naming the profile, if the search fails.
    """
    profile = core.profile or "default"
    try:
        _find(core)
    except AwsError as error:
        hint = f"; sign in with: aws sso login --profile {profile}" if error.failure.code in _SIGN_IN_AGAIN else ""
        reason = f"{str(error).rstrip(': ')}{hint}"
    except GetPassWarning:
        reason = "the profile needs an MFA code, but there is no terminal where you can enter it"
    # botocore does not catch these errors: it does not check what a credential_process prints.
    except (JSONDecodeError, UnicodeDecodeError) as error:
        reason = f"its credential_process does not print JSON: {error}"
    except AttributeError:
        reason = "its credential_process prints JSON that is not an object"
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}"
    except (ValueError, TypeError) as error:
        reason = str(error)
    else:
        return
    raise CommandError(f"no credentials from the profile {profile}: {reason}")


def _find(core: botocore.session.Session) -> None:
    with aws_errors(), warnings.catch_warnings():
        # Without a terminal the prompt for an MFA code would echo it, and read standard input.
        warnings.simplefilter("error", GetPassWarning)
        if not (found := core.get_credentials()):
            return
        keys = found.get_frozen_credentials()
    if not (isinstance(keys.access_key, str) and isinstance(keys.secret_key, str)):
        raise TypeError("its credential_process prints keys that are not text")
