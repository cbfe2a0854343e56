"""The machine: `disks` that lose power, `faults` (faults.c, preloaded) with `faulty_store`, `proc`,
and `drawn`, inventories at random.
"""
