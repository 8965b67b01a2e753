"""Thinc and torch joined: shims, precision, memory, and the skeleton of all trainable components."""
