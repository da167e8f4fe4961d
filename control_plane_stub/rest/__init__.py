"""The side of users: the REST interface, its description, its event streams."""
