"""What a run writes and finds again: its files, the manifest, results, the journal."""
