"""Command lines of the tools: parsers, user code, exit codes."""
