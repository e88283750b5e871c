"""What the process of the local AWS runs: ministack, and what the enforcer needs and ministack lacks.

It runs in an environment of its own, with what ../requirements.txt names. `__main__` puts these together:
    gateway            what every call passes through: calls, faults, knobs; control is the path to them
    identity           who calls; permissions: what IAM lets them do
    ec2                EC2's instances and their metadata options
    events, cloudtrail what EC2 and Parameter Store tell, and how it travels
    parameters, queues, functions, metrics: the other services, each corrected where it falls short
"""
