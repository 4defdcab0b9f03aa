"""What the user wrote, checked, and what comes next for an item: pure, without network or clock."""
