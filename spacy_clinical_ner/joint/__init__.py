"""Entities and relations from one encoder with the mask of each task: `joint_extractor`."""
