"""The launcher's parts. They run before anything is installed: only the standard library."""
