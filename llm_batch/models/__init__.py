"""What is known of models before they are called: limits, prices, tiers, tokens."""
