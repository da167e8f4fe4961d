"""What is kept: jobs, tokens and instances in SQLite, content and logs in files."""
