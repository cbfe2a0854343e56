"""StorLever: an HTTP service that manages the iSCSI targets of tgtd."""

__version__ = "0.1.0"
