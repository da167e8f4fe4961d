"""An example of a package that adds one of each to cloud-agent."""
