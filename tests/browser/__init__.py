"""The page of ``--format html`` in a real browser."""
