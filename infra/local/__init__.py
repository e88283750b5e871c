"""A local AWS on one loopback port: ministack, and what the enforcer needs and ministack lacks.

From outside, in the environment of the tools:
    client (LocalAws), imds (LocalImds), process, waiting; deployment, demo and `python -m infra.local` stand on them.

In its own process and environment, requirements.txt (server puts them together):
    gateway            what every call passes through: calls, faults, knobs; control is the path to them
    identity           who calls; permissions: what IAM lets them do
    instances          EC2's launches and changes; describe: its listings; metadata_options: their values;
                       account_defaults; ec2_protocol: what they are all asked and answer in
    events, cloudtrail what EC2 and Parameter Store tell, and how it travels
    parameters, queues, functions, metrics: the other services, each mended where it falls short
"""
