"""The program `storlever`: a file a command, each with `add` (its parser) and `run`."""
