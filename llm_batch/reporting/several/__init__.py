"""What a chain that asks several times comes to: scores, juries, repeats, pairs and audits."""
