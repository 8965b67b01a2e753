"""Derives small synthetic corpora of clinical notes, annotated in the BRAT standoff format, from grammars."""
