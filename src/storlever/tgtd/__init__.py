"""All that knows tgtd: its frames, its text, its errors, its process.

`wire` builds and reads frames, `transport` exchanges them, `show` reads tgtd's text, `backend`
turns changes into requests and error numbers into errors, `process` finds or runs the daemon,
`memory` is the daemon's in-memory twin.
"""
