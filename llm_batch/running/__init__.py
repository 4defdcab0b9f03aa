"""One run from the first look to the last line."""
