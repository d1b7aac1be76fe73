"""The project file: its schema, loading it, and errors that point at file, line and key."""
