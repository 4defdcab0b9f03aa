"""A run over a Ray cluster: the driver keeps the journal and the budget, actors make the calls.

The driver plays the chain exactly as it does with threads. Each actor holds some requests and
makes the calls in threads of its own process. One ledger keeps the pace: a worker asks it for
leave to send, so all of them together stay within one limit. Money stays with the driver.
"""
