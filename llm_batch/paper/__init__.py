"""What people read: words and documents, before any markup."""
