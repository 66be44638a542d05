"""Equations of the method as pure functions on tensors and arrays."""
