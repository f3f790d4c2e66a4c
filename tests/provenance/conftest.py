"""A certificate that is not the one of this machine."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from idol.provenance import signing


@pytest.fixture
def own(tmp_path):
    """A certificate of the user's, its key, and the authority that vouches for it."""
    pem = serialization.Encoding.PEM
    root_key, key = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())

    def name(text):
        organization = x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Studio Example")
        return x509.Name([organization, x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    root = signing._certificate(name("root"), name("root"), root_key.public_key(), root_key, True)
    leaf = signing._certificate(name("desk 4"), name("root"), key.public_key(), root_key, False)
    files = {"leaf.pem": leaf.public_bytes(pem), "root.pem": root.public_bytes(pem)}
    files["chain.pem"] = files["leaf.pem"] + files["root.pem"]
    files["key.pem"] = signing._pem(key)
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
    return tmp_path
