"""What a machine of a test's own must not have: the disks of other tests. As long as one is mounted
anywhere, it is not let go of, and whoever cuts its power finds it dead when it is mounted again."""

import tempfile

LET_GO_OF_OTHERS = f"""
awk '$2 ~ "^{tempfile.gettempdir()}/" {{ print $2 }}' /proc/self/mounts | xargs -r umount -l
"""
"""For the shell that begins in a new mount namespace."""
