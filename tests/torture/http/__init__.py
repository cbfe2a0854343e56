"""HTTP: `sound` and `examiner` are what the OpenAPI document allows; `onthewire`, `strange`,
`crowd` and `siege` what it does not.
"""
