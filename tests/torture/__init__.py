"""The promises, tried until they break: kills, faults, power cuts, fuzz, hostile requests.

`rig` says how often, with which seed, and keeps the history. What the tests are made of:

- clients of the API: `tenant` and `writers` (write, and know what must be so), `caller` (asks what
  others ask about as well), `host` (reads and writes a LUN; `nbd` is its way to qemu)
- what is so: `facts` (state file, API and tgtd as sets), `linearizability` with `sequential`
- a model: `belief` and `lunbelief` (what a user believes), `moves`, `compare`; `living` walks it at
  random in the `worlds` of twin and real tgtd, `troubled` adds faults
- other people with a tgtadm: `stranger` (in the model's walk), `meddler` (between two passes)
- tgtd's language: `frames` and `senseless` (what is said), `printed`, `garbled`, `mimic` and `liar`
  (what is answered)
- HTTP: `sound` and `examiner` (what the OpenAPI document allows), `onthewire`, `strange`, `crowd`
  and `siege` (what it does not)
- the machine: `disks`, `faults` (faults.c, preloaded) with `faulty_store`, `proc`, `drawn`
  (inventories at random)
"""
