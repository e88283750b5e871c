"""EC2 as the enforcer sees it: launches, instances and their metadata options.

instances          launches and changes of state; metadata_options: the values that options take
instance_options   ModifyInstanceMetadataOptions; account_defaults: the defaults of a region
describe           listings, with filters and pages
launch_sources     what instances are launched with: images and launch configurations
protocol           what all of them are asked and answer in
"""
