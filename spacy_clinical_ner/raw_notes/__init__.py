"""Encoders from raw notes: a word-piece vocabulary and a BERT by masked language modelling."""
