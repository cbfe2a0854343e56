"""All that knows tgtd: its frames, its text, its errors, its process.

`wire` builds and reads frames, `transport` exchanges them, `show` reads tgtd's text, `refusal`
turns error numbers into errors. On those stands `life`, on that what is asked about each of
`connections`, `accounts`, `targets` and `units` (with `words` and `openings`), and `lookout`;
`backend` is all of them to the core, and `conversation` makes its changes several at a time.
`process` finds or runs the daemon, `memory` is the daemon's in-memory twin.
"""
