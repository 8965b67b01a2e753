"""A linear-chain CRF with exact marginals, n-best paths and spans."""

from spacy_clinical_ner.layers.crf.module import LinearChainCRF

__all__ = ["LinearChainCRF"]
