"""Tests of the Ray engine."""
