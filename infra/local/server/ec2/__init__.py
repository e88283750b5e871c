"""EC2 as the enforcer sees it: launches, instances and their metadata options.

instances          launches and changes of state; metadata_options: the values of options
instance_options   ModifyInstanceMetadataOptions; account_defaults: the defaults of a region
describe           listings, with filters and pages
images             the images of instances
launch_templates   launch templates; template_versions: their versions; template_listings: listings of both
fleets             EC2 Fleets, which launch from templates
filters            the filters and pages of listings
protocol           the requests and answers of all of them
"""
