"""The process of the local AWS: ministack, with additions for what the enforcer needs and ministack lacks.

It runs in an environment of its own, with the packages in ../requirements.txt. `__main__` installs these additions:
    gateway            what every call passes through: calls, faults, knobs; control: the path to set them
    identity           the caller of each call; permissions: what IAM allows
    ec2                EC2's instances and their metadata options
    events, cloudtrail the events of EC2 and Parameter Store, and their delivery
    parameters, queues, functions, metrics: corrections to the other services
"""
