import pytest
from botocore.exceptions import ClientError

from infra.local.client import LocalAws
from tests.integration.local_resources import listen


def test_a_pattern_applies_even_if_a_write_omits_it(aws: LocalAws) -> None:
    """The toggle cannot get an unknown value."""
    ssm = aws.client("ssm")
    ssm.put_parameter(Name="/toggle", Value="required", Type="String", AllowedPattern="^(required|optional)$")
    for wrong in ("Required", "required ", "off"):
        with pytest.raises(ssm.exceptions.ParameterPatternMismatchException):
            ssm.put_parameter(Name="/toggle", Value=wrong, Type="String", Overwrite=True)
    ssm.put_parameter(Name="/toggle", Value="optional", Type="String", Overwrite=True)
    assert ssm.get_parameter(Name="/toggle")["Parameter"]["Value"] == "optional"


@pytest.mark.parametrize(
    ("tier", "size", "fits"),
    [
        ("Standard", 4096, True),
        ("Standard", 4097, False),
        ("Intelligent-Tiering", 8192, True),
        ("Intelligent-Tiering", 8193, False),
        ("Advanced", 8192, True),
    ],
)
def test_a_tier_has_its_size(aws: LocalAws, tier: str, size: int, *, fits: bool) -> None:
    """Intelligent-Tiering chooses the larger tier by itself."""
    ssm = aws.client("ssm")
    wish = {"Name": "/policy", "Value": "x" * size, "Type": "String", "Tier": tier}
    if fits:
        answer = ssm.put_parameter(**wish)
        assert answer["Tier"] == ("Advanced" if size > 4096 or tier == "Advanced" else "Standard")
    else:
        with pytest.raises(ClientError, match="ValidationException"):
            ssm.put_parameter(**wish)


def test_changes_are_events(aws: LocalAws) -> None:
    """Each has its operation, and not the value."""
    queue = listen(aws, {"source": ["aws.ssm"], "detail": {"name": ["/toggle"]}})
    ssm = aws.client("ssm")
    ssm.put_parameter(Name="/other", Value="1", Type="String")
    ssm.put_parameter(Name="/toggle", Value="1", Type="String")
    ssm.put_parameter(Name="/toggle", Value="2", Type="String", Overwrite=True)
    ssm.label_parameter_version(Name="/toggle", Labels=["good"])
    ssm.delete_parameter(Name="/toggle")
    operations = [event["detail"]["operation"] for event in queue.wait_for(4)]
    assert operations == ["Create", "Update", "LabelParameterVersion", "Delete"]
    assert queue.bodies[0]["detail-type"] == "Parameter Store Change"
    assert queue.bodies[0]["detail"]["type"] == "String"
