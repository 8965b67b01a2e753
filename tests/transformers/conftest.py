import pytest

from tests.transformers.encoders import KINDS, make_encoder


@pytest.fixture(scope="session")
def encoders(tmp_path_factory):
    """Folders of tiny encoders by the kind of their tokenizer."""
    return {kind: make_encoder(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


@pytest.fixture(params=KINDS)
def encoder(request, encoders):
    """The folder of an encoder, of every kind in turn."""
    return encoders[request.param]
