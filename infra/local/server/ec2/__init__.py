"""EC2 as the enforcer sees it: launches, instances and their metadata options.

instances          launches and changes of state; metadata_options: the values that options take
instance_options   ModifyInstanceMetadataOptions; account_defaults: the defaults of a region
describe           listings, with filters and pages
images             what instances are launched from
launch_templates   and with; template_versions: their versions; template_listings: both described
fleets             what launches from templates
filters            the filters and pages of listings
protocol           what all of them are asked and answer in
"""
