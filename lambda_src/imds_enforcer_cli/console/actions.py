"""The IAM actions that the help of several commands names."""

FIND = "cloudformation:DescribeStacks"
READ_PARAMETERS = "ssm:GetParameters"
QUERY = "dynamodb:Query on the ledger's table"
UNDO = f"{QUERY} and its indexes, dynamodb:BatchWriteItem, ec2:DescribeInstances, ec2:DescribeRegions"
READ_LAUNCHERS = (
    "autoscaling:DescribeAutoScalingGroups, autoscaling:DescribeLaunchConfigurations, ec2:DescribeLaunchTemplates, "
    "ec2:DescribeLaunchTemplateVersions, ec2:DescribeImages, ec2:GetInstanceMetadataDefaults, eks:ListClusters, "
    "eks:ListNodegroups and eks:DescribeNodegroup"
)
READ_VERSION_USERS = (
    "autoscaling:DescribeAutoScalingGroups, eks:ListClusters, eks:ListNodegroups, eks:DescribeNodegroup, "
    "ec2:DescribeFleets, ec2:DescribeSpotFleetRequests"
)
UNLISTED = f"if ec2:DescribeRegions is denied, {READ_PARAMETERS}"
