"""Transformers that lose nothing: windows over word pieces for spacy-transformers, and what bounds their memory."""
