"""Auto Scaling groups that launch their instances into the EC2 of the same process.

groups                  groups: create, update, describe, delete
launch_configurations   launch configurations, the older alternative to launch templates
launch_source           a group's next launch, as parameters of RunInstances
scaling                 how a group reaches its desired capacity; activities: the record of that
protocol                the requests and answers of all of them
"""
