"""The judge held against labels made by people, and judges against each other."""
