"""What a request ends in that is not answered with a text."""

from storlever.tgtd.wire import TgtError


class Refusal(Exception):
    def __init__(self, error: TgtError) -> None:
        super().__init__(error)
        self.error = error


class Death(Exception):
    """The daemon would crash here."""
