"""The promises, tried until they break: kills, faults, power cuts, fuzz, hostile requests."""
