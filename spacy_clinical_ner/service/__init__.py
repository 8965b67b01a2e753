"""A pipeline as a service: notes in by HTTP, rows of mentions and relations out, and a page to try it."""
