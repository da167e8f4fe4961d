"""The side of the agents: who they are, their links, their sessions, and who gets which job."""
