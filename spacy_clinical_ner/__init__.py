"""spaCy pipelines for clinical notes: BRAT in, an installable pipeline out."""

__version__ = "0.1.0"
