"""Steps of project.yml that neither spaCy nor `clinical-ner` has: `python -m spacy_clinical_ner.project`."""
