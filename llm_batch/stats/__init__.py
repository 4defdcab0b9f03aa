"""Statistics: numbers in, `Interval` out.

``level`` is everywhere a two-sided confidence level, one minus the significance level of a test; a
`ValueError` where it does not lie between 0 and 1.
"""
