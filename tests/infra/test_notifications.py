from tests.infra.synthesized import Stack, Synthesize


def test_no_address_is_subscribed_by_default(home: Stack) -> None:
    """The topic is an output; its owner decides what subscribes to it."""
    assert home.of_type("AWS::SNS::Subscription") == {}


def test_the_address_in_the_context_is_subscribed(synthesize: Synthesize) -> None:
    """As with every address, its owner must confirm the subscription."""
    assembly = synthesize(notification_email="ops@example.com")
    stack = Stack(assembly.get_stack_by_name("ImdsEnforcer").template)
    assert [*stack.of_type("AWS::SNS::Subscription").values()] == [
        {"Protocol": "email", "Endpoint": "ops@example.com", "TopicArn": "${NotificationsTopic}"}
    ]
