"""Open a database: by its URL, with its schema, and in a sentence why it cannot be."""
