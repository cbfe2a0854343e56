"""The HTTP edge: the only part that says a status code or imports the web framework."""
