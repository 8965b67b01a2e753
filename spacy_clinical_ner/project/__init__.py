"""What the steps of project.yml do (`clinical-ner project`): lay out a corpus, package a pipeline, try it."""
