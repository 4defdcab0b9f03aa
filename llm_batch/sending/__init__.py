"""One request to a model, within its limits and the budget, and what comes back."""
