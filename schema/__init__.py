"""What producers and workers share: words, tables, messages and settings."""
