"""Scoring and benchmarks."""
