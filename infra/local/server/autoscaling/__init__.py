"""Auto Scaling groups that launch their instances into the EC2 of the same process.

groups                  created, updated, described, deleted
launch_configurations   the older of the two things that a group launches with
launch_source           what a group launches next, as parameters of RunInstances
scaling                 how a group comes to its desired capacity; activities: what is written down about that
protocol                what all of them are asked and answer in
"""
