"""Larger proofs, started by hand."""
