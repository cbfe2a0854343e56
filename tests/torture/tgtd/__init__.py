"""tgtd's language: `frames` and `senseless` are what is said, `printed`, `garbled`, `mimic` and
`liar` what is answered; `meddler` is somebody else with a tgtadm, between two passes.
"""
