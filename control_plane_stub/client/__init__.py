"""The client of the REST interface: what the command line does once it is parsed."""
