"""Tests of the providers, against `tests.server` and other servers on this machine."""
