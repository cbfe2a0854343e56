"""Clients of the API that know what must be so.

`tenant` and `writers` write, `caller` asks what others ask about as well, `host` reads and writes a
LUN; `nbd` is its way to qemu.
"""
