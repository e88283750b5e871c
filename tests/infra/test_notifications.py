from tests.infra.synthesized import Stack, Synthesize


def test_nobody_is_subscribed_unasked(home: Stack) -> None:
    """The topic is an output; what listens to it is up to its owner."""
    assert home.of_type("AWS::SNS::Subscription") == {}


def test_the_address_in_the_context_is_subscribed(synthesize: Synthesize) -> None:
    """It has to confirm, as every address."""
    assembly = synthesize(notification_email="ops@example.com")
    stack = Stack(assembly.get_stack_by_name("ImdsEnforcer").template)
    assert [*stack.of_type("AWS::SNS::Subscription").values()] == [
        {"Protocol": "email", "Endpoint": "ops@example.com", "TopicArn": "${NotificationsTopic}"}
    ]
