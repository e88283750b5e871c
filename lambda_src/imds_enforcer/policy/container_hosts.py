"""The tags that mark container hosts: those that a service or tool sets itself, each with its source.

A tag is in the table if the documentation or the code of the service says that its instances get it, and that an
instance with it runs containers: the tags of Elastic Beanstalk and EMR do not show that. Plain Docker and Nomad set no
tag; `container_host_tags` is for them. `kubernetes.io/cluster/` marks the hosts of OpenShift and Gardener.
"""

from collections.abc import Iterable
from typing import NamedTuple


class ContainerHostTag(NamedTuple):
    """A tag's key, or the beginning of one and a `*`; the service that sets it; and the source that says so."""

    key: str
    service: str
    source: str


_NODE_GROUPS = "AWS Managed Policy Reference, AWSServiceRoleForAmazonEKSNodegroup: EKS launches its nodes with this tag"
_COMPUTE = "AWS Managed Policy Reference, AmazonEKSComputePolicy: EKS launches its nodes with this tag"
_CAPACITY = "EC2 User Guide, Capacity Manager: tag keys that Capacity Manager provides"
_MANAGED_INSTANCES = "ECS Developer Guide, Tags for Amazon ECS Managed Instances"
_KARPENTER = "aws/karpenter-provider-aws, pkg/apis/v1/labels.go"
_KOPS = "kubernetes/kops, upup/pkg/fi/cloudup/awsup/aws_cloud.go"

CONTAINER_HOSTS = (
    ContainerHostTag("eks:cluster-name", "EKS", _NODE_GROUPS),
    ContainerHostTag("eks:nodegroup-name", "EKS", _NODE_GROUPS),
    ContainerHostTag("aws:eks:cluster-name", "EKS", _CAPACITY),
    ContainerHostTag("eks:eks-cluster-name", "EKS", _COMPUTE),
    ContainerHostTag("eks:kubernetes-node-class-name", "EKS", _COMPUTE),
    ContainerHostTag("eks:kubernetes-node-pool-name", "EKS", _COMPUTE),
    ContainerHostTag("karpenter.sh/*", "Karpenter", _KARPENTER),
    ContainerHostTag("karpenter.k8s.aws/*", "Karpenter", _KARPENTER),
    ContainerHostTag(
        "kubernetes.io/cluster/*",
        "Kubernetes",
        "EKS User Guide, Nodes fail to join cluster: each node needs this tag; openshift/installer, "
        "pkg/asset/machines/aws/machines.go; gardener/gardener-extension-provider-aws, "
        "pkg/controller/worker/machines.go",
    ),
    ContainerHostTag("KubernetesCluster", "kOps", _KOPS),
    ContainerHostTag("k8s.io/*", "kOps", _KOPS),
    ContainerHostTag("kops.k8s.io/*", "kOps", "kubernetes/kops, pkg/nodeidentity/aws"),
    ContainerHostTag(
        "sigs.k8s.io/cluster-api-provider-aws/*",
        "Cluster API",
        "kubernetes-sigs/cluster-api-provider-aws, api/v1beta2/tags.go",
    ),
    ContainerHostTag(
        "red-hat-managed",
        "ROSA",
        "AWS Managed Policy Reference, ROSANodePoolManagementPolicy: ROSA launches its nodes with this tag",
    ),
    ContainerHostTag(
        "AmazonECSManaged",
        "ECS",
        f"ECS Developer Guide, Auto Scaling group capacity providers; {_MANAGED_INSTANCES}",
    ),
    ContainerHostTag("AmazonECSCreated", "ECS", _MANAGED_INSTANCES),
    ContainerHostTag("aws:ecs:*", "ECS", _MANAGED_INSTANCES),
    ContainerHostTag(
        "AWSBatchServiceTag",
        "AWS Batch",
        "AWS Managed Policy Reference, BatchServiceRolePolicy: AWS Batch launches its instances with this tag",
    ),
)
"""The value of a tag does not matter."""

_KEYS = frozenset(each.key for each in CONTAINER_HOSTS)
_BEGINNINGS = tuple(each.key.removesuffix("*") for each in CONTAINER_HOSTS if each.key.endswith("*"))


def marks_container_host(tag_keys: Iterable[str]) -> bool:
    """True if one of an instance's tags is in the table."""
    return any(key in _KEYS or key.startswith(_BEGINNINGS) for key in tag_keys)
