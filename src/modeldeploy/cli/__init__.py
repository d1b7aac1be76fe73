"""The command line: arguments in, text or JSON lines out, one exit code."""
