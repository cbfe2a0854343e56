"""The promises, tried until they break: kills, faults, power cuts, fuzz, hostile requests.

`rig` says how often, with which seed, and keeps the history. What the tests are made of: `clients`
of the API, the `truth` that they are held to, a `model` of a user that is walked at random, the
language of `tgtd`, `http`, and the `machine` with its faults.
"""
