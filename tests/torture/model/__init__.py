"""A model of a user: `belief` and `lunbelief` are what one believes, `moves` what one may try, and
`compare` asks whether it is so. `living` walks it at random in the `worlds` of twin and real tgtd,
`troubled` adds faults, `stranger` other people with a tgtadm.
"""
